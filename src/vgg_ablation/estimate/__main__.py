"""Say how long the study that params.yaml names will take here: `python -m vgg_ablation.estimate`.

Nothing of the study needs to be there: each net takes a few steps on random pixels, the rest is counted.
"""

from collections.abc import Sequence

import torch
from rich.console import Console
from rich.table import Table

from vgg_ablation.estimate.counts import Images, count_images, count_search_epochs, count_steps
from vgg_ablation.estimate.pace import Pace, measure_pace, measure_rendering, measure_start
from vgg_ablation.model.configurations import ARCHITECTURES
from vgg_ablation.pipeline.compute import Compute, choose_compute
from vgg_ablation.pipeline.console import duration, stage
from vgg_ablation.pipeline.params import one_of, read_params
from vgg_ablation.settings import StudySettings

_STAGES_OF_ALL = 4  # download, preprocess, aggregate, report


def epoch_seconds(study: StudySettings, images: Images, pace: Pace) -> float:
    """Return the seconds of an epoch, its validation included."""
    return count_steps(study.train, images.training) * pace.step + images.validation * pace.validation


def shallow_seconds(study: StudySettings, images: Images, archs: Sequence[str], compute: Compute) -> float:
    """Return the seconds of the A that B to E start from: trained once for the search and once a run, for all."""
    if study.model.init != "paper" or not set(archs) - {"A", "A_LRN"}:
        return 0.0
    epochs = study.tune.epochs + study.data.splits * study.train.epochs
    return epochs * epoch_seconds(study, images, measure_pace("A", study, images, compute))


def stages_seconds(study: StudySettings, images: Images, pace: Pace, start: float) -> dict[str, float]:
    """Return the seconds that the stages of one net will take, by their names."""
    epoch = epoch_seconds(study, images, pace)
    begin = start + pace.warm_up
    runs = study.data.splits
    return {
        "tune": begin + count_search_epochs(study.tune) * epoch,
        "train": begin + runs * study.train.epochs * epoch,
        "evaluate": start + runs * images.test * pace.evaluation,
    }


def main() -> None:
    """Measure, count and print."""
    with stage("estimate") as report:
        params = read_params()
        one_of("params.yaml: arch", params.arch, ("all", *ARCHITECTURES))
        study = params.whole(StudySettings)
        images = count_images(study.data)
        compute = choose_compute()
        start = measure_start()
        nets: dict[str, dict[str, float]] = {}
        archs = ARCHITECTURES if params.arch == "all" else (params.arch,)
        with report.task("net", len(archs)) as task:
            for arch in archs:
                nets[arch] = stages_seconds(study, images, measure_pace(arch, study, images, compute), start)
                task.advance(f"{arch}, {duration(sum(nets[arch].values()))}")
        shared = _STAGES_OF_ALL * start + shallow_seconds(study, images, archs, compute)
        if study.data.source == "sample":
            shared += measure_rendering() * (images.training + images.validation + images.test)
        total = shared + sum(sum(stages.values()) for stages in nets.values())

        device = f"{compute.names['device']} ({torch.get_num_threads()} threads, {compute.names['precision']})"
        table = Table(title=f"Study {params.study}, arch {params.arch}, on {device}")
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
