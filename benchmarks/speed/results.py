"""The results of a run of the benchmark: what was measured, and the figures and targets that follow. No torch."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from statistics import median

from pydantic import TypeAdapter

from benchmarks.speed.cases import (
    ARTICLE,
    CLASSES,
    COMPILED,
    EPOCH,
    INPUT,
    NOOP,
    OURS,
    PREPROCESS,
    STEP,
    TIMM,
    TORCHVISION,
)
from vgg_ablation.model.table1 import count_gmacs

BARE, REPRO, VERSION = "bare", "dvc_repro", "dvc_version"
_STEP_OVER_FORWARD = 3  # the backward pass costs about twice the forward pass
_FLOP_PER_MAC = 2


@dataclass(frozen=True)
class Timing:
    """One timing."""

    seconds: float
    """Seconds of one pass."""
    images: int = 0
    """Images of the pass; 0 where the measure is not about images."""
    peak_memory_mib: float | None = None
    """Peak memory of the process."""

    @property
    def value(self) -> float:
        """Images a second, or seconds where the measure is not about images."""
        return self.images / self.seconds if self.images else self.seconds


@dataclass(frozen=True)
class Row:
    """The repetitions of one measure by one program."""

    measure: str
    program: str
    net: str | None
    pixels: int | None
    """Side of the crop."""
    precision: str | None
    """Type of matrix products and convolutions."""
    loader_processes: int | None
    """Processes that load images; None for a program without that choice."""
    values: tuple[float, ...]
    """Images a second; for `noop` seconds."""
    peak_memory_mib: float | None
    """The most in any repetition, of the program's process or on the GPU; for `epoch` and `preprocess`."""

    @property
    def median(self) -> float:
        """Median of `values`."""
        return median(self.values)


def make_row(
    measure: str,
    program: str,
    timings: Sequence[Timing],
    net: str | None = None,
    pixels: int | None = None,
    precision: str | None = None,
    loader_processes: int | None = None,
) -> Row:
    """Return the row of some timings, with values to eight digits."""
    values = tuple(float(f"{timing.value:.8g}") for timing in timings)
    peaks = [timing.peak_memory_mib for timing in timings if timing.peak_memory_mib is not None]
    peak = round(max(peaks), 3) if peaks and measure in (EPOCH, PREPROCESS) else None
    return Row(measure, program, net, pixels, precision, loader_processes, values, peak)


@dataclass(frozen=True)
class Target:
    """A target, and what was measured."""

    text: str
    measured: str
    """The figure in its unit."""
    met: bool


@dataclass(frozen=True)
class Results:
    """All that a run measured; the fields are those of `docs/benchmark.json`."""

    plan: str
    """`short` or `full`."""
    seconds: float
    """Time of the whole run."""
    kind: str
    """`cpu` or `cuda`."""
    machine: dict[str, str | int | float]
    versions: dict[str, str]
    archive: str
    """Source of the images."""
    images: dict[str, int]
    """Images of an epoch, by net and side of the crop."""
    batch_size: dict[int, int]
    """By side of the crop."""
    matrix_products: dict[str, list[float]]
    """FLOP/s by precision, several times during the run; utilisation is relative to the median."""
    loader_processes_tried: dict[str, dict[int, float]]
    """Seconds of an epoch by number of loader processes, by program and side of the crop."""
    rows: list[Row]

    @classmethod
    def from_json(cls, text: str) -> "Results":
        """Read what `to_json` wrote."""
        return TypeAdapter(cls).validate_json(text)

    def to_json(self) -> str:
        """Return JSON with one line a field, and one line a row."""
        fields = [f'"{name}": {json.dumps(value)}' for name, value in asdict(self).items() if name != "rows"]
        rows = ",\n".join(json.dumps(asdict(row)) for row in self.rows)
        return "{\n" + ",\n".join([*fields, f'"rows": [\n{rows}\n]']) + "\n}\n"

    def find(self, measure: str, program: str, net: str | None = None, pixels: int | None = None) -> Row:
        """Return the one row of a measure, program and case."""
        key = measure, program, net, pixels
        (found,) = (row for row in self.rows if (row.measure, row.program, row.net, row.pixels) == key)
        return found

    def ratio(self, other: Row) -> float:
        """Return our median over another program's; of `noop`, the time of `dvc repro` over the other's."""
        first = self.find(other.measure, REPRO if other.measure == NOOP else OURS, other.net, other.pixels)
        return first.median / other.median

    def utilisation(self, row: Row) -> float:
        """Return the share of the matrix products' rate, in the same precision, that a row of steps reaches."""
        assert row.net is not None and row.precision is not None  # noqa: S101, PT018 - steps have both
        return row.median * _step_flop(row.net, row.pixels or 0) / median(self.matrix_products[row.precision])

    def input_share(self, row: Row) -> float:
        """Return the share of an epoch's time that its images alone take."""
        return row.median / self.find(INPUT, row.program, None, row.pixels).median

    def targets(self) -> list[Target]:
        """Return what is aimed at on a device of this kind, each with the measured figure."""
        return [*(self._on_a_gpu() if self.kind == "cuda" else self._on_a_cpu()), *self._on_any_device()]

    def _on_a_cpu(self) -> Iterator[Target]:
        target = self._at_least(5, ARTICLE, EPOCH, "E", 224)
        yield Target(target.text, f"{target.measured} (limit: {self._limit():.2f})", target.met)
        for other, net, pixels in product((TORCHVISION, TIMM), ("A", "E"), (64, 224)):
            yield self._at_least(1.15, other, EPOCH, net, pixels)
        yield self._at_least(20, ARTICLE, INPUT, None, 224)
        yield self._utilised(0.6, "E")

    def _on_a_gpu(self) -> Iterator[Target]:
        yield self._utilised(0.6, "E")
        yield self._utilised(0.5, "A")
        steps = [row for row in self.rows if (row.measure, row.program) == (STEP, COMPILED)]
        for row in steps:
            yield self._at_least(1.0, COMPILED, STEP, row.net, row.pixels)
        for net in ("E", "A"):
            yield self._at_least(1.5, COMPILED, EPOCH, net, 224)

    def _on_any_device(self) -> Iterator[Target]:
        for row in self.rows:
            if (row.measure, row.program) == (EPOCH, OURS):
                share = self.input_share(row)
                text = f"input of an epoch, {row.net} at {row.pixels} pixels: less than 3 % of its time"
                yield Target(text, f"{100 * share:.2f} %", share < 0.03)
        if not any(row.measure == PREPROCESS for row in self.rows):
            return
        yield self._at_least(0.8, BARE, PREPROCESS)
        memory = self.find(PREPROCESS, OURS).peak_memory_mib
        if memory is not None:  # some systems do not report it
            yield Target("preprocess: less than 3 GiB", f"{memory / 1024:.2f} GiB", memory < 3 * 1024)
        ratio = self.ratio(self.find(NOOP, VERSION))
        yield Target("noop: dvc repro at most 3 times dvc version", f"{ratio:.2f}", ratio <= 3)
        seconds = self.find(NOOP, REPRO).median
        yield Target("noop: dvc repro in less than 4 s", f"{seconds:.2f} s", seconds < 4)

    def _at_least(
        self, least: float, other: str, measure: str, net: str | None = None, pixels: int | None = None
    ) -> Target:
        ratio = self.ratio(self.find(measure, other, net, pixels))
        case = "".join(f", {part}" for part in (net, f"{pixels} pixels" if pixels else None) if part)
        return Target(f"{measure}{case}: ours / {other} at least {least:g}", f"{ratio:.2f}", ratio >= least)

    def _utilised(self, least: float, net: str) -> Target:
        share = self.utilisation(self.find(STEP, OURS, net, 224))
        return Target(f"step, {net}, 224 pixels: utilisation at least {least:g}", f"{share:.2f}", share >= least)

    def _limit(self) -> float:
        """Return ours / article for an epoch of E at 224 pixels if ours ran at the rate of plain matrix products."""
        precision = self.find(STEP, OURS, "E", 224).precision or ""
        ideal = median(self.matrix_products[precision]) / _step_flop("E", 224)  # images a second
        return ideal / self.find(EPOCH, ARTICLE, "E", 224).median


def _step_flop(net: str, pixels: int) -> float:
    """Return the operations of a training step for one image."""
    return count_gmacs(net, CLASSES, pixels) * 1e9 * _FLOP_PER_MAC * _STEP_OVER_FORWARD
