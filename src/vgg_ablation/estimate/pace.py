"""How fast this machine is at a study's work: a few steps of each net on random pixels, and one start of a stage."""

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch

from vgg_ablation.data.batches import Batches, Colour
from vgg_ablation.data.pixels import Pixels
from vgg_ablation.data.sample import CATEGORIES, render_sample
from vgg_ablation.estimate.counts import Images
from vgg_ablation.evaluate.protocols import posteriors
from vgg_ablation.model.configurations import count_gmacs
from vgg_ablation.model.vgg import VGG
from vgg_ablation.pipeline.compute import Compute
from vgg_ablation.settings import StudySettings
from vgg_ablation.train.memory import images_at_once
from vgg_ablation.train.run import validate
from vgg_ablation.train.step import TrainingStep

TIMED = 7
"""Repetitions, of which the median counts."""
_AT_MOST = 64  # images to validate or to test on: enough to be timed, and few
_OPERATIONS = 5e12  # of a timed step on a CPU at most: a batch that takes more is timed in part
_RENDERED = 3  # images a category
_ASPECT = 4 / 3  # of a photograph: the longer side of an uncropped image
_STAGE = "import torch, vgg_ablation.train.experiment, vgg_ablation.evaluate.protocols, vgg_ablation.train.tune"


@dataclass(frozen=True)
class Pace:
    """Seconds that one net takes."""

    step: float
    """A training step of a whole batch, its input included."""
    validation: float
    """An image of the validation."""
    evaluation: float
    """A test image, under all the study's protocols."""
    warm_up: float
    """A process's first step, beyond what later ones take."""


def measure_pace(arch: str, study: StudySettings, images: Images, compute: Compute) -> Pace:
    """Time one net of the study on pixels drawn at random."""
    whole = min(study.train.batch_size, images.training)
    gmacs = count_gmacs(arch, images.classes, study.model.input_side, study.model.width)
    batch = whole if compute.device.type == "cuda" else max(1, min(whole, int(_OPERATIONS / (6e9 * gmacs))))
    shown = min(_AT_MOST, images.validation)
    batches = _random_batches(max(batch, shown), study, images.classes, compute)
    numbers = torch.arange(len(batches.pixels.labels))
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

    def classify() -> None:
        for protocol in study.evaluate.protocols:
            posteriors(network, batches, numbers[:shown], protocol, compute)

    network.train()
    first = _seconds(step)
    seconds = _typical(step)
    return Pace(
        step=seconds * whole / batch,
        validation=_typical(lambda: validate(network, batches, numbers[:shown], compute)) / shown,
        evaluation=_typical(classify) / shown,
        warm_up=max(0.0, first - seconds),
    )


def measure_start() -> float:
    """Return the seconds that a stage's process takes to import what the stages of the nets import."""
    return _seconds(lambda: subprocess.run([sys.executable, "-c", _STAGE], check=True))  # noqa: S603 (our own)


def measure_rendering() -> float:
    """Return the seconds that an image of the rendered sample takes."""
    return _seconds(lambda: list(render_sample(_RENDERED))) / (_RENDERED * len(CATEGORIES))


def _random_batches(count: int, study: StudySettings, classes: int, compute: Compute) -> Batches:
    height, width = study.data.side, round(_ASPECT * study.data.side)
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
    return Batches(pixels.resident(compute.device), colour, study.model.input_side, compute.device)


def _typical(work: Callable[[], object]) -> float:
    return median(_seconds(work) for _ in range(TIMED))


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
