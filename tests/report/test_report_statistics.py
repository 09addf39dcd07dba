import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from vgg_ablation.report.statistics import expected_error, holm, paired_difference, rank_agreement, wilson

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=8)


@pytest.mark.parametrize(("wrong", "images"), [(0, 50), (1, 50), (112, 360), (360, 360), (7, 8), (1, 1)])
def test_wilson_is_scipys(wrong: int, images: int):
    expected = stats.binomtest(wrong, images).proportion_ci(0.95, method="wilson")
    assert wilson(100 * wrong / images, images) == pytest.approx((100 * expected.low, 100 * expected.high), abs=1e-9)


@given(st.floats(0, 100), st.integers(1, 100_000))
def test_wilson_holds_the_error_and_stays_within_0_and_100(error: float, images: int):
    low, high = wilson(error, images)
    assert 0 <= low <= error <= high <= 100


@pytest.mark.parametrize(("error", "images"), [(-1, 10), (101, 10), (float("nan"), 10), (50, 0)])
def test_wilson_refuses_what_is_no_proportion(error: float, images: int):
    with pytest.raises(ValueError, match="not a proportion"):
        wilson(error, images)


def test_runs_that_differ_much_get_students_interval():
    errors = [20.0, 30.0, 42.0, 25.0]
    low, high = stats.t.interval(0.95, 3, np.mean(errors), stats.sem(errors))
    found = expected_error(errors, 1000)
    assert (found.mean, found.low, found.high) == pytest.approx((29.25, low, high))


def test_runs_that_agree_by_luck_get_wilsons_interval():
    estimate = expected_error([30.0, 30.0, 30.0], 360)
    assert (estimate.low, estimate.high) == wilson(30.0, 360)


def test_one_run_gets_wilsons_interval():
    estimate = expected_error([30.0], 360)
    assert (estimate.low, estimate.high) == wilson(30.0, 360)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=9), st.integers(1, 10_000))
def test_an_interval_is_never_narrower_than_wilsons_and_never_leaves_0_to_100(errors: list[float], images: int):
    estimate = expected_error(errors, images)
    low, high = wilson(estimate.mean, images)
    assert 0 <= estimate.low <= low
    assert high <= estimate.high <= 100


def test_no_run_has_no_interval():
    with pytest.raises(ValueError, match="not a proportion"):
        expected_error([], 360)


@pytest.mark.parametrize("runs", [2, 3, 5])
@pytest.mark.parametrize(("expected", "spread"), [(4, 0), (4, 1), (30, 0), (30, 2), (30, 6), (88, 0), (88, 3)])
def test_the_interval_covers_the_expected_error(expected: float, spread: float, runs: int):
    """Each simulated run has an error that varies with split and seed, measured on 360 test images."""
    rng = np.random.default_rng(1)
    true_errors = rng.normal(expected, spread, (2000, runs)).clip(0, 100)
    measured = 100 * rng.binomial(360, true_errors / 100) / 360
    estimates = [expected_error(errors, 360) for errors in measured.tolist()]
    covered = np.mean([estimate.low <= expected <= estimate.high for estimate in estimates])
    # 2000 studies leave a standard error of half a percent.
    assert covered > 0.94


def test_one_runs_interval_leaves_out_split_and_seed():
    """What the report says of single runs is so: the interval covers far less than 95 % where seeds matter."""
    rng = np.random.default_rng(1)
    measured = 100 * rng.binomial(360, rng.normal(0.30, 0.06, 1200)) / 360
    estimates = [expected_error([error], 360) for error in measured.tolist()]
    assert np.mean([estimate.low <= 30 <= estimate.high for estimate in estimates]) < 0.75


def test_a_paired_difference_is_scipys():
    first, second = [31.0, 33.5, 29.0, 35.0, 30.2], [28.0, 32.0, 20.0, 34.5, 24.0]
    expected = stats.ttest_rel(second, first)
    bounds = expected.confidence_interval(0.95)
    found = paired_difference(first, second, 5000)
    assert found.runs == 5
    assert found.p_value == pytest.approx(expected.pvalue)  # pyright: ignore[reportAttributeAccessIssue]
    assert (found.low, found.high) == pytest.approx((bounds.low, bounds.high))


def test_two_runs_that_differ_alike_by_luck_decide_nothing():
    assert paired_difference([30.0, 33.0], [25.0, 28.0], 360).p_value > 0.05


def test_nets_without_any_difference_get_an_interval_of_some_width():
    found = paired_difference([90.0, 90.0], [90.0, 90.0], 360)
    assert found.p_value == 1
    assert found.low < 0 < found.high


@pytest.mark.parametrize("runs", [2, 5])
def test_equal_nets_are_told_apart_in_at_most_5_percent_of_studies(runs: int):
    rng = np.random.default_rng(2)
    measured = 100 * rng.binomial(360, 0.3, (2, 2000, runs)) / 360
    p_values = [paired_difference(a, b, 360).p_value for a, b in zip(*measured.tolist(), strict=True)]
    assert np.mean(np.array(p_values) < 0.05) < 0.06


@pytest.mark.parametrize(("first", "second"), [([30.0], [31.0]), ([30.0, 31.0], [30.0]), ([], [])])
def test_what_makes_no_pairs_is_refused(first: list[float], second: list[float]):
    with pytest.raises(ValueError, match="no pairs"):
        paired_difference(first, second, 360)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_of_nothing():
    assert holm([]) == []


@given(P_VALUES)
def test_holm_lies_between_no_correction_and_bonferronis(p_values: list[float]):
    for raw, adjusted in zip(p_values, holm(p_values), strict=True):
        assert raw <= adjusted <= min(1, len(p_values) * raw)


@given(P_VALUES)
def test_holm_keeps_the_order(p_values: list[float]):
    adjusted = holm(p_values)
    by_raw = [adjusted[index] for index in np.argsort(p_values, kind="stable")]
    assert by_raw == sorted(by_raw)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=8))
def test_rank_agreement_is_scipys(pairs: list[tuple[int, int]]):
    first, second = zip(*pairs, strict=True)
    expected = stats.kendalltau(first, second).statistic  # pyright: ignore[reportAttributeAccessIssue]
    assert rank_agreement(first, second) == (None if np.isnan(expected) else pytest.approx(expected))
