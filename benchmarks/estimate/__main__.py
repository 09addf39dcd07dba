"""Say how long the study that params.yaml names will take here: `python -m benchmarks.estimate`.

Nothing of the study needs to be there: each net takes a few steps on random pixels, the rest is counted.
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
from vgg_ablation.model.table1 import ABLATION, ARCHITECTURES
from vgg_ablation.runtime.console import duration, stage
from vgg_ablation.runtime.params import one_of, read_params
from vgg_ablation.runtime.settings import SELECTIONS, StudySettings

_SHALLOW = {"A", "A_LRN", "B_5x5"}  # these start at random in every study


def epoch_seconds(study: StudySettings, images: Images, pace: Pace) -> float:
    """Return the seconds of an epoch, its validation included."""
    return count_steps(study.train, images.training) * pace.step + images.validation * pace.validation


def shallow_seconds(study: StudySettings, images: Images, archs: Sequence[str], compute: Compute) -> float:
    """Return the seconds of the A that B to E start from: trained once for the search and once a run, for all."""
    if study.model.init != "paper" or not set(archs) - _SHALLOW:
        return 0.0
    epochs = study.tune.epochs + study.data.splits * study.train.epochs
    return epochs * epoch_seconds(study, images, measure_pace("A", "fixed", study, images, compute))


def stages_seconds(
    study: StudySettings, images: Images, paces: Mapping[str, Pace], selection: str, start: float
) -> dict[str, float]:
    """Return the seconds that the stages of one net will take: its search, its trainings, its evaluations.

    Args:
        study: its settings.
        images: those of a split.
        paces: the net's, by training scale: those that `selection` needs.
        selection: `scale` of params.yaml.
        start: seconds that a stage's process takes to begin.
    """
    runs = study.data.splits
    begin = {scale: start + pace.warm_up for scale, pace in paces.items()}
    epoch = {scale: epoch_seconds(study, images, pace) for scale, pace in paces.items()}
    epochs = {scale: (study.train if scale == "fixed" else study.fine_tune).epochs for scale in paces}
    return {
        "tune": begin["fixed"] + count_search_epochs(study.tune) * epoch["fixed"],
        "train": sum(begin[scale] + runs * epochs[scale] * epoch[scale] for scale in training_scales(selection)),
        "evaluate": sum(
            start + runs * (images.test * paces[scale].evaluation + images.training * paces[scale].fitting)
            for scale in evaluated_scales(selection)
        ),
    }


def main() -> None:
    """Measure, count and print."""
    with stage("estimate") as report:
        params = read_params()
        one_of("params.yaml: arch", params.arch, ("all", *ARCHITECTURES))
        one_of("params.yaml: scale", params.scale, SELECTIONS)
        study = params.whole(StudySettings)
        images = count_images(study.data)
        compute = choose_compute(study.compute.threads)
        start = measure_start()
        nets: dict[str, dict[str, float]] = {}
        archs = ABLATION if params.arch == "all" else (params.arch,)
        with report.task("net", len(archs)) as task:
            for arch in archs:
                paces = {
                    scale: measure_pace(arch, scale, study, images, compute) for scale in training_scales(params.scale)
                }
                nets[arch] = stages_seconds(study, images, paces, params.scale, start)
                task.advance(f"{arch}, {duration(sum(nets[arch].values()))}")
        shared = count_shared_stages(params.arch, params.scale) * start + shallow_seconds(study, images, archs, compute)
        if study.data.source == "sample":
            shared += measure_rendering() * (images.training + images.validation + images.test)
        total = shared + sum(sum(stages.values()) for stages in nets.values())

        device = f"{compute.names['device']} ({torch.get_num_threads()} threads, {compute.names['precision']})"
        table = Table(title=f"Study {params.study}, arch {params.arch}, scale {params.scale}, on {device}")
        table.add_column("net")
        for column in ("search", "training", "evaluation", "all"):
            table.add_column(column, justify="right")
        for arch, stages in nets.items():
            table.add_row(arch, *(duration(seconds) for seconds in (*stages.values(), sum(stages.values()))))
        table.add_row("shared", "", "", "", duration(shared))
        table.add_row("all", "", "", "", duration(total), style="bold")
        Console().print(table)
        if study.data.source != "sample":
            report.say("fetching and packing the archive are not counted; images a category as in all of Caltech-256")
        report.made(f"study {params.study}: {duration(total)} ({total:.0f} s), estimated")


if __name__ == "__main__":
    main()
