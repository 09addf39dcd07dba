"""Intervals and tests for errors measured in a few runs on a few hundred to many thousand test images.

Run r of every net has split r and seed r, and splits draw their test images from one pool. So a measurement, was image
i wrong in run r, belongs to a run and to an image: y_ri = mu + a_r + b_i + e_ri. Estimated is the mean of such
measurements with equal weights of the runs, or of a sum of them over nets, paired by run and image.

Its variance is clustered both ways: V = V_run + V_image - V_measurement, never below either of the first two
(A. C. Cameron, J. B. Gelbach and D. L. Miller, Journal of Business & Economic Statistics 29 (2011) 238-249). V_run is
the variance of the paired t-test over runs; images add what all runs have in common. Degrees of freedom are
(R - 1) (V / V_run)^2, as for readers and cases in radiology, which are crossed in the same way (S. L. Hillis,
Statistics in Medicine 26 (2007) 596-619), at most one fewer than the images.

An interval is the wider of Student's by V with these degrees of freedom and Student's by V_run alone with R - 1; a
p-value is the larger of the two tests'. One run has the variance of sampling images alone, and does not show how an
error varies between splits and seeds.

Errors are in percent, differences in percentage points.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from scipy import special
from statsmodels.stats.proportion import proportion_confint

CONFIDENCE = 0.95
LEVEL = 0.05
"""Significance level of a test, or of a family of tests where p-values are adjusted."""
MARGIN = 1.0
"""Percentage points: a smaller difference counts as none."""
ONE_SIDED = 1 - 2 * LEVEL
"""Confidence of the two-sided interval whose ends are the bounds of one-sided tests at `LEVEL`."""
POWER = 0.8
"""With which a detectable difference is found."""
RESAMPLES = 2000
"""Resamples of a bootstrap."""
SEED = 20140904
"""Seed of a bootstrap: the same inputs give the same interval."""


@dataclass(frozen=True)
class Measurements:
    """Outcomes of the M measurements of one net, or fusion of nets, under one protocol; arrays of (M,)."""

    runs: np.ndarray
    """Integer: the run of each measurement."""
    images: np.ndarray
    """Integer: the number of its image. A run measures an image once."""
    wrong: np.ndarray
    """float64: 1 where the prediction was wrong, else 0. Sums over nets hold other values."""


@dataclass(frozen=True)
class Estimate:
    """An expected error and its interval, percent."""

    mean: float
    low: float
    high: float
    standard_error: float
    by_run: dict[int, float]
    """The error of each run."""


@dataclass(frozen=True)
class Difference:
    """Estimate of a sum of errors, percentage points; of two nets, the second's error minus the first's."""

    runs: int
    """In common to all nets."""
    mean: float
    low: float
    high: float
    p_value: float
    """Two-sided, of an expectation of zero. With one run: over images alone."""
    family: int
    """The number of tests that are corrected together; Holm compares the smallest p-value with `LEVEL` / family."""
    detectable: float | None
    """The smallest true difference found with `POWER` by a two-sided test at level (1 - confidence) / family.

    None with one run.

    Holm's method has at least this power: its first step is at that level, later ones at higher levels.
    """


@dataclass(frozen=True)
class _Crossed:
    """The mean over measurements crossed by R runs and by images, and its variance."""

    runs: np.ndarray
    """(R,) numbers of the runs."""
    run_means: np.ndarray
    run_variance: float
    """Clustered by run alone; 0 with one run."""
    variance: float
    degrees: float
    """Degrees of freedom of `variance`."""
    images: float
    """Effective number: all runs' images if no two runs share one, one run's if all runs have the same."""

    @property
    def mean(self) -> float:
        return float(self.run_means.mean())

    def half_width(self, standard_error: float, confidence: float) -> float:
        """Return the half width of the interval of the mean, given its standard error over runs and images."""
        share = (1 + confidence) / 2
        over_both = float(special.stdtrit(self.degrees, share)) * standard_error
        if len(self.runs) == 1:
            return over_both
        return max(over_both, float(special.stdtrit(len(self.runs) - 1, share)) * math.sqrt(self.run_variance))

    def p_value(self, standard_error: float) -> float:
        """Return the two-sided p-value of a mean of zero."""
        p_value = 2 * float(special.stdtr(self.degrees, -abs(self.mean) / standard_error))
        if not self.run_variance:
            return p_value
        over_runs = -abs(self.mean) / math.sqrt(self.run_variance)
        return max(p_value, 2 * float(special.stdtr(len(self.runs) - 1, over_runs)))

    def detectable(self, standard_error: float, level: float) -> float | None:
        """Return the smallest true mean that a test at a level finds with `POWER`; None with one run."""
        if len(self.runs) == 1:
            return None
        over_both = noncentrality(self.degrees, level) * standard_error
        return max(over_both, noncentrality(len(self.runs) - 1, level) * math.sqrt(self.run_variance))


def expected_error(errors: Measurements, confidence: float = CONFIDENCE) -> Estimate:
    """Estimate the expected error over splits, seeds and images: the mean of the runs' errors.

    The interval is never narrower than Wilson's from the images, and stays within 0..100. With one run it is Wilson's.

    Raises:
        ValueError: fewer than two images, or a run that measured an image twice.
    """
    crossed = _crossed(errors)
    mean = min(max(crossed.mean, 0.0), 100.0)
    standard_error = max(math.sqrt(crossed.variance), 100 / crossed.images)
    low, high = (100 * bound for bound in _wilson(mean / 100, crossed.images, confidence))
    if len(crossed.runs) > 1:
        half_width = crossed.half_width(standard_error, confidence)
        low, high = min(low, mean - half_width), max(high, mean + half_width)
    return Estimate(
        mean=mean,
        low=min(max(low, 0.0), mean),
        high=max(min(high, 100.0), mean),
        standard_error=standard_error,
        by_run=dict(zip(crossed.runs.tolist(), crossed.run_means.tolist(), strict=True)),
    )


def contrast(
    terms: Sequence[tuple[float, Measurements]], confidence: float = CONFIDENCE, *, family: int = 1
) -> Difference:
    """Estimate a sum of coefficient times expected error over nets, paired by the runs and images that all have.

    Runs and nets may agree by chance, so the standard error is never below the weight of one image.

    Args:
        terms: coefficient and errors of each net.
        confidence: confidence of the interval.
        family: the number of tests that are corrected together; only `detectable` depends on it.

    Raises:
        ValueError: fewer than two images in common.
    """
    coefficients = [coefficient for coefficient, _ in terms]
    runs, images, wrong = aligned([errors for _, errors in terms])
    crossed = _crossed(Measurements(runs, images, np.asarray(coefficients, dtype=np.float64) @ wrong))
    worth = 100 * max(map(abs, coefficients)) / crossed.images
    standard_error = max(math.sqrt(crossed.variance), worth)
    half_width = crossed.half_width(standard_error, confidence)
    return Difference(
        len(crossed.runs),
        crossed.mean,
        max(crossed.mean - half_width, 100 * sum(min(coefficient, 0) for coefficient in coefficients)),
        min(crossed.mean + half_width, 100 * sum(max(coefficient, 0) for coefficient in coefficients)),
        crossed.p_value(standard_error),
        family,
        crossed.detectable(standard_error, (1 - confidence) / family),
    )


def paired_difference(first: Measurements, second: Measurements, *, family: int = 1) -> Difference:
    """Return the `contrast` of two nets: the second's error minus the first's."""
    return contrast([(-1, first), (1, second)], family=family)


def class_weights(runs: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return weights (M,) with which the mean over a run's measurements is the mean over its classes.

    Args:
        runs: (M,) run of each measurement.
        classes: (M,) class of its image.
    """
    _, rows = np.unique(runs, return_inverse=True)
    images = np.zeros((rows.max() + 1, classes.max() + 1))
    np.add.at(images, (rows, classes), 1)
    average = images.sum(axis=1) / np.count_nonzero(images, axis=1)
    return average[rows] / images[rows, classes]


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted by Holm's step-down method, in the order given.

    statsmodels' `multipletests` gives the same (a test compares), but collects all garbage at each call, 0.1 s.
    """
    found = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(found, kind="stable")
    adjusted = np.empty_like(found)
    adjusted[order] = np.minimum(np.maximum.accumulate(np.arange(len(found), 0, -1) * found[order]), 1)
    return adjusted.tolist()


def aligned(errors: Sequence[Measurements]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the M measurements that all of K errors have: run and image, both (M,), and `wrong`, (K, M)."""
    images = 1 + max(int(one.images.max(initial=0)) for one in errors)
    keys = [one.runs.astype(np.int64) * images + one.images for one in errors]
    common = reduce(np.intersect1d, keys)
    wrong = np.empty((len(errors), len(common)))
    for row, one, key in zip(wrong, errors, keys, strict=True):
        order = np.argsort(key, kind="stable")
        row[:] = one.wrong[order[np.searchsorted(key, common, sorter=order)]]
    return common // images, common % images, wrong


def _crossed(errors: Measurements) -> _Crossed:
    """Return the mean of the run means, percent, and its variance; with one run the variance of sampling images.

    statsmodels' `cov_cluster_2groups` gives the same variance to 12 digits (a test compares). For the 100,000
    measurements of Caltech-256 it takes 0.23 s, this 0.02 s; a full report needs some 300 of them.
    """
    runs, columns = np.unique(errors.runs, return_inverse=True)
    images, rows = np.unique(errors.images, return_inverse=True)
    if len(images) < 2:
        raise ValueError(f"{len(images)} images in common are too few to compare errors")
    measured = np.zeros((len(images), len(runs)))
    np.add.at(measured, (rows, columns), 1)
    if measured.max() > 1:
        raise ValueError("a run measured an image twice")
    table = np.zeros_like(measured)
    table[rows, columns] = 100 * errors.wrong
    sizes = measured.sum(axis=0)
    run_means = table.sum(axis=0) / sizes
    around = (table - measured * run_means.mean()) / (sizes * len(runs))
    by_run, by_image = _corrected(around.sum(axis=0), len(runs)), _corrected(around.sum(axis=1), len(images))
    by_both = _corrected(around, len(errors.wrong))
    variance = max(by_run + by_image - by_both, by_run, by_image) if len(runs) > 1 else by_image
    degrees = len(images) - 1.0
    if by_run > 0:
        degrees = min(degrees, (len(runs) - 1) * (variance / by_run) ** 2)
    effective_images = float(sizes.sum() ** 2 / np.square(measured.sum(axis=1)).sum())
    return _Crossed(runs, run_means, by_run, variance, degrees, effective_images)


def _corrected(sums: np.ndarray, clusters: int) -> float:
    """Return the sum of squares over clusters as a variance; 0 with one cluster."""
    return float(np.square(sums).sum()) * clusters / (clusters - 1) if clusters > 1 else 0.0


def _wilson(share: float, trials: float, confidence: float) -> tuple[float, float]:
    """Return the bounds of a share; `trials` may be fractional."""
    low, high = proportion_confint(share * trials, trials, alpha=1 - confidence, method="wilson")
    return float(np.asarray(low)), float(np.asarray(high))


def noncentrality(degrees: float, level: float) -> float:
    """Return how many standard errors from zero a true mean is found with `POWER` at a level.

    The other tail has less than 1e-5 of the power. statsmodels' `TTestPower` does not converge for some fractional
    degrees of freedom.
    """
    beyond = special.stdtrit(degrees, 1 - level / 2)
    return float(special.nctdtrinc(degrees, 1 - POWER, beyond))
