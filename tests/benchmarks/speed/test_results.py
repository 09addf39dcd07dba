from collections.abc import Sequence
from dataclasses import replace

import pytest
from made_up_rates import RATES

from benchmarks.speed.forms import CLASSES, EPOCH, INPUT, OURS, STEP
from benchmarks.speed.page import write_page
from benchmarks.speed.repetition import Measured, Repetition
from benchmarks.speed.results import Results, make_ratios, make_rows, make_targets
from vgg_ablation.model.table1 import count_gmacs


def test_a_row_gives_the_median_and_all_repetitions(results: Results) -> None:
    row = next(row for row in results.rows if (row.measure, row.contestant) == (EPOCH, "timm"))
    assert row.images_per_second == pytest.approx(5)
    assert row.repetitions == pytest.approx((7.5, 5, 2.5))
    assert row.peak_memory_mib == 2048


def test_utilisation_is_of_the_rate_in_the_contestants_own_precision(results: Results) -> None:
    found = {
        row.contestant: row.utilisation
        for row in results.rows
        if (row.measure, row.net, row.pixels) == (STEP, "E", 224)
    }
    flop = 6 * count_gmacs("E", CLASSES, 224) * 1e9
    assert found["ours"] == pytest.approx(6 * flop / 1e12)
    assert found["article"] == pytest.approx(1 * flop / 2e11)


def test_input_share_is_the_inputs_part_of_the_epochs_time(results: Results) -> None:
    shares = {(row.measure, row.contestant): row.input_share for row in results.rows if row.input_share is not None}
    assert shares == {(EPOCH, OURS): pytest.approx(6 / 1000)}


def test_ratios_are_ours_over_each_other_in_the_same_case(results: Results) -> None:
    ratios = {(one.measure, one.net, one.pixels, one.other): one.ratio for one in results.ratios}
    assert ratios[EPOCH, "E", 224, "article"] == pytest.approx(6)
    assert ratios[INPUT, None, 64, "timm"] == pytest.approx(100)
    assert ratios["preprocess", None, None, "bare"] == pytest.approx(0.9)
    assert ratios["noop", None, None, "dvc_version"] == pytest.approx(2.5)
    assert len(ratios) == len(results.ratios) == 3 * (2 + 4 + 4) + 2


def test_targets_are_met_or_not_by_the_measured_figures(results: Results) -> None:
    targets = {target.promise: (target.text, target.met) for target in results.targets}
    assert len(targets) == len(results.targets) == 19
    assert targets["epoch, E, 224 pixels: ours / article at least 5"] == ("6.00 (limit: 8.49)", True)
    assert targets["epoch, A, 64 pixels: ours / good practice at least 1.15"] == ("1.50", True)
    assert targets["preprocess: less than 3 GiB"] == ("0.68 GiB", True)
    assert targets["noop: dvc repro in less than 4 s"] == ("2.50 s", True)


def test_the_limit_is_what_products_at_their_full_rate_would_reach(results: Results) -> None:
    """The made-up article takes an image of E at 224 pixels a second; the products 1e12 operations."""
    (text,) = (target.text for target in results.targets if "E, 224 pixels: ours / article" in target.promise)
    limit = 1e12 / (6e9 * count_gmacs("E", CLASSES, 224))
    assert text == f"6.00 (limit: {limit:.2f})"


def slower(measured: Sequence[Measured], factor: float) -> list[Measured]:
    """The same run with ours slower in everything."""

    def slow(one: Repetition) -> Repetition:
        return replace(one, seconds=one.seconds * factor)

    return [
        replace(one, repetitions=tuple(map(slow, one.repetitions))) if one.contestant in (OURS, "dvc_repro") else one
        for one in measured
    ]


def test_a_slower_ours_misses_its_targets(measured: list[Measured]) -> None:
    rows = make_rows(slower(measured, 100), RATES)
    targets = make_targets(rows, make_ratios(rows), "cpu")
    met = [target.promise for target in targets if target.met]
    assert met == [
        *(
            f"input of an epoch, {net} at {pixels} pixels: less than 3 % of its time"
            for pixels in (64, 224)
            for net in "AE"
        ),
        "preprocess: less than 3 GiB",
    ]


def test_a_gpu_has_targets_of_its_own(results: Results) -> None:
    promises = [target.promise for target in make_targets(results.rows, results.ratios, "cuda")]
    assert promises[:2] == [
        "epoch, E, 224 pixels: ours / good practice at least 1.5",
        "step, E, 224 pixels: utilisation at least 0.45",
    ]


def test_a_contestant_whose_steps_were_not_timed_alone_has_no_row_there(measured: list[Measured]) -> None:
    kept = [one for one in measured if (one.measure, one.contestant) != (STEP, "article")]
    rows = make_rows(kept, RATES)
    assert len(make_targets(rows, make_ratios(rows), "cpu")) == 19


def test_the_page_is_made_from_the_results_alone(results: Results) -> None:
    page = write_page(results)
    assert write_page(results) == page
    assert "Abacus, 2 cores, 8.0 GiB; matrix products: 1.00 TFLOP/s in bfloat16, 0.20 TFLOP/s in float32." in page
    assert "| epoch, E, 224 pixels: ours / article at least 5 " in page
    assert "by `python -m benchmarks.speed --short`, in 3:42 min" in page


def test_the_page_gives_medians_spread_and_ratio(results: Results) -> None:
    lines = [[cell.strip() for cell in line.split("|")] for line in write_page(results).splitlines()]
    assert ["", "E", "224", "the article's program", "1 [0.5, 1.5]", "6.00", "", "2,048", ""] in lines
    assert ["", "`dvc version`", "1 [0.5, 2]", "2.50", ""] in lines
