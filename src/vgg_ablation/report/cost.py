"""What the study cost: a report of its own, as times differ from run to run and the other files must not."""

import pandas as pd

from vgg_ablation.analysis.study import Study
from vgg_ablation.report.sections import Section, count
from vgg_ablation.report.tables import NONE, Number, Table, agreed, whole
from vgg_ablation.runtime.console import duration

ORIGINS = {"machine": "machine", "device": "device", "versions": "versions", "commit": "commit"}
"""Columns of the cost table that say where and with what a stage ran, in words."""


def cost_sections(study: Study) -> list[Section]:
    """Return the cost by net and by stage, and where it was paid."""
    share = (
        "The share of the limit is the rate of the nets' operations in steps (two a multiply-accumulate of a "
        "convolution or a fully-connected layer, three times as many with the backward pass), over the rate of a plain "
        "matrix product in the same precision, measured by the same process. Narrow nets have small products, and "
        "reach little of it."
    )
    return [
        Section("cost", "Cost", (_lead(study),), (_by_net(study), _by_stage(study.costs)), (share,)),
        Section("machine", "Machine, commit and versions", (), (_origin(study.costs),)),
    ]


def _lead(study: Study) -> str:
    """Return the study's whole cost in a sentence or two."""
    costs = study.costs
    nets = costs[costs["arch"] != ""]
    total, steps = costs["seconds"].sum(), nets["work_seconds"].sum()
    device = agreed(
        {
            f"{row['stage']} {row['arch']}": f"{row['device']} ({count(row['threads'], 'thread')}, {row['precision']})"
            for row in nets.to_dict("records")
        }
    )
    return (
        f"{duration(total)} of stages' time on {device}; {steps / total:.0%} of it in steps that train, validate or "
        "classify. A stage's time runs from the start of its process, imports included, and counts the work kept "
        "from attempts that were cut off; what DVC itself takes between stages, and the writing of this report, are "
        "not in it. Stages that DVC took from its cache have the cost of the run that filled it."
    )


def _by_net(study: Study) -> Table:
    of_nets = study.costs[study.costs["arch"] != ""]
    stages = list(of_nets["stage"].unique())
    body = []
    for arch in study.archs:
        rows = of_nets[of_nets["arch"] == arch]
        trained = rows[rows["stage"] != "evaluate"]
        images, work = int(trained["images"].sum()), trained["work_seconds"].sum()
        body.append(
            (
                arch,
                *(_time(rows[rows["stage"] == stage]["seconds"]) for stage in stages),
                _time(rows["seconds"]),
                whole(images),
                whole(round(images / work)) if work else Number(NONE, None),
                *(
                    _share(rows[of_stage])
                    for of_stage in (rows["stage"].str.startswith("train"), rows["stage"] == "evaluate")
                ),
            )
        )
    header = ("net", *stages, "all", "images trained on", "images/s", "share of the limit, training", "evaluation")
    return Table("cost", "Cost of each net", header, body)


def _share(rows: pd.DataFrame) -> Number:
    """Return the share of the limit over several stages, each counting by its work."""
    known = rows.dropna(subset="share_of_limit")
    if not (work := known["work_seconds"].sum()):
        return Number(NONE, None)
    share = float((known["share_of_limit"] * known["work_seconds"]).sum() / work)
    return Number(f"{share:.1%}", share)


def _by_stage(costs: pd.DataFrame) -> Table:
    body = []
    for stage in [*costs["stage"].unique(), "all"]:
        of_stage = costs if stage == "all" else costs[costs["stage"] == stage]
        seconds, work = of_stage["seconds"], of_stage["work_seconds"]
        images = Number("", None) if stage == "all" else whole(int(of_stage["images"].sum()))
        body.append((stage, _time(seconds), _time(work), _time(seconds - work), images))
    header = ("stage", "time", "work", "start, reading and writing", "images")
    return Table("cost-stages", "Cost of each stage", header, body)


def _time(seconds: pd.Series) -> Number:
    total = float(seconds.sum())
    return Number(duration(total), total) if len(seconds) else Number(NONE, None)


def _origin(costs: pd.DataFrame) -> Table:
    columns = costs[["stage", "arch", "scale"]].itertuples(index=False)
    steps = [" ".join(part for part in columns_of if part) for columns_of in columns]
    body = [
        (words, agreed(dict(zip(steps, costs[column].replace("", NONE), strict=True))))
        for column, words in ORIGINS.items()
    ]
    return Table("machine", "Where and with what the stages ran", ("what", "value"), body, frozenset({0, 1}))
