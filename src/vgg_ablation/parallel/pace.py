"""Speed of this machine at a study's work: a few steps of a net on random pixels, and the start of a stage."""

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from vgg_ablation.dataset.preprocess import largest_side
from vgg_ablation.dataset.sample import CATEGORIES, render_sample
from vgg_ablation.device import Compute
from vgg_ablation.evaluate.protocols import PackedImages, View, count_view_gmacs, posteriors, views
from vgg_ablation.images.batches import Batches, Colour
from vgg_ablation.images.pixels import Pixels
from vgg_ablation.model.table1 import count_gmacs
from vgg_ablation.model.vgg import VGG
from vgg_ablation.parallel.counts import ASPECT, Images, typical_batch
from vgg_ablation.runtime.checkpoints import BackgroundCheckpoints
from vgg_ablation.runtime.settings import StudySettings
from vgg_ablation.runtime.state import repository_root
from vgg_ablation.train import checkpoint
from vgg_ablation.train.memory import images_at_once
from vgg_ablation.train.run import validate
from vgg_ablation.train.step import TrainingStep

REPETITIONS = 7
"""Most repetitions, whose median counts."""
_LONG = 1.0  # seconds of all repetitions together, after which there is no further one
_MOST_IMAGES = 64  # to validate or to classify
_MOST_OPERATIONS = 2.5e12  # of one repetition on a CPU: fewer images are taken where more would exceed it
_RENDERED = 3  # images a category
_IMPORTS = "import torch, vgg_ablation.train.experiment, vgg_ablation.evaluate.protocols, vgg_ablation.train.search"


@dataclass(frozen=True)
class Pace:
    """Seconds that one net takes at one training scale."""

    step: float
    """Seconds of a training step of a whole batch, input included."""
    validation: float
    """Seconds of a validation image."""
    evaluation: float
    """Seconds of a test image, by all protocols of the study."""
    fitting: float
    """Seconds of the centre crop of a training image, for the training error."""
    compiling: float
    """Seconds that compiling the net takes, once a study."""
    preparing: float
    """Seconds before the first step of a trial or run: loading what was compiled, or capturing it."""
    copying: float
    """Seconds that an epoch takes longer, as its checkpoint is copied."""
    writing: float
    """Seconds at the end of a trial or run until its last checkpoint is written."""


def measure_pace(arch: str, scale: str, study: StudySettings, images: Images, compute: Compute) -> Pace:
    """Time one net of the study at one of its training scales, on random pixels."""
    on_gpu = compute.device.type == "cuda"

    def affordable(count: int, gmacs: float) -> int:
        """Return how many of `count` images to take, of which each takes `gmacs` 1e9 multiply-accumulates."""
        return count if on_gpu else max(1, min(count, int(_MOST_OPERATIONS / (2e9 * gmacs))))

    whole = typical_batch(study.tune, images.training)
    batch = affordable(whole, 3 * count_gmacs(arch, images.classes, study.model.input_side, study.model.width))
    shown = min(_MOST_IMAGES, images.validation)

    def stored_at(side: int) -> Batches:
        heights = torch.full((max(batch, shown),), side)
        widths = torch.full_like(heights, round(ASPECT * side))
        return random_batches(heights, widths, study.model.input_side, images.classes, compute)

    stored = PackedImages(stored_at(study.scales.fixed.train), stored_at(largest_side(study.scales)))
    at = study.scales.of(scale)
    batches = stored.fixed
    if scale != "fixed":
        batches = replace(stored.larger, training_scale=at.train, test_scale=at.single)
    numbers = torch.arange(len(batches.pixels.labels))
    network = VGG(arch, images.classes, **study.model.model_dump())
    network.to(compute.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    largest, draws = images_at_once(network, study.model.input_side, compute), torch.Generator().manual_seed(0)

    def new_step() -> TrainingStep:
        return TrainingStep(
            network, compute, learning_rate=1e-4, momentum=study.train.momentum, weight_decay=0.0, largest=largest
        )

    take_step = new_step()

    def step() -> None:
        for crops, labels in batches.training(numbers[:batch], batch, study.train.colour_shift, draws):
            take_step(crops, labels)[0].item()

    tested = {view for protocol in study.evaluate.protocols.of(scale) for view in views(protocol, at.test)}
    classified = numbers[
        : affordable(shown, sum(count_view_gmacs(network, stored, numbers[:1], view) for view in tested))
    ]

    def classify(*some: View) -> None:
        for view in some:
            posteriors(network, stored, classified, view, compute)

    network.train()
    compiling = _seconds(step)  # and whatever else takes longer in the first step of a process
    take_step = new_step()
    preparing, a_step = _seconds(step), _median(step)
    checkpoint_times = measure_checkpoint(take_step)
    return Pace(
        step=a_step * whole / batch,
        validation=_median(lambda: validate(network, batches, numbers[:shown], compute)) / shown,
        evaluation=_median(lambda: classify(*tested)) / len(classified),
        fitting=_median(lambda: classify(View("centre", at.single))) / len(classified),
        compiling=max(0.0, compiling - preparing),
        preparing=max(0.0, preparing - a_step),
        copying=checkpoint_times.copied,
        writing=checkpoint_times.written - checkpoint_times.copied,
    )


@dataclass(frozen=True)
class CheckpointTimes:
    """Seconds of one checkpoint."""

    copied: float
    """Until training goes on."""
    written: float
    """Until the file is whole."""


def measure_checkpoint(
    take_step: TrainingStep, kind: type[BackgroundCheckpoints] = BackgroundCheckpoints
) -> CheckpointTimes:
    """Write two checkpoints and measure the second, for which memory need not be reserved any more.

    Args:
        take_step: has taken a step, so that there is momentum.
        kind: kind of checkpoints.
    """
    times: list[CheckpointTimes] = []
    with (
        TemporaryDirectory(dir=repository_root()) as folder,
        kind(Path(folder) / "checkpoint", print) as checkpoints,
    ):
        for _ in range(2):
            began = time.perf_counter()
            checkpoint.keep(checkpoints, take_step.network, take_step.optimiser, take_step.scaler, [])
            checkpoints.write_kept()
            if torch.cuda.is_available():
                torch.cuda.synchronize()  # the next step's kernels wait for the copy
            copied = time.perf_counter() - began
            checkpoints.wait()
            times.append(CheckpointTimes(copied, time.perf_counter() - began))
    return times[-1]


def measure_start() -> float:
    """Return the seconds that a stage's process takes to start and import what it needs."""
    return _seconds(lambda: subprocess.run([sys.executable, "-c", _IMPORTS], check=True))  # noqa: S603 (our own)


def measure_rendering() -> float:
    """Return the seconds that rendering one image of the sample takes."""
    return _seconds(lambda: list(render_sample(_RENDERED))) / (_RENDERED * len(CATEGORIES))


def random_batches(heights: Tensor, widths: Tensor, crop: int, classes: int, compute: Compute) -> Batches:
    """Return images of random pixels, with `heights` and `widths` (N,), for crops of side `crop`."""
    sizes = 3 * heights * widths
    draws = torch.Generator().manual_seed(0)
    pixels = Pixels(
        flat=torch.randint(0, 256, (int(sizes.sum()),), dtype=torch.uint8, generator=draws),
        offsets=sizes.cumsum(0) - sizes,
        heights=heights,
        widths=widths,
        labels=torch.arange(len(sizes)) % classes,
        categories=tuple(map(str, range(classes))),
        digest="",
    )
    colour = Colour(torch.full((3,), 0.5), torch.full((3,), 0.3), torch.zeros(3, 3))
    return Batches(pixels.resident(compute.device), colour, crop, compute.device)


def _median(work: Callable[[], object]) -> float:
    times: list[float] = []
    while len(times) < REPETITIONS and sum(times) < _LONG:
        times.append(_seconds(work))
    return median(times)


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
