"""Time and memory of appendix B at full size: `python -m benchmarks.appendix_b` (make appendix-b-cost).

Features of a few random images with random weights of full width, and classifiers on made-up features of fewer
dimensions, are measured on this machine; the rest is counted. Writes docs/appendix-b-cost.md and its data.
"""

import gc
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch

from benchmarks.speed import peak_memory
from benchmarks.speed.stand_in import CATEGORIES, FILES
from vgg_ablation.appendix_b.classifier import TOLERANCE, fit
from vgg_ablation.appendix_b.descriptors import unit_length, variants
from vgg_ablation.appendix_b.features import pooled
from vgg_ablation.device import Compute, choose_compute
from vgg_ablation.errors import StageError
from vgg_ablation.files import read_json, write_json, write_text
from vgg_ablation.model.published import CLASSES, PUBLISHED, SHAPE
from vgg_ablation.model.table1 import HIDDEN_UNITS, count_gmacs
from vgg_ablation.model.vgg import VGG
from vgg_ablation.parallel.counts import ASPECT
from vgg_ablation.report.table import Table
from vgg_ablation.runtime.console import Console, duration, stage
from vgg_ablation.runtime.params import read_params
from vgg_ablation.runtime.provenance import describe_machine
from vgg_ablation.runtime.settings import AppendixBSettings

PAGE, DATA = Path("docs/appendix-b-cost.md"), Path("docs/appendix-b-cost.json")
MEASURED = ("A", "D")
"""Nets whose features are measured; the time of the others follows from their multiply-accumulates."""
TIMED = (512, 1536)
"""Dimensions of the made-up descriptors of all training images, on which a step is timed; real ones have more."""
GRID = 50, 256
"""Categories and dimensions of the smaller problem on which the steps along the grid of C are counted."""
_TIMED_STEPS = 0.02  # tolerance: a few steps are enough
_SAMPLE = 4  # images at each scale

Result = TypeVar("Result")


class Elapsed(NamedTuple):
    """Time of a piece of work."""

    seconds: float
    """By the clock."""
    work: float
    """Seconds of all threads together, divided by their number: the time on a machine that does nothing else."""


@dataclass(frozen=True)
class Features:
    """Features of some images with one net at one scale."""

    net: str
    scale: int
    images: int
    seconds: float
    work: float
    peak_mib: float


@dataclass(frozen=True)
class Fits:
    """Fits of the classifier along the grid of C, each from the one before."""

    categories: int
    dimensions: int
    images: int
    penalties: list[float]
    steps: list[int]
    seconds: list[float]
    work: list[float]
    peak_mib: float


def timed(body: Callable[[], Result]) -> tuple[Result, Elapsed]:
    """Call `body`; return its result and its cost."""
    began, used = time.perf_counter(), time.process_time()
    result = body()
    return result, Elapsed(time.perf_counter() - began, (time.process_time() - used) / torch.get_num_threads())


def start_peak() -> None:
    """Begin a new peak of memory."""
    gc.collect()
    peak_memory.give_back()
    peak_memory.reset()


@torch.inference_mode()
def measure_features(net: str, scales: Sequence[int], compute: Compute, console: Console) -> list[Features]:
    """Measure the features of random images of a net with random weights."""
    network = VGG(net, CLASSES, **SHAPE).eval().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    found = []
    for scale in scales:
        inputs = torch.randn(_SAMPLE, 3, scale, round(ASPECT * scale)).contiguous(memory_format=torch.channels_last)
        pooled(network, inputs[:1], compute, relu=True)  # the first of a size takes longer
        start_peak()
        _, cost = timed(partial(pooled, network, inputs, compute, relu=True))
        found.append(Features(net, scale, _SAMPLE, *cost, peak_memory.peak_mib() or 0.0))
        console.say(f"{net} at {scale}: {_SAMPLE / cost.seconds:.2f} images a second, {_SAMPLE / cost.work:.2f} alone")
    return found


def made_up(categories: int, dimensions: int, images: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return descriptors (N, D) of overlapping classes, rectified and of unit length, and labels (N,)."""
    draws = torch.Generator().manual_seed(0)
    centres = torch.randn(categories, dimensions, generator=draws)
    labels = torch.arange(images) % categories
    noise = torch.randn(images, dimensions, generator=draws)
    return unit_length((centres[labels] + 4 * noise).relu_()), labels


def measure_fits(
    categories: int, dimensions: int, per_class: int, penalties: Sequence[float], tolerance: float, console: Console
) -> Fits:
    """Fit the classifier to made-up descriptors with each C of a grid, each fit from the one before."""
    start_peak()
    descriptors, labels = made_up(categories, dimensions, categories * per_class)
    steps: list[int] = []
    costs: list[Elapsed] = []
    weights = None
    for penalty in penalties:
        found, cost = timed(partial(fit, descriptors, labels, categories, penalty, weights, tolerance=tolerance))
        costs.append(cost)
        steps.append(found.steps)
        weights = found.weights
        console.say(f"{dimensions} dimensions, C {penalty:g}: {found.steps} steps in {cost.seconds:.0f} s")
    seconds, work = ([round(value, 2) for value in values] for values in zip(*costs, strict=True))
    peak = peak_memory.peak_mib() or 0.0
    return Fits(categories, dimensions, len(labels), list(penalties), steps, seconds, work, peak)


def measure(settings: AppendixBSettings, console: Console) -> dict[str, Any]:
    """Return all that docs/appendix-b-cost.json holds."""
    if isinstance(settings.data.train_per_class, str):
        raise StageError(f"appendix_b.data.train_per_class = {settings.data.train_per_class}: needs a number here")
    compute = choose_compute(settings.threads)
    features = [one for net in MEASURED for one in measure_features(net, settings.scales, compute, console)]
    per_class = settings.data.train_per_class
    timed_fits = [
        measure_fits(CATEGORIES, dimensions, per_class, settings.penalties[:1], _TIMED_STEPS, console)
        for dimensions in TIMED
    ]
    grid = measure_fits(*GRID, per_class, settings.penalties, TOLERANCE, console)
    return {
        "machine": f"{describe_machine()}, {compute}, {settings.threads} threads",
        "load": round(os.getloadavg()[0], 1),
        "features": [asdict(one) for one in features],
        "timed": [asdict(one) for one in timed_fits],
        "grid": asdict(grid),
    }


def image_gmacs(net: str, scale: int) -> float:
    """Return the multiply-accumulates (1e9) of an image and its mirror image."""
    return 2 * count_gmacs(net, 1, image=(scale, round(ASPECT * scale)))


def predict(data: dict[str, Any], settings: AppendixBSettings) -> dict[str, tuple[float, float]]:
    """Return seconds of features and of classifiers of each net, on this machine if it does nothing else.

    The features of a net that was not measured take the mean time a multiply-accumulate at their scale. A step of the
    classifier takes a time proportional to the dimensions; the fits take as many steps as those of the smaller problem.
    """
    rate = {}
    for scale in settings.scales:
        rows = [row for row in data["features"] if row["scale"] == scale]
        rate[scale] = sum(row["work"] / row["images"] / image_gmacs(row["net"], scale) for row in rows) / len(rows)
    grid, widest = data["grid"]["steps"], data["timed"][-1]
    steps = sum(grid) + max(grid)  # and a fit to all images with the C that was chosen
    step = sum(widest["work"]) / sum(widest["steps"]) / widest["dimensions"]
    dimensions = {"single": HIDDEN_UNITS, "averaged": HIDDEN_UNITS, "stacked": HIDDEN_UNITS * len(settings.scales)}
    each = [dimensions[kind] for _, kind, _ in variants(settings.descriptors, settings.scales)]
    classifiers = settings.data.splits * steps * step * sum(each)
    predicted = {
        net: (FILES * sum(rate[scale] * image_gmacs(net, scale) for scale in settings.scales), classifiers)
        for net in PUBLISHED
    }
    return predicted | {"D+E": (0.0, 2 * classifiers)}


def page(data: dict[str, Any], settings: AppendixBSettings) -> str:
    """Return docs/appendix-b-cost.md."""
    gigabytes = FILES * HIDDEN_UNITS * 4 / 1e9
    rows = [
        [row["net"], str(row["scale"]), f"{row['images'] / row['work']:.2f}",
         f"{image_gmacs(row['net'], row['scale']):.0f}", f"{row['peak_mib'] / 1024:.1f}"]
        for row in data["features"]
    ]  # fmt: skip
    header = ["net", "Q", "images/s", "GMAC per image", "peak GiB"]
    features = Table("features", "Features", header, rows)
    rows = []
    for fits in data["timed"]:
        steps = sum(fits["steps"])
        each = f"{sum(fits['work']) / steps:.2f}"
        rows.append([f"{fits['dimensions']:,}", str(steps), each, f"{fits['peak_mib'] / 1024:.1f}"])
    header = ["dimensions", "steps", "seconds per step", "peak GiB"]
    fitted = Table("steps", "Steps", header, rows)
    grid = data["grid"]
    counted = ", ".join(
        f"{steps} at C = {penalty:g}" for steps, penalty in zip(grid["steps"], grid["penalties"], strict=True)
    )
    predicted = predict(data, settings)
    rows = [
        [net, duration(one) if one else "those of D and E", duration(other)] for net, (one, other) in predicted.items()
    ]
    total = duration(sum(one + other for one, other in predicted.values()))
    whole = Table("whole", "Whole", ["net", "features", "classifiers"], rows)
    return f"""\
# Cost of appendix B

Generated by `make appendix-b-cost`; do not edit.

{data["machine"]}. Times are processor time divided by the number of threads: about what the work takes on an
idle machine. The load was {data["load"]}.

## Features

{_SAMPLE} random images at each scale, random weights of full width, mirror images included. On the disk, the features
of {FILES:,} images take {gigabytes:.2f} GB per net and scale, {gigabytes * len(settings.scales):.1f} GB per net.

{features.markdown()}

## Classifier

Made-up descriptors of {data["timed"][0]["images"]:,} images, {CATEGORIES} classes:

{fitted.markdown()}

Steps of a smaller problem ({grid["images"]:,} images, {grid["categories"]} classes, {grid["dimensions"]} dimensions),
each fit started from the one before: {counted}.

## Predicted for {FILES:,} images

On an idle machine of this kind: **{total}** for all nets, with {settings.data.splits} splits, all descriptors and
{len(settings.penalties)} values of C. A descriptor has {HIDDEN_UNITS:,} dimensions, a stacked one
{HIDDEN_UNITS:,} for each scale. How many steps real features need is not known.

{whole.markdown()}
"""


def main() -> None:
    """Measure, and write the page and its data."""
    with stage("appendix-b-cost", saved="") as console:
        settings = read_params().of_appendix_b()
        write_json(DATA, measure(settings, console))
        text = page(read_json(DATA), settings)
        write_text(PAGE, text)
        print(text)
        console.made(f"{PAGE} and {DATA.name}")


if __name__ == "__main__":
    main()
