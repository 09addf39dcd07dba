"""From timings to the figures that are told: rows, ratios, and what is promised of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from benchmarks.speed.forms import (
    ARTICLE,
    CLASSES,
    EPOCH,
    GOOD_PRACTICE,
    INPUT,
    NOOP,
    OURS,
    PREPROCESS,
    STEP,
    TIMM,
)
from benchmarks.speed.repetition import Measured
from vgg_ablation.model.table1 import count_gmacs

BARE, REPRO, VERSION = "bare", "dvc_repro", "dvc_version"
_STEP_OVER_FORWARD = 3  # backward costs about twice the forward pass
_FLOP_PER_MAC = 2


@dataclass(frozen=True)
class Row:
    """What one contestant did in one measure. Medians, and the values that they are of."""

    measure: str
    net: str | None
    pixels: int | None
    """Side of the crop; None where neither matters."""
    contestant: str
    images_per_second: float | None
    seconds: float | None
    """Where the measure is not about images."""
    repetitions: tuple[float, ...]
    """Images a second, or seconds."""
    precision: str | None
    loader_workers: int | None
    utilisation: float | None
    """Of a step: its share of the matrix products' rate in the same precision, in the same run."""
    input_share: float | None
    """Of an epoch of ours: the share of its time that its images alone take."""
    peak_memory_mib: float | None
    """The most in any repetition, of its process or on the GPU."""


@dataclass(frozen=True)
class Ratio:
    """How many times faster one contestant is than another, by the medians."""

    measure: str
    net: str | None
    pixels: int | None
    contestant: str
    other: str
    ratio: float


@dataclass(frozen=True)
class Target:
    """A promise, and what was measured."""

    promise: str
    measured: float
    text: str
    """The measured figure in its unit."""
    met: bool


def make_rows(measured: Sequence[Measured], rates: Mapping[str, float]) -> list[Row]:
    """Return a row for each.

    Args:
        measured: of one run.
        rates: FLOP/s of matrix products by precision.
    """
    inputs = {one.pixels: one.median for one in measured if (one.measure, one.contestant) == (INPUT, OURS)}
    return [_row(one, rates, inputs) for one in measured]


def _row(one: Measured, rates: Mapping[str, float], inputs: Mapping[int | None, float]) -> Row:
    about_images = one.measure != NOOP
    peaks = [repetition.peak_memory_mib for repetition in one.repetitions if repetition.peak_memory_mib is not None]
    utilisation = None
    if one.measure == STEP:
        assert one.net is not None and one.pixels is not None and one.precision is not None  # noqa: S101, PT018
        flop = count_gmacs(one.net, CLASSES, one.pixels) * 1e9 * _FLOP_PER_MAC * _STEP_OVER_FORWARD
        utilisation = one.median * flop / rates[one.precision]
    shares = (one.measure, one.contestant) == (EPOCH, OURS)
    return Row(
        measure=one.measure,
        net=one.net,
        pixels=one.pixels,
        contestant=one.contestant,
        images_per_second=one.median if about_images else None,
        seconds=None if about_images else one.median,
        repetitions=tuple(repetition.value for repetition in one.repetitions),
        precision=one.precision,
        loader_workers=one.loader_workers,
        utilisation=utilisation,
        input_share=one.median / inputs[one.pixels] if shares else None,
        peak_memory_mib=max(peaks) if peaks and one.measure in (EPOCH, PREPROCESS) else None,
    )


def make_ratios(rows: Sequence[Row]) -> list[Ratio]:
    """Return ours against each other contestant, measure by measure and case by case."""
    firsts = [row for row in rows if row.contestant in (OURS, REPRO)]
    return [
        Ratio(first.measure, first.net, first.pixels, first.contestant, other.contestant, _ratio(first, other))
        for first in firsts
        for other in rows
        if other is not first and (other.measure, other.net, other.pixels) == (first.measure, first.net, first.pixels)
    ]


def _ratio(first: Row, other: Row) -> float:
    """Return the rates' ratio; of `dvc repro`, which is to be compared in time, the times'."""
    if first.images_per_second is not None and other.images_per_second is not None:
        return first.images_per_second / other.images_per_second
    assert first.seconds is not None and other.seconds is not None  # noqa: S101, PT018 - a row has one or the other
    return first.seconds / other.seconds


def make_targets(rows: Sequence[Row], ratios: Sequence[Ratio], kind: str) -> list[Target]:
    """Return what is promised on a device of this kind, with what was measured."""
    return list(_targets_on_a_gpu(rows, ratios) if kind == "cuda" else _targets_on_a_cpu(rows, ratios))


def _targets_on_a_cpu(rows: Sequence[Row], ratios: Sequence[Ratio]) -> Iterator[Target]:
    target = _at_least(ratios, 5, ARTICLE, EPOCH, "E", 224)
    yield replace(target, text=f"{target.text} (limit: {_limit(rows):.2f})")
    for other in (GOOD_PRACTICE, TIMM):
        for net in ("A", "E"):
            for pixels in (64, 224):
                yield _at_least(ratios, 1.15, other, EPOCH, net, pixels)
    yield _at_least(ratios, 20, ARTICLE, INPUT, None, 224)
    yield _utilised(rows, 0.6)
    yield from _targets_anywhere(rows, ratios)


def _limit(rows: Sequence[Row]) -> float:
    """Return ours / article for an epoch of E at 224 pixels whose steps run at the rate of plain matrix products."""
    step = _find(rows, STEP, OURS, "E", 224)
    epoch = _find(rows, EPOCH, ARTICLE, "E", 224)
    assert step.utilisation and step.images_per_second and epoch.images_per_second  # noqa: S101, PT018 - all have them
    return step.images_per_second / step.utilisation / epoch.images_per_second


def _targets_on_a_gpu(rows: Sequence[Row], ratios: Sequence[Ratio]) -> Iterator[Target]:
    yield _at_least(ratios, 1.5, GOOD_PRACTICE, EPOCH, "E", 224)
    yield _utilised(rows, 0.45)
    yield from _targets_anywhere(rows, ratios)


def _targets_anywhere(rows: Sequence[Row], ratios: Sequence[Ratio]) -> Iterator[Target]:
    for row in rows:
        if row.input_share is not None:
            promise = f"input of an epoch, {row.net} at {row.pixels} pixels: less than 3 % of its time"
            yield Target(promise, row.input_share, f"{100 * row.input_share:.2f} %", row.input_share < 0.03)
    yield _at_least(ratios, 0.8, BARE, PREPROCESS, None, None)
    memory = _find(rows, PREPROCESS, OURS).peak_memory_mib
    if memory is not None:  # some systems do not tell it
        yield Target("preprocess: less than 3 GiB", memory, f"{memory / 1024:.2f} GiB", memory < 3 * 1024)
    idle = next(ratio.ratio for ratio in ratios if ratio.measure == NOOP)
    yield Target("noop: dvc repro at most 3 times dvc version", idle, f"{idle:.2f}", idle <= 3)
    seconds = median(_find(rows, NOOP, REPRO).repetitions)
    yield Target("noop: dvc repro in less than 4 s", seconds, f"{seconds:.2f} s", seconds < 4)


def _at_least(
    ratios: Sequence[Ratio], least: float, other: str, measure: str, net: str | None, pixels: int | None
) -> Target:
    (found,) = (one for one in ratios if (one.measure, one.net, one.pixels, one.other) == (measure, net, pixels, other))
    case = "".join(f", {part}" for part in (net, f"{pixels} pixels" if pixels else None) if part)
    promise = f"{measure}{case}: ours / {other.replace('_', ' ')} at least {least:g}"
    return Target(promise, found.ratio, f"{found.ratio:.2f}", found.ratio >= least)


def _utilised(rows: Sequence[Row], least: float) -> Target:
    share = _find(rows, STEP, OURS, "E", 224).utilisation
    assert share is not None  # noqa: S101 - a step has one
    return Target(f"step, E, 224 pixels: utilisation at least {least:g}", share, f"{share:.2f}", share >= least)


def _find(rows: Sequence[Row], measure: str, contestant: str, net: str | None = None, pixels: int | None = None) -> Row:
    (found,) = (
        row for row in rows if (row.measure, row.contestant, row.net, row.pixels) == (measure, contestant, net, pixels)
    )
    return found


@dataclass(frozen=True)
class Results:
    """All that a run of the benchmark tells; the fields are those of `reports/benchmark.json`."""

    form: str
    command: str
    seconds: float
    """That all of it took."""
    machine: dict[str, str | int | float]
    versions: dict[str, str]
    images: dict[str, object]
    """`origin`, and `epochs`: the number of images an epoch by net and side of the crop."""
    matrix_products: dict[str, list[float]]
    """FLOP/s by precision, as measured over the run; the median is what utilisation is of."""
    loader_workers_tried: dict[str, dict[int, float]]
    """Seconds of an epoch by the number of the loader's processes, by contestant and side of the crop."""
    batch_size: dict[int, int]
    """By side of the crop."""
    rows: list[Row]
    ratios: list[Ratio]
    targets: list[Target]
