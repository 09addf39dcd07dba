"""Rough estimate of a study's remaining work besides the running stage."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vgg_ablation.runtime import paths
from vgg_ablation.runtime.params import Params
from vgg_ablation.runtime.settings import StudySettings, evaluated_scales, trained_scales


@dataclass(frozen=True)
class Outlook:
    """Stages of a study's nets, and the work of those that have no results yet."""

    stages: int
    """All searches, trainings and evaluations of the nets."""
    finished: int
    """Those that have results, which may be results of other settings."""
    other_epochs: float
    """Epochs of searches and trainings without results, but for the stage that runs, as epochs of its net."""


def look_ahead(
    params: Params, study: StudySettings, own: Path, net: str, ablation: tuple[str, ...], count: Callable[..., float]
) -> Outlook:
    """Return the outlook of a study.

    Args:
        params: the selection.
        study: its settings.
        own: folder of the results of the stage that runs.
        net: net of the running stage.
        ablation: nets of `arch: all`.
        count: multiply-accumulates of an image, by net, classes, input side and width.
    """

    def cost(arch: str) -> float:
        return count(arch, 1, study.model.input_side, study.model.width)  # classes hardly count

    stages = list(_stages(study, params.nets(ablation), params.scale))
    left = [(each, epochs) for folder, each, epochs in stages if folder != own and not folder.exists()]
    finished = sum(folder != own and folder.exists() for folder, _, _ in stages)
    return Outlook(len(stages), finished, sum(epochs * cost(each) for each, epochs in left) / cost(net))


def _stages(study: StudySettings, nets: Sequence[str], scale: str) -> Iterator[tuple[Path, str, int]]:
    """Yield the stages of nets: folder of their results, net, and epochs."""
    runs = study.data.splits
    for net in nets:
        yield paths.search(net), net, study.tune.trials * study.tune.epochs
        for each in trained_scales(scale):
            yield paths.training(net, each), net, runs * study.epochs_at(each)
        for each in evaluated_scales(scale):
            yield paths.evaluation(net, each), net, 0
