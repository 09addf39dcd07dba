import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.speed.cases import CLASSES, COMPILED, EPOCH, INPUT, NOOP, OURS, PREPROCESS, PROGRAMS, STEP
from benchmarks.speed.page import write_page
from benchmarks.speed.results import Results, Row, Target, Timing, make_row
from vgg_ablation.model.table1 import count_gmacs

DOCS = Path(__file__).parents[3] / "docs"
SPEED = {"article": 1.0, "torchvision": 4.0, "timm": 5.0, "ours": 6.0}
"""Images a second."""


def timings(rate: float, peak: float | None = None) -> list[Timing]:
    """Three repetitions around a rate in images a second."""
    return [Timing(12 / (rate * drift), 12, peak) for drift in (1.5, 1.0, 0.5)]


@pytest.fixture
def results() -> Results:
    """A made-up run in which every net takes the same time."""
    rows: list[Row] = []
    for name in PROGRAMS:
        precision = "float32" if name == "article" else "bfloat16"
        for pixels in (64, 224):
            rows.append(make_row(INPUT, name, timings(1000 if name == OURS else 10), None, pixels, precision))
            rows += [
                make_row(measure, name, timings(SPEED[name], 2048.0), net, pixels, precision)
                for net in ("A", "E")
                for measure in (STEP, EPOCH)
            ]
    rows += [make_row(PREPROCESS, OURS, timings(90, 700.0)), make_row(PREPROCESS, "bare", timings(100, 300.0))]
    for name, seconds in {"dvc_repro": 2.5, "dvc_version": 1.0}.items():
        rows.append(make_row(NOOP, name, [Timing(seconds * drift) for drift in (1, 2, 0.5)]))
    return Results(
        plan="short",
        seconds=222.0,
        kind="cpu",
        machine={"processor": "Abacus", "cores": 2, "memory_gib": 8.0, "device": "cpu", "precision": "bfloat16"},
        versions={"python": "3.11", "torch": "2"},
        archive="made-up.tar",
        images={"A at 64 pixels": 12},
        batch_size={64: 64, 224: 16},
        matrix_products={"bfloat16": [2e12, 1e12, 0.5e12], "float32": [2e11]},
        loader_processes_tried={"timm at 64 pixels": {0: 1.0, 1: 0.5}},
        rows=rows,
    )


def targets(results: Results) -> dict[str, Target]:
    found = {target.text: target for target in results.targets()}
    assert len(found) == len(results.targets())
    return found


def test_a_row_has_all_values_and_the_largest_peak() -> None:
    row = make_row(EPOCH, "timm", [Timing(2.0, 10, 100.0), Timing(1.0, 10, 300.0), Timing(4.0, 10, 200.0)], "E", 64)
    assert (row.values, row.median, row.peak_memory_mib) == ((5, 10, 2.5), 5, 300)


def test_utilisation_is_relative_to_the_median_rate_in_the_programs_own_precision(results: Results) -> None:
    flop = 6 * count_gmacs("E", CLASSES, 224) * 1e9
    assert results.utilisation(results.find(STEP, OURS, "E", 224)) == pytest.approx(6 * flop / 1e12)
    assert results.utilisation(results.find(STEP, "article", "E", 224)) == pytest.approx(1 * flop / 2e11)


def test_ratios_are_ours_over_the_others_and_for_dvc_the_time_of_repro_over_the_others(results: Results) -> None:
    assert results.ratio(results.find(EPOCH, "article", "E", 224)) == pytest.approx(6)
    assert results.ratio(results.find(INPUT, "timm", None, 64)) == pytest.approx(100)
    assert results.ratio(results.find(NOOP, "dvc_version")) == pytest.approx(2.5)


def test_targets_are_met_if_the_figures_say_so(results: Results) -> None:
    found = targets(results)
    assert len(found) == 19
    # The made-up article trains an image of E at 224 pixels a second; matrix products have 1e12 operations a second.
    limit = 1e12 / (6e9 * count_gmacs("E", CLASSES, 224))
    expected = {
        "epoch, E, 224 pixels: ours / article at least 5": (f"6.00 (limit: {limit:.2f})", True),
        "epoch, A, 64 pixels: ours / torchvision at least 1.15": ("1.50", True),
        "input of an epoch, A at 64 pixels: less than 3 % of its time": ("0.60 %", True),
        "preprocess: ours / bare at least 0.8": ("0.90", True),
        "preprocess: less than 3 GiB": ("0.68 GiB", True),
        "noop: dvc repro in less than 4 s": ("2.50 s", True),
    }
    assert {text: (found[text].measured, found[text].met) for text in expected} == expected


def test_a_program_of_ours_that_is_a_hundred_times_slower_misses_its_targets(results: Results) -> None:
    def slower(row: Row) -> Row:
        factor = {OURS: 0.01, "dvc_repro": 100}.get(row.program, 1)
        return replace(row, values=tuple(factor * value for value in row.values))

    met = [target.text for target in replace(results, rows=list(map(slower, results.rows))).targets() if target.met]
    assert [text.split(":")[0].split(",")[0] for text in met] == 4 * ["input of an epoch"] + ["preprocess"]


def on_a_gpu(ours: float, compiled: float, product: float) -> Results:
    """Steps and epochs of A and E on a GPU in images a second."""
    rates = {OURS: ours, COMPILED: compiled, "timm": 1.0}
    rows = [make_row(INPUT, OURS, [Timing(1e-9, 1)], None, 224, "bfloat16")]
    for name, rate in rates.items():
        for net in ("A", "E"):
            for measure in (STEP, EPOCH):
                # Each net takes as long as its operations.
                timing = Timing(count_gmacs(net, CLASSES, 224) / rate, 1)
                rows.append(make_row(measure, name, [timing], net, 224, "bfloat16"))
    return Results(
        plan="gpu", seconds=1.0, kind="cuda", machine={}, versions={}, archive="", images={}, batch_size={224: 256},
        matrix_products={"bfloat16": [product]}, loader_processes_tried={}, rows=rows,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("ours", "compiled", "met"),
    [
        (10.0, 6.0, {"E utilised", "A utilised", "steps", "epochs"}),
        (5.5, 6.0, {"A utilised"}),
        (10.0, 8.0, {"E utilised", "A utilised", "steps"}),
        (4.0, 2.0, {"steps", "epochs"}),
    ],
)
def test_the_targets_on_a_gpu(ours: float, compiled: float, met: set[str]) -> None:
    """With 10 GMAC a second, three times as many in a step and two operations for each, 6e10 are the product's rate."""
    found = targets(on_a_gpu(ours, compiled, 6e10))
    names = {
        "E utilised": ["step, E, 224 pixels: utilisation at least 0.6"],
        "A utilised": ["step, A, 224 pixels: utilisation at least 0.5"],
        "steps": [f"step, {net}, 224 pixels: ours / torchvision compiled at least 1" for net in ("A", "E")],
        "epochs": [f"epoch, {net}, 224 pixels: ours / torchvision compiled at least 1.5" for net in ("A", "E")],
    }
    assert {name for name, texts in names.items() if all(found[text].met for text in texts)} == met


def test_the_file_holds_all_results_one_row_a_line(results: Results) -> None:
    text = results.to_json()
    assert Results.from_json(text) == results
    assert len(text.splitlines()) < len(results.rows) + 20
    assert json.loads(text)["machine"]["processor"] == "Abacus"


def test_the_page_gives_medians_spread_and_ratio(results: Results) -> None:
    page = write_page(results)
    lines = [[cell.strip() for cell in line.split("|")] for line in page.splitlines()]
    assert ["", "E", "224", "article", "1 [0.5, 1.5]", "6.00", "", "2,048", ""] in lines
    assert ["", "`dvc version`", "1 [0.5, 2]", "2.50", ""] in lines
    assert "Abacus, 2 cores, 8.0 GiB; matrix products: 1.00 TFLOP/s in bfloat16, 0.20 TFLOP/s in float32." in page
    assert "Written by `make bench-short` in 3:42 min." in page


def test_the_committed_page_is_made_from_the_committed_results() -> None:
    results = Results.from_json((DOCS / "benchmark.json").read_text("utf-8"))
    assert write_page(results) == (DOCS / "benchmark.md").read_text("utf-8")
