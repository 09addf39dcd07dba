"""The results of a made-up run."""

from collections.abc import Sequence

import pytest
from made_up_rates import RATES

from benchmarks.speed.forms import CONTESTANTS, EPOCH, INPUT, NOOP, OURS, PREPROCESS, STEP
from benchmarks.speed.repetition import Measured, Repetition
from benchmarks.speed.results import Results, make_ratios, make_rows, make_targets

SPEED = {"article": 1.0, "good_practice": 4.0, "timm": 5.0, "ours": 6.0}
"""Images a second."""


def rounds(rate: float, peak: float | None = None) -> tuple[Repetition, ...]:
    """Three rounds around a rate in images a second."""
    return tuple(Repetition(12 / (rate * drift), 12, peak) for drift in (1.5, 1.0, 0.5))


@pytest.fixture
def measured() -> list[Measured]:
    """All measures of a run, as if every net took the same time."""
    precision = {name: "float32" if name == "article" else "bfloat16" for name in CONTESTANTS}
    found: list[Measured] = []
    for name in CONTESTANTS:
        for pixels in (64, 224):
            input_rate = 1000.0 if name == OURS else 10.0
            found.append(Measured(INPUT, name, rounds(input_rate), None, pixels, precision[name]))
            for net in ("A", "E"):
                for measure in (STEP, EPOCH):
                    repetitions = rounds(SPEED[name], 2048.0)
                    found.append(Measured(measure, name, repetitions, net, pixels, precision[name]))
    found += [Measured(PREPROCESS, OURS, rounds(90.0, 700.0)), Measured(PREPROCESS, "bare", rounds(100.0, 300.0))]
    for name, seconds in {"dvc_repro": 2.5, "dvc_version": 1.0}.items():
        found.append(Measured(NOOP, name, tuple(Repetition(seconds * drift) for drift in (1, 2, 0.5))))
    return found


@pytest.fixture
def results(measured: Sequence[Measured]) -> Results:
    rows = make_rows(measured, RATES)
    ratios = make_ratios(rows)
    return Results(
        form="short",
        command="python -m benchmarks.speed --short",
        seconds=222.0,
        machine={"processor": "Abacus", "cores": 2, "memory_gib": 8.0, "device": "cpu", "precision": "bfloat16"},
        versions={"python": "3.11", "torch": "2"},
        images={"origin": "made-up.tar", "epochs": {"A at 64 pixels": 12}},
        matrix_products={name: [rate, 2 * rate, 0.0] for name, rate in RATES.items()},
        loader_workers_tried={"timm at 64 pixels": {0: 1.0, 1: 0.5}},
        batch_size={64: 64, 224: 16},
        rows=rows,
        ratios=ratios,
        targets=make_targets(rows, ratios, "cpu"),
    )
