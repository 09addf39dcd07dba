"""Tables of what the study cost: times differ from run to run, so they have a page of their own."""

from dataclasses import dataclass

import pandas as pd

from vgg_ablation.analysis.study import Study
from vgg_ablation.report.table import NONE, Number, Table, count, decimal, grouped, whole
from vgg_ablation.runtime.console import duration


@dataclass(frozen=True)
class Total:
    """Cost of the whole study, in words."""

    time: str
    """Time of all stages."""
    share: str
    """Share of `time` in steps that train, validate or classify."""
    device: str


def total(costs: pd.DataFrame) -> Total:
    """Return the sum over all stages."""
    nets = costs[costs["arch"] != ""]
    devices = {
        f"{row['stage']} {row['arch']}": f"{row['device']} ({count(row['threads'], 'thread')}, {row['precision']})"
        for row in nets.to_dict("records")
    }
    seconds = costs["seconds"].sum()
    return Total(duration(seconds), f"{nets['work_seconds'].sum() / seconds:.0%}", grouped(devices))


def cost_tables(study: Study) -> dict[str, Table]:
    """Return the cost of each net and of each stage, and where the stages ran."""
    tables = (_by_net(study), _by_stage(study.costs), _machine(study.costs))
    return {table.name: table for table in tables}


def _by_net(study: Study) -> Table:
    nets = study.costs[study.costs["arch"] != ""]
    stages = list(nets["stage"].unique())
    body = []
    for arch in study.archs:
        rows = nets[nets["arch"] == arch]
        evaluated = rows["stage"] == "evaluate"
        trained = rows[~evaluated]
        images, work = int(trained["images"].sum()), trained["work_seconds"].sum()
        times = [_time(rows[rows["stage"] == stage]["seconds"]) for stage in stages]
        shares = [_share(rows[of_stage]) for of_stage in (rows["stage"].str.startswith("train"), evaluated)]
        rate = whole(round(images / work)) if work else whole(None)
        body.append((arch, *times, _time(rows["seconds"]), whole(images), rate, *shares))
    header = ("net", *stages, "all", "images trained on", "images/s", "share of the limit, training", "evaluation")
    return Table("cost-nets", "Cost of each net", header, body)


def _share(rows: pd.DataFrame) -> Number:
    """Return the mean share of the limit, stages weighted by their work."""
    known = rows.dropna(subset="share_of_limit")
    if not (work := known["work_seconds"].sum()):
        return decimal(None)
    share = float((known["share_of_limit"] * known["work_seconds"]).sum() / work)
    return Number(f"{share:.1%}", share)


def _by_stage(costs: pd.DataFrame) -> Table:
    body = []
    for stage in [*costs["stage"].unique(), "all"]:
        rows = costs if stage == "all" else costs[costs["stage"] == stage]
        seconds, work = rows["seconds"], rows["work_seconds"]
        images = whole(None) if stage == "all" else whole(int(rows["images"].sum()))
        body.append((stage, _time(seconds), _time(work), _time(seconds - work), images))
    header = ("stage", "time", "work", "start, reading and writing", "images")
    return Table("cost-stages", "Cost of each stage", header, body)


def _time(seconds: pd.Series) -> Number:
    return Number(duration(float(seconds.sum())), float(seconds.sum())) if len(seconds) else decimal(None)


def _machine(costs: pd.DataFrame) -> Table:
    steps = [" ".join(filter(None, step)) for step in costs[["stage", "arch", "scale"]].itertuples(index=False)]
    body = [
        (column, grouped(dict(zip(steps, costs[column].replace("", NONE), strict=True))))
        for column in ("machine", "device", "versions", "commit")
    ]
    return Table("machine", "Machine, commit and versions", ("what", "value"), body)
