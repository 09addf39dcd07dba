"""Agreement of the order of the nets' errors with published orders."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from vgg_ablation.analysis.statistics import CONFIDENCE, RESAMPLES, SEED, aligned
from vgg_ablation.analysis.study import Study
from vgg_ablation.runtime.names import plain

FEWEST = 3
"""Nets below which an order has no coefficient."""

CHUNK = 100
"""Resamples at a time: the weights of ten thousand images then take megabytes."""

ROUNDING = 11
"""Digits of a share; shares that differ in later digits alone are ties."""


@dataclass(frozen=True)
class Agreement:
    """Kendall's tau-b between our order and a published one: 1 the same order, 0 unrelated, -1 the opposite."""

    tau: float
    low: float
    high: float
    """Bounds of the 95 % percentile interval over runs and images."""
    nets: tuple[str, ...]
    """In both orders, in the order of `Study.nets`."""
    runs: int
    """In common to all of them; with one, the interval is over images alone."""


def agreement(study: Study, scale: str, protocol: str, published: Mapping[str, float]) -> Agreement | None:
    """Compare the mean errors of a normalisation's nets under a training scale and a protocol with published errors.

    These are by plain name. The interval is a bootstrap over runs, the same ones for all nets, and over all images that
    were tested. None with fewer than three nets in both, without a run or an image in common, or if all errors of one
    are equal.
    """
    nets = [net.arch for net in study.at(scale) if plain(net.arch) in published]
    ours = {net: errors for net in nets if (errors := study.measurements(net, scale, protocol)) is not None}
    if len(ours) < FEWEST:
        return None
    runs, images, wrong = aligned(list(ours.values()))
    if not len(runs):
        return None
    theirs = np.array([published[plain(net)] for net in ours])
    means = np.round(np.mean([wrong[:, runs == run].mean(axis=1) for run in np.unique(runs)], axis=0), ROUNDING)
    tau = float(rank_agreements(means[None], theirs)[0])
    if math.isnan(tau):
        return None
    resampled = rank_agreements(resampled_errors(runs, images, wrong), theirs)
    low, high = np.nanquantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]).tolist()
    return Agreement(tau, min(low, tau), max(high, tau), tuple(ours), len(np.unique(runs)))


def rank_agreements(samples: np.ndarray, ranking: np.ndarray) -> np.ndarray:
    """Return Kendall's tau-b between each of B samples (B, K) and one ranking (K,); NaN where all are equal."""
    first, second = np.array(list(combinations(range(len(ranking)), 2))).T
    ours = np.sign(np.round(samples[:, first] - samples[:, second], ROUNDING))
    theirs = np.sign(ranking[first] - ranking[second])
    untied = np.count_nonzero(ours, axis=1) * np.count_nonzero(theirs)
    return np.divide(ours @ theirs, np.sqrt(untied), out=np.full(len(samples), np.nan), where=untied > 0)


def resampled_errors(runs: np.ndarray, images: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """Resample runs and images with replacement; return the mean errors of K nets as shares, (RESAMPLES, K).

    Args:
        runs: (M,) the run of each measurement.
        images: (M,) the number of its image.
        wrong: (K, M) 1 where a net was wrong.
    """
    rng = np.random.default_rng(SEED)
    names, columns = np.unique(runs, return_inverse=True)
    numbers, rows = np.unique(images, return_inverse=True)
    # By image: one column for each run and net, and as the last "net" whether the image was measured at all.
    table = np.zeros((len(numbers), len(names), len(wrong) + 1), dtype=np.float32)
    table[rows, columns, :-1] = wrong.T
    table[rows, columns, -1] = 1
    table = table.reshape(len(numbers), -1)
    sums = np.concatenate(
        [
            np.stack([np.bincount(drawn, minlength=len(numbers)) for drawn in chunk]).astype(np.float32) @ table
            for chunk in (rng.integers(len(numbers), size=(CHUNK, len(numbers))) for _ in range(RESAMPLES // CHUNK))
        ]
    ).reshape(RESAMPLES, len(names), -1)
    by_run = sums[..., :-1].astype(np.float64) / sums[..., -1:]
    times = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), RESAMPLES)
    return np.einsum("br,brk->bk", times, by_run) / len(names)
