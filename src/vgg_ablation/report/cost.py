"""What the study cost: a report of its own, as times differ from run to run and the other files must not."""

import pandas as pd

from vgg_ablation.pipeline.console import duration
from vgg_ablation.report.inputs import NET_STAGES, Study
from vgg_ablation.report.sections import Section
from vgg_ablation.report.tables import Table, agreed


def cost_lead(study: Study) -> str:
    """Return the study's whole cost in a sentence or two."""
    costs = study.costs
    nets = costs[costs["arch"] != ""]
    whole, steps = costs["seconds"].sum(), nets["work_seconds"].sum()
    device = agreed(
        {
            f"{row['stage']} {row['arch']}": f"{row['device']} ({row['threads']} threads, {row['precision']})"
            for row in nets.to_dict("records")
        }
    )
    return (
        f"{duration(whole)} of stages' time on {device}; {steps / whole:.0%} of it in steps that train, validate or "
        "classify. A stage's time runs from the start of its process, imports included, and counts the work kept "
        "from attempts that were cut off; what DVC itself takes between stages, and the writing of this report, are "
        "not in it. Stages that DVC took from its cache have the cost of the run that filled it."
    )


def cost_sections(study: Study) -> list[Section]:
    """Return the cost by net and by stage."""
    share = (
        "The share of the limit is the rate of the nets' operations in steps (two a multiply-accumulate of a "
        "convolution or a fully-connected layer, three times as many with the backward pass), over the rate of a plain "
        "matrix product in the same precision, measured by the same process. Narrow nets have small products, and "
        "reach little of it."
    )
    return [
        Section("nets", "By net", (), (_by_net(study),), (share,)),
        Section("stages", "By stage", (), (_by_stage(study.costs),)),
    ]


def _by_net(study: Study) -> Table:
    body = []
    for net in study.nets:
        of_net = study.costs[study.costs["arch"] == net.arch]
        rows = of_net.set_index("stage").loc[list(NET_STAGES)]
        trained_on = rows.loc[["tune", "train"]]
        body.append(
            (
                net.arch,
                *(duration(seconds) for seconds in rows["seconds"]),
                duration(rows["seconds"].sum()),
                f"{trained_on['images'].sum():,}",
                f"{trained_on['images'].sum() / trained_on['work_seconds'].sum():,.0f}",
                *(f"{rows.loc[stage, 'share_of_limit']:.1%}" for stage in ("train", "evaluate")),
            )
        )
    header = ("net", *NET_STAGES, "all", "images trained on", "images/s", "share of the limit, train", "evaluate")
    return Table("Cost of each net", header, body)


def _by_stage(costs: pd.DataFrame) -> Table:
    body = []
    for stage in [*costs["stage"].unique(), "all"]:
        of_stage = costs if stage == "all" else costs[costs["stage"] == stage]
        seconds, work = of_stage["seconds"].sum(), of_stage["work_seconds"].sum()
        images = "" if stage == "all" else f"{of_stage['images'].sum():,}"
        body.append((stage, duration(seconds), duration(work), duration(seconds - work), images))
    return Table("Cost of each stage", ("stage", "time", "work", "start, reading and writing", "images"), body)
