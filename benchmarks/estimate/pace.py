"""How fast this machine is at a study's work: a few steps of each net on random pixels, and one start of a stage."""

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median

import torch

from benchmarks.estimate.counts import Images
from vgg_ablation.dataset.sample import CATEGORIES, render_sample
from vgg_ablation.device import Compute
from vgg_ablation.evaluate.protocols import Stored, View, count_view_gmacs, posteriors, views
from vgg_ablation.images.batches import Batches, Colour
from vgg_ablation.images.pixels import Pixels
from vgg_ablation.model.table1 import count_gmacs
from vgg_ablation.model.vgg import VGG
from vgg_ablation.runtime.settings import StudySettings
from vgg_ablation.train.memory import images_at_once
from vgg_ablation.train.run import validate
from vgg_ablation.train.step import TrainingStep

TIMED = 7
"""Repetitions, of which the median counts; fewer of what takes long."""
_LONG = 1.0  # seconds, of all repetitions together, after which there is no further one
_AT_MOST = 64  # images to validate or to test on: enough to be timed, and few
_OPERATIONS = 5e12  # of what is timed on a CPU at most: where more images take more, fewer are taken
_RENDERED = 3  # images a category
_ASPECT = 4 / 3  # of a photograph: the longer side of an uncropped image
_STAGE = "import torch, vgg_ablation.train.experiment, vgg_ablation.evaluate.protocols, vgg_ablation.train.search"


@dataclass(frozen=True)
class Pace:
    """Seconds that one net takes at one training scale."""

    step: float
    """A training step of a whole batch, its input included."""
    validation: float
    """An image of the validation."""
    evaluation: float
    """A test image, under all the study's protocols."""
    fitting: float
    """A training image's centre crop, for the training error."""
    warm_up: float
    """A process's first step, beyond what later ones take."""


def measure_pace(arch: str, scale: str, study: StudySettings, images: Images, compute: Compute) -> Pace:
    """Time one net of the study at one of its training scales, on pixels drawn at random."""
    whole = min(study.train.batch_size, images.training)
    gmacs = count_gmacs(arch, images.classes, study.model.input_side, study.model.width)
    batch = whole if compute.device.type == "cuda" else max(1, min(whole, int(_OPERATIONS / (6e9 * gmacs))))
    shown = min(_AT_MOST, images.validation)
    stored = _random_images(max(batch, shown), study, images.classes, compute)
    at = study.scales.of(scale)
    batches = stored.fixed
    if scale != "fixed":
        batches = replace(stored.larger, training_scale=at.train, test_scale=at.single)
    numbers = torch.arange(len(batches.pixels.labels))
    tested = {view for protocol in study.evaluate.protocols.of(scale) for view in views(protocol, at.test)}
    network = VGG(arch, images.classes, **study.model.model_dump())
    network.to(compute.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    take_step = TrainingStep(
        network, compute, learning_rate=1e-4, momentum=study.train.momentum, weight_decay=0.0,
        largest=images_at_once(network, study.model.input_side, compute),
    )  # fmt: skip
    draws = torch.Generator().manual_seed(0)

    def step() -> None:
        for crops, labels in batches.training(numbers[:batch], batch, study.train.colour_shift, draws):
            take_step(crops, labels).item()

    one_image = 2e9 * sum(count_view_gmacs(network, stored, numbers[:1], view) for view in tested)
    classified = numbers[: shown if compute.device.type == "cuda" else max(1, min(shown, int(_OPERATIONS / one_image)))]

    def classify(*some: View) -> None:
        for view in some:
            posteriors(network, stored, classified, view, compute)

    network.train()
    first = _seconds(step)
    seconds = _typical(step)
    return Pace(
        step=seconds * whole / batch,
        validation=_typical(lambda: validate(network, batches, numbers[:shown], compute)) / shown,
        evaluation=_typical(lambda: classify(*tested)) / len(classified),
        fitting=_typical(lambda: classify(View("centre", at.single))) / len(classified),
        warm_up=max(0.0, first - seconds),
    )


def measure_start() -> float:
    """Return the seconds that a stage's process takes to import what the stages of the nets import."""
    return _seconds(lambda: subprocess.run([sys.executable, "-c", _STAGE], check=True))  # noqa: S603 (our own)


def measure_rendering() -> float:
    """Return the seconds that an image of the rendered sample takes."""
    return _seconds(lambda: list(render_sample(_RENDERED))) / (_RENDERED * len(CATEGORIES))


def _random_images(count: int, study: StudySettings, classes: int, compute: Compute) -> Stored:
    fixed, larger = (
        _random_batches(side, count, study.model.input_side, classes, compute)
        for side in (study.scales.fixed.train, study.scales.largest)
    )
    return Stored(fixed, larger)


def _random_batches(side: int, count: int, crop: int, classes: int, compute: Compute) -> Batches:
    height, width = side, round(_ASPECT * side)
    size = height * width * 3
    draws = torch.Generator().manual_seed(0)
    pixels = Pixels(
        flat=torch.randint(0, 256, (count * size,), dtype=torch.uint8, generator=draws),
        offsets=size * torch.arange(count),
        heights=torch.full((count,), height),
        widths=torch.full((count,), width),
        labels=torch.arange(count) % classes,
        categories=tuple(map(str, range(classes))),
        digest="",
    )
    colour = Colour(torch.full((3,), 0.5), torch.full((3,), 0.3), torch.zeros(3, 3))
    return Batches(pixels.resident(compute.device), colour, crop, compute.device)


def _typical(work: Callable[[], object]) -> float:
    times: list[float] = []
    while len(times) < TIMED and sum(times) < _LONG:
        times.append(_seconds(work))
    return median(times)


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
