from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.sandwich_covariance import cov_cluster_2groups

from judged_study import of_runs, simulate
from vgg_ablation.analysis.statistics import Measurements, aligned, contrast, expected_error, holm, paired_difference

FEW = settings(max_examples=40)


@st.composite
def measured(draw: st.DrawFn, nets: int = 1, runs: int = 4) -> list[Measurements]:
    """Errors of several nets on the same images of the same runs; runs need not have as many images as the next."""
    numbers = draw(st.lists(st.integers(0, 99), min_size=1, max_size=runs, unique=True))
    images = [
        draw(st.lists(st.integers(0, 30), min_size=2, max_size=12, unique=True), label=f"images of run {run}")
        for run in numbers
    ]
    count = sum(map(len, images))
    return [
        Measurements(
            runs=np.repeat(numbers, list(map(len, images))),
            images=np.concatenate(images),
            wrong=np.array(draw(st.lists(st.booleans(), min_size=count, max_size=count)), dtype=np.float64),
        )
        for _ in range(nets)
    ]


def one_run(wrong: int, images: int) -> Measurements:
    return Measurements(np.zeros(images, dtype=int), np.arange(images), np.repeat([1.0, 0.0], [wrong, images - wrong]))


def statsmodels_variance(errors: Measurements) -> float:
    """Clustered by run and image, of the mean of the run means: each measurement over its run's number of images."""
    weight = 1 / np.bincount(errors.runs)[errors.runs]
    fit = statsmodels.api.OLS(100 * errors.wrong * np.sqrt(weight), np.sqrt(weight)[:, None]).fit()
    return max(float(one[0, 0]) for one in cov_cluster_2groups(fit, errors.runs, errors.images))


# Expected errors


@pytest.mark.parametrize("runs", [2, 3, 5])
@pytest.mark.parametrize("run_spread", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("even", [True, False])
def test_the_standard_error_is_statsmodels_clustered_by_run_and_image(runs: int, run_spread: float, even: bool):
    rng = np.random.default_rng(1)
    (errors,) = simulate(rng, [30], runs, run_spread=run_spread)
    if not even:
        kept = rng.random(len(errors.runs)) < 0.3 + 0.6 * errors.runs / runs
        errors = Measurements(errors.runs[kept], errors.images[kept], errors.wrong[kept])
    assert expected_error(errors).standard_error ** 2 == pytest.approx(statsmodels_variance(errors))


def test_runs_have_equal_weights_whatever_their_number_of_images():
    errors = Measurements(np.array([0, 0, 1, 1, 1, 1]), np.array([0, 1, 2, 3, 4, 5]), np.array([1.0, 1, 0, 0, 0, 1]))
    found = expected_error(errors)
    assert (found.mean, found.by_run) == (62.5, {0: 100, 1: 25})


def test_runs_that_differ_much_get_students_interval():
    errors = [20.0, 30.0, 42.0, 25.0]
    low, high = stats.t.interval(0.95, 3, np.mean(errors), stats.sem(errors))
    found = expected_error(of_runs(errors, 5000))
    assert (found.mean, found.low, found.high) == pytest.approx((29.25, low, high))


@pytest.mark.parametrize(("wrong", "images"), [(0, 50), (1, 50), (112, 360), (360, 360), (7, 8), (1, 2)])
def test_one_run_gets_wilsons_interval(wrong: int, images: int):
    expected = stats.binomtest(wrong, images).proportion_ci(0.95, method="wilson")
    found = expected_error(one_run(wrong, images))
    assert (found.low, found.high) == pytest.approx((100 * expected.low, 100 * expected.high), abs=1e-9)


@FEW
@given(measured())
def test_an_interval_holds_the_mean_and_stays_within_0_and_100(errors: list[Measurements]):
    found = expected_error(errors[0])
    assert 0 <= found.low <= found.mean <= found.high <= 100


@FEW
@given(measured(nets=2), st.randoms(use_true_random=False))
def test_the_order_of_measurements_is_irrelevant(errors: list[Measurements], shuffler):
    order = list(range(len(errors[0].runs)))
    shuffler.shuffle(order)
    shuffled = Measurements(errors[0].runs[order], errors[0].images[order], errors[0].wrong[order])
    assert contrast([(-1, shuffled), (1, errors[1])]) == contrast([(-1, errors[0]), (1, errors[1])])


@pytest.mark.parametrize("runs", [3, 5])
@pytest.mark.parametrize(("run_spread", "image_spread", "tested"), [(0, 1, 190), (0.4, 1, 190), (0.1, 3, 400)])
def test_95_percent_intervals_of_an_error_cover_it(runs: int, run_spread: float, image_spread: float, tested: int):
    rng = np.random.default_rng(2)
    covered = []
    for _ in range(400):
        (errors,) = simulate(rng, [30], runs, 400, tested, run_spread, image_spread)
        found = expected_error(errors)
        covered.append(found.low <= 30 <= found.high)
    assert 0.93 <= np.mean(covered) <= 0.99


def test_one_runs_interval_does_not_cover_the_variation_of_seeds():
    """The report says so of single runs."""
    rng = np.random.default_rng(1)
    estimates = [expected_error(simulate(rng, [30], 1, run_spread=0.5)[0]) for _ in range(300)]
    assert np.mean([found.low <= 30 <= found.high for found in estimates]) < 0.75


@pytest.mark.parametrize(
    ("runs", "images", "message"), [([0], [4], "too few"), ([0, 0, 0], [4, 5, 4], "twice"), ([], [], "too few")]
)
def test_one_image_and_an_image_measured_twice_are_refused(runs: list[int], images: list[int], message: str):
    with pytest.raises(ValueError, match=message):
        expected_error(Measurements(np.array(runs, dtype=int), np.array(images, dtype=int), np.ones(len(runs))))


# Differences


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (of_runs([31.0, 33.5, 29.0, 35.0, 30.2], 5000), of_runs([28.0, 32.0, 20.0, 34.5, 24.0], 5000)),
        simulate(np.random.default_rng(3), [30, 40], runs=1),
    ],
    ids=["only runs vary", "one run"],
)
def test_a_difference_that_varies_by_run_or_by_image_alone_is_scipys_paired_t_test(
    first: Measurements, second: Measurements
):
    by_run = [[one.wrong[one.runs == run].mean() for run in np.unique(one.runs)] for one in (first, second)]
    samples = by_run if len(by_run[0]) > 1 else [first.wrong, second.wrong]
    expected = stats.ttest_rel(100 * np.array(samples[1]), 100 * np.array(samples[0]))
    interval = expected.confidence_interval(0.95)
    found = paired_difference(first, second)
    assert found.p_value == pytest.approx(expected.pvalue)  # pyright: ignore[reportAttributeAccessIssue]
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert (found.detectable is None) == (len(by_run[0]) == 1)


@FEW
@given(measured(nets=2))
def test_a_p_value_is_never_below_that_of_the_paired_t_test_over_runs(errors: list[Measurements]):
    first, second = (list(expected_error(one).by_run.values()) for one in errors)
    differences = np.subtract(second, first)
    if len(differences) < 2 or np.ptp(differences) < 1e-9:
        return
    expected = stats.ttest_rel(second, first)
    assert paired_difference(*errors).p_value >= expected.pvalue - 1e-9  # pyright: ignore[reportAttributeAccessIssue]


def test_aligned_errors_have_the_common_measurements_in_one_order():
    one = Measurements(np.array([0, 1, 1]), np.array([5, 5, 7]), np.array([1.0, 0, 1]))
    other = Measurements(np.array([1, 0]), np.array([7, 5]), np.array([0.0, 1]))
    runs, images, wrong = aligned([one, other])
    assert (runs.tolist(), images.tolist(), wrong.tolist()) == ([0, 1], [5, 7], [[1, 1], [1, 0]])


@FEW
@given(measured(nets=2))
def test_swapping_the_nets_flips_the_signs(errors: list[Measurements]):
    one, other = paired_difference(*errors), paired_difference(*reversed(errors))
    assert (other.mean, other.low, other.high) == pytest.approx((-one.mean, -one.high, -one.low), abs=1e-9)
    assert other.p_value == pytest.approx(one.p_value)


@FEW
@given(measured(nets=3))
def test_a_contrast_is_the_sum_of_its_terms(errors: list[Measurements]):
    coefficients = [0.5, 0.5, -1]
    expected = sum(c * expected_error(one).mean for c, one in zip(coefficients, errors, strict=True))
    assert contrast(list(zip(coefficients, errors, strict=True))).mean == pytest.approx(expected, abs=1e-9)


@FEW
@given(measured(nets=2))
def test_the_p_value_is_below_5_percent_where_the_interval_excludes_zero(errors: list[Measurements]):
    found = paired_difference(*errors)
    assert (found.p_value < 0.05) == (found.low > 1e-9 or found.high < -1e-9)


def test_nets_that_never_differ_or_are_never_wrong_have_an_interval_with_a_width():
    errors = one_run(0, 100)
    found, difference = expected_error(errors), paired_difference(errors, errors)
    assert found.low == 0
    assert found.high > 3
    assert difference.p_value == 1
    assert difference.low < 0 < difference.high


@pytest.mark.parametrize("runs", [3, 5])
@pytest.mark.parametrize(("run_spread", "image_spread"), [(0.1, 3), (0.4, 1)])
def test_95_percent_intervals_of_a_difference_cover_it(runs: int, run_spread: float, image_spread: float):
    rng = np.random.default_rng(6)
    drawn = [simulate(rng, [34, 30], runs, run_spread=run_spread, image_spread=image_spread) for _ in range(400)]
    found = [paired_difference(*errors) for errors in drawn]
    assert 0.93 <= np.mean([one.low <= -4 <= one.high for one in found]) <= 0.99


@pytest.mark.parametrize(("runs", "run_spread"), [(2, 0.3), (3, 0.0), (5, 0.3)])
def test_equal_nets_differ_significantly_in_at_most_6_percent_of_studies(runs: int, run_spread: float):
    rng = np.random.default_rng(7)
    p_values = [paired_difference(*simulate(rng, [30, 30], runs, run_spread=run_spread)).p_value for _ in range(500)]
    assert np.mean(np.array(p_values) < 0.05) <= 0.06


# Power


@pytest.mark.parametrize("runs", [2, 3, 5, 20])
def test_the_detectable_difference_is_statsmodels(runs: int):
    values = np.random.default_rng(13).normal(0, 4, runs)
    expected = float(np.asarray(TTestPower().solve_power(nobs=runs, alpha=0.05, power=0.8, alternative="two-sided")))
    found = contrast([(1, of_runs(values.tolist(), 5000))])
    assert found.detectable == pytest.approx(expected * np.std(values, ddof=1), rel=1e-5)


@pytest.mark.parametrize("runs", [2, 3, 5])
@pytest.mark.parametrize("family", [3, 15])
def test_the_detectable_difference_in_a_family_has_80_percent_power_at_bonferronis_level(runs: int, family: int):
    """By scipy's noncentral t: statsmodels' search for an effect size does not converge at such levels and few runs."""
    values = np.random.default_rng(17).normal(0, 4, runs)
    found = contrast([(1, of_runs(values.tolist(), 5000))], family=family)
    assert found.detectable is not None
    critical = stats.t.isf(0.05 / family / 2, runs - 1)
    assert stats.nct.sf(critical, runs - 1, found.detectable / stats.sem(values)) == pytest.approx(0.8, abs=1e-3)


def test_the_family_changes_the_detectable_difference_alone():
    first, second = simulate(np.random.default_rng(19), [30, 33])
    alone, among = paired_difference(first, second), paired_difference(first, second, family=15)
    assert replace(among, family=1, detectable=alone.detectable) == alone


# Several tests


@settings(max_examples=10, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.001, 0.005, 0.01, 0.03, 0.04, 0.5, 1.0]), min_size=1, max_size=12))
def test_adjusted_p_values_are_statsmodels(p_values: list[float]):
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


def test_no_test_needs_no_correction():
    assert holm([]) == []
