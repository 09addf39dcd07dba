"""Bins of confidence, shared by the expected calibration error and the reliability diagrams. Imports no torch."""

import numpy as np

BINS = 15
"""Number of bins of equal width (Guo et al. 2017)."""


def bin_numbers(confidence: np.ndarray) -> np.ndarray:
    """Return the bin of each confidence (N,) in 0..1, from 0 on: bin m is (m / BINS, (m + 1) / BINS]."""
    return np.searchsorted(np.arange(1, BINS) / BINS, confidence)
