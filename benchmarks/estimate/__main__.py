"""Estimate how long the study that params.yaml names will take here: `python -m benchmarks.estimate`.

Nothing of the study has to exist: each net takes a few steps on random pixels, and the rest is counted.
"""

from collections.abc import Mapping, Sequence

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.estimate.counts import (
    Images,
    count_images,
    count_search_epochs,
    count_shared_stages,
    count_steps,
    evaluated_scales,
    training_scales,
)
from benchmarks.estimate.pace import Pace, measure_pace, measure_rendering, measure_start
from vgg_ablation.device import Compute, choose_compute
from vgg_ablation.model.table1 import ABLATION, ARCHITECTURES, NETS
from vgg_ablation.runtime.console import duration, stage
from vgg_ablation.runtime.params import read_params
from vgg_ablation.runtime.settings import StudySettings


def epoch_seconds(study: StudySettings, images: Images, pace: Pace) -> float:
    """Return the seconds of an epoch, its validation included."""
    return count_steps(study.train, images.training) * pace.step + images.validation * pace.validation


def shallow_seconds(study: StudySettings, images: Images, archs: Sequence[str], compute: Compute) -> float:
    """Return the seconds of training the A that deeper nets start from: once for the search and once a run."""
    if study.model.init != "paper" or not any(NETS[arch].starts_from_A for arch in archs):
        return 0.0
    epochs = study.tune.epochs + study.data.splits * study.train.epochs
    return epochs * epoch_seconds(study, images, measure_pace("A", "fixed", study, images, compute))


def stages_seconds(
    study: StudySettings, images: Images, paces: Mapping[str, Pace], selection: str, start: float
) -> dict[str, float]:
    """Return the seconds of the search, the trainings and the evaluations of one net.

    Args:
        study: settings.
        images: of a split.
        paces: of the net, by training scale.
        selection: `scale` of params.yaml.
        start: seconds that a stage's process takes to start.
    """
    runs = study.data.splits
    begin = {scale: start + pace.warm_up for scale, pace in paces.items()}
    epoch = {scale: epoch_seconds(study, images, pace) for scale, pace in paces.items()}
    epochs = {scale: (study.train if scale == "fixed" else study.fine_tune).epochs for scale in paces}
    return {
        "search": begin["fixed"] + count_search_epochs(study.tune) * epoch["fixed"],
        "training": sum(begin[scale] + runs * epochs[scale] * epoch[scale] for scale in training_scales(selection)),
        "evaluation": sum(
            start + runs * (images.test * paces[scale].evaluation + images.training * paces[scale].fitting)
            for scale in evaluated_scales(selection)
        ),
    }


def main() -> None:
    """Measure, count and print."""
    with stage("estimate") as console:
        params = read_params()
        params.require_selection(ARCHITECTURES)
        study = params.whole(StudySettings)
        images = count_images(study.data)
        compute = choose_compute(study.compute.threads)
        start = measure_start()
        archs = ABLATION if params.arch == "all" else (params.arch,)
        nets: dict[str, dict[str, float]] = {}
        with console.task("net", len(archs)) as task:
            for arch in archs:
                scales = training_scales(params.scale)
                paces = {scale: measure_pace(arch, scale, study, images, compute) for scale in scales}
                nets[arch] = stages_seconds(study, images, paces, params.scale, start)
                task.advance(f"{arch}, {duration(sum(nets[arch].values()))}")
        shared = count_shared_stages(params.arch, params.scale) * start + shallow_seconds(study, images, archs, compute)
        if study.data.source == "sample":
            shared += measure_rendering() * (images.training + images.validation + images.test)
        total = shared + sum(sum(seconds.values()) for seconds in nets.values())

        device = f"{compute.names['device']} ({torch.get_num_threads()} threads, {compute.names['precision']})"
        table = Table(title=f"Study {params.study}, arch {params.arch}, scale {params.scale}, on {device}")
        table.add_column("net")
        for column in ("search", "training", "evaluation", "all"):
            table.add_column(column, justify="right")
        for arch, seconds in nets.items():
            table.add_row(arch, *map(duration, (*seconds.values(), sum(seconds.values()))))
        table.add_row("shared", "", "", "", duration(shared))
        table.add_row("all", "", "", "", duration(total), style="bold")
        Console().print(table)
        if study.data.source != "sample":
            console.say("not counted: fetching and packing the archive; assumed: Caltech-256's mean images a category")
        console.made(f"study {params.study}: {duration(total)} ({total:.0f} s), estimated")


if __name__ == "__main__":
    main()
