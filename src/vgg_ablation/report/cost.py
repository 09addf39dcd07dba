"""Cost of the study: times differ from run to run, so they have a page of their own."""

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from vgg_ablation.analysis.study import Study
from vgg_ablation.report.table import NONE, Number, Table, count, decimal, whole
from vgg_ablation.runtime.console import duration


@dataclass(frozen=True)
class Total:
    """Cost of the whole study, in words."""

    time: str
    """Time of all stages."""
    share: str
    """Share of `time` in steps that train, validate or classify."""
    device: str
    search: str
    """Part of `time` of the searches, pruned and diverged trials included."""
    machine: str
    commit: str
    versions: str


def total(costs: pd.DataFrame) -> Total:
    """Return the sum over all stages."""
    nets = costs[costs["arch"] != ""]
    devices = [
        f"{row['device']} ({count(row['threads'], 'thread')}, {row['precision']})" for row in nets.to_dict("records")
    ]
    seconds, searching = costs["seconds"].sum(), costs["seconds"][costs["stage"] == "tune"].sum()
    return Total(
        duration(seconds),
        f"{nets['work_seconds'].sum() / seconds:.0%}",
        _each(devices),
        duration(searching),
        *(_each(costs[column]) for column in ("machine", "commit", "versions")),
    )


def _each(values: Iterable[str]) -> str:
    """Return the different values; a dash for one that is not known."""
    return "; ".join(dict.fromkeys(value or NONE for value in values))


def by_net(study: Study) -> Table:
    """Return the cost of each net."""
    nets = study.costs[study.costs["arch"] != ""]
    stages = list(nets["stage"].unique())
    body = []
    for arch in study.archs:
        rows = nets[nets["arch"] == arch]
        evaluated = rows["stage"] == "evaluate"
        trained = rows[~evaluated]
        images, work = int(trained["images"].sum()), trained["work_seconds"].sum()
        times = [_time(rows[rows["stage"] == stage]["seconds"]) for stage in stages]
        runs = rows["stage"].str.startswith("train")
        shares = [_waiting(rows[runs]), *(_share(rows[of_stage]) for of_stage in (runs, evaluated))]
        rate = whole(round(images / work)) if work else whole(None)
        body.append((arch, *times, _time(rows["seconds"]), whole(images), rate, *shares))
    shared = ("checkpoint wait", "utilisation, training", "evaluation")
    header = ("net", *stages, "all", "images trained on", "images/s", *shared)
    return Table("cost", "Cost of each net", header, body)


def _waiting(rows: pd.DataFrame) -> Number:
    """Return for how large a part of the training time the runs waited for checkpoints."""
    waited, work = rows["checkpoint_seconds"].sum(), rows["work_seconds"].sum()
    return Number(f"{waited / (waited + work):.1%}", waited / (waited + work)) if work else decimal(None)


def _share(rows: pd.DataFrame) -> Number:
    """Return the mean utilisation, stages weighted by their work."""
    known = rows.dropna(subset="share_of_limit")
    if not (work := known["work_seconds"].sum()):
        return decimal(None)
    share = float((known["share_of_limit"] * known["work_seconds"]).sum() / work)
    return Number(f"{share:.1%}", share)


def _time(seconds: pd.Series) -> Number:
    return Number(duration(float(seconds.sum())), float(seconds.sum())) if len(seconds) else decimal(None)
