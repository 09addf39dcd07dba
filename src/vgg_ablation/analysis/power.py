"""The smallest difference between two nets that a study finds with power `POWER`, from its data or before them."""

import math
from collections.abc import Sequence
from statistics import median

from scipy import special

from vgg_ablation.analysis.comparisons import Comparison
from vgg_ablation.analysis.statistics import LEVEL, noncentrality


def detectable_difference(comparisons: Sequence[Comparison]) -> float | None:
    """Return the true difference, points, that a study's corrected tests of pairs find with `POWER`; None if unknown.

    It is the median over the pairs: one net with outlying runs does not change it. On few runs most standard errors are
    too low. So the median is divided by their median ratio to the true one: sqrt(chi2 / (R - 1)) for R runs. None
    without a pair, and with one run.
    """
    found = [one.difference.detectable for one in comparisons if one.difference.detectable is not None]
    if not found:
        return None
    degrees = comparisons[0].difference.runs - 1
    return median(found) / math.sqrt(float(special.chdtri(degrees, 0.5)) / degrees)


def planned_difference(
    error: float, correlation: float, run_spread: float, *, runs: int, images: int, tests: int = 1
) -> float:
    """Return the true difference, points, that a planned study would find with `POWER`.

    The paired t-test over runs, two-sided, at Holm's first level. Runs have test images of their own: if they share
    images on which one net is better than the other, the study finds less.

    Args:
        error: expected error of both nets, percent.
        correlation: correlation of the two nets' errors on an image in one run, -1..1.
        run_spread: standard deviation over splits and seeds of the difference between the two nets, points, without
            the sampling of test images.
        runs: number of runs of each net.
        images: test images of a run.
        tests: number of tests that are corrected together.

    Raises:
        ValueError: fewer than two runs.
    """
    if runs < 2:
        raise ValueError("one run does not show how errors vary between runs")
    share = error / 100
    sampling = 2 * share * (1 - share) * (1 - correlation) / images
    standard_error = math.sqrt((run_spread**2 + 100**2 * sampling) / runs)
    return noncentrality(runs - 1, LEVEL / tests) * standard_error
