import math
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from scipy import stats

from judged_study import judged, of_runs, simulate, study_of
from vgg_ablation.analysis.comparisons import Comparison
from vgg_ablation.analysis.power import detectable_difference, planned_difference
from vgg_ablation.analysis.statistics import paired_difference

PAIRS = 15
STUDIES = 400
TOLERANCE = 3 * math.sqrt(0.8 * 0.2 / STUDIES)
"""Three binomial standard errors of the share of `STUDIES` that find a difference."""


def pairs(rng: np.random.Generator, runs: int, spread: float, nets: int = 6) -> list[Comparison]:
    """All pairs of equal nets, as a study compares them."""
    drawn = simulate(rng, [30] * nets, runs, pool=4000, tested=400, run_spread=spread)
    found = [
        paired_difference(first, second, family=PAIRS)
        for place, first in enumerate(drawn)
        for second in drawn[place + 1 :]
    ]
    return cast("list[Comparison]", [SimpleNamespace(difference=one) for one in found])


def found_with(rng: np.random.Generator, difference: float, runs: int, spread: float, images: int = 400) -> float:
    """The share of simulated studies that find this true difference between two nets at Holm's first level."""
    expected = [30 - difference / 2, 30 + difference / 2]
    p_values = [
        paired_difference(*simulate(rng, expected, runs, 10 * images, images, spread)).p_value for _ in range(STUDIES)
    ]
    return float(np.mean(np.array(p_values) < 0.05 / PAIRS))


@pytest.mark.parametrize(("runs", "spread"), [(5, 0.05), (10, 0.1)])
def test_the_stated_difference_is_found_in_80_of_100_repetitions(runs: int, spread: float):
    rng = np.random.default_rng(3)
    stated = [one for _ in range(40) if (one := detectable_difference(pairs(rng, runs, spread)))]
    assert found_with(rng, float(np.mean(stated)), runs, spread) == pytest.approx(0.8, abs=TOLERANCE)


def correlation(error: float, spread: float) -> float:
    """Correlation of two nets' errors on an image in `simulate`, by two correlated normal variables above a bound."""
    shared = 1 / (2 + spread**2)
    bound = stats.norm.isf(error)
    covariance = np.array([[1, shared], [shared, 1]])
    both = stats.multivariate_normal.cdf([-bound, -bound], cov=covariance)  # pyright: ignore[reportArgumentType]
    return float((both - error**2) / (error * (1 - error)))


@pytest.mark.parametrize(("runs", "images", "spread"), [(5, 200, 0.0), (5, 400, 0.05), (20, 400, 0.1)])
def test_the_planned_difference_is_found_in_80_of_100_studies(runs: int, images: int, spread: float):
    rng = np.random.default_rng(4)
    density = stats.norm.pdf(stats.norm.ppf(0.3)) / math.sqrt(2 + spread**2)  # of the error, by a run's shift
    run_spread = 100 * math.sqrt(2) * spread * float(density)
    rho = correlation(0.3, spread)
    planned = planned_difference(30, rho, run_spread, runs=runs, images=images, tests=PAIRS)
    assert found_with(rng, planned, runs, spread, images) == pytest.approx(0.8, abs=TOLERANCE)


def test_without_images_or_correction_the_plan_is_cohens():
    """Cohen 1988: five pairs have a power of 80 % at 1.682 standard deviations."""
    assert planned_difference(30, 1, 2.0, runs=5, images=400) == pytest.approx(1.682 * 2, abs=2e-3)


def test_one_run_finds_nothing():
    assert detectable_difference(pairs(np.random.default_rng(0), 1, 0.0, nets=2)) is None
    with pytest.raises(ValueError, match="one run"):
        planned_difference(30, 0.5, 1.0, runs=1, images=400)


@pytest.mark.parametrize(("key", "second"), [("saturation", "E"), ("lrn", "A_LRN"), ("context", "D")])
def test_the_detectable_difference_of_a_claim_decides_it_in_80_of_100_studies(key: str, second: str):
    """Power with normal runs of a known spread; the other claims are not tested."""
    rng = np.random.default_rng(5)
    first = {"E": "D", "A_LRN": "A", "D": "C"}[second]

    def of_claim(fall: float, spread: np.ndarray):
        errors = {(first, "fixed", "dense"): of_runs([60.0] * 6, 500)}
        errors |= {(second, "fixed", "dense"): of_runs((60 - fall + spread).tolist(), 500)}
        return judged(study_of(errors))[key]

    exact = rng.normal(0, 1, 6)
    (known,) = of_claim(0, (exact - exact.mean()) / exact.std(ddof=1)).components  # its standard deviation is 1
    assert known.detectable is not None
    wanted = "reproduced" if key == "context" else "contradicted"
    verdicts = [of_claim(known.detectable, rng.normal(0, 1, 6)).verdict for _ in range(STUDIES // 2)]
    share = np.mean([verdict == wanted for verdict in verdicts])
    assert share == pytest.approx(0.8, abs=math.sqrt(2) * TOLERANCE)
