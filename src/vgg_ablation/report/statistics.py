"""Intervals and tests for errors measured in a few runs on a few hundred to a few thousand test images.

All errors are in percent. Runs differ in split and seed; run r of every net has the same ones, so nets compare in
pairs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtr, stdtrit  # scipy.stats would take longer to import than the report to make

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """An expected error and its interval, percent."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """The second net's error less the first's, percentage points, paired over `runs` runs."""

    runs: int
    mean: float
    low: float
    high: float
    p_value: float
    """Two-sided, of no difference in expectation."""


def wilson(error: float, images: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the Wilson score interval of an error measured on `images` test images, as (low, high) in percent.

    Source: E. B. Wilson, JASA 22 (1927) 209-212. `error` may be a mean over runs, so the count need not be whole.

    Raises:
        ValueError: no image, or an error outside 0..100.
    """
    if images < 1 or not 0 <= error <= 100:
        raise ValueError(f"an error of {error} % on {images} images is not a proportion")
    share = error / 100
    z = float(ndtri((1 + confidence) / 2))
    scale = 1 + z * z / images
    centre = (share + z * z / (2 * images)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / images + z * z / (4 * images * images))
    # Rounding may leave the closed end of an error of 0 or 100 a hair away from the error itself.
    return min(max(100 * (centre - half), 0.0), error), max(min(100 * (centre + half), 100.0), error)


def expected_error(errors: Sequence[float], images: int, confidence: float = CONFIDENCE) -> Estimate:
    """Estimate the expected error over splits and seeds from one error (percent) a run.

    With two runs or more: Student's t over the runs. A few runs may agree by luck, so the interval is never narrower
    than Wilson's from the `images` test images of one run: the envelope of both is returned, within 0..100. With one
    run: Wilson's alone, which leaves out the variation between splits and between seeds.

    Raises:
        ValueError: no run, no image, or an error outside 0..100.
    """
    mean = float(np.mean(errors)) if len(errors) else math.nan
    low, high = wilson(mean, images, confidence)
    if len(errors) > 1:
        half = _t_quantile(len(errors), confidence) * _standard_error(errors)
        low, high = min(low, mean - half), max(high, mean + half)
    return Estimate(mean, max(low, 0.0), min(high, 100.0))


def paired_difference(
    first: Sequence[float], second: Sequence[float], images: int, confidence: float = CONFIDENCE
) -> Difference:
    """Compare two nets by Student's paired t over runs with the same split and seed; errors in percent.

    As with `expected_error`, runs may agree by luck. Two nets whose errors on n images differ by a share d disagree on
    at least d n of them, so a difference seen in one run has at least the sampling variance d (1 - d) / n; the standard
    error is never taken below that, nor below one image.

    Raises:
        ValueError: fewer than two runs, or not as many in both.
    """
    if len(first) != len(second) or len(first) < 2:
        raise ValueError(f"{len(first)} and {len(second)} runs make no pairs to test")
    differences = np.subtract(second, first)
    mean = float(np.mean(differences))
    share = abs(mean) / 100
    standard_error = max(_standard_error(differences), 100 * math.sqrt(share * (1 - share) / images), 100 / images)
    half = _t_quantile(len(first), confidence) * standard_error
    p_value = 2 * float(stdtr(len(first) - 1, -abs(mean) / standard_error))
    return Difference(len(first), mean, max(mean - half, -100.0), min(mean + half, 100.0), p_value)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for being several, in the order given.

    Source: S. Holm, Scandinavian Journal of Statistics 6 (1979) 65-70: the smallest of m is multiplied by m, the next
    by m - 1 and so on; each adjusted value is at least the one before it and at most 1.
    """
    adjusted = [1.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        running = max(running, (len(p_values) - rank) * p_values[index])
        adjusted[index] = min(running, 1.0)
    return adjusted


def rank_agreement(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return Kendall's tau-b between two rankings, -1..1; None where all of one are equal.

    Source: M. G. Kendall, Biometrika 33 (1945) 239-251: pairs in the same order less pairs in opposite order, over the
    geometric mean of the numbers of pairs that are not tied.
    """
    orders = [np.sign(np.subtract.outer(values, values)) for values in (first, second)]
    untied = math.prod(int(np.count_nonzero(order)) for order in orders)
    return float(np.sum(orders[0] * orders[1])) / math.sqrt(untied) if untied else None


def _standard_error(values: Sequence[float] | np.ndarray) -> float:
    return float(np.std(values, ddof=1)) / math.sqrt(len(values))


def _t_quantile(runs: int, confidence: float) -> float:
    return float(stdtrit(runs - 1, (1 + confidence) / 2))
