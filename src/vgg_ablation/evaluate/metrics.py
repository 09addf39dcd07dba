"""Errors, recall and calibration from posteriors."""

import torch
from torch import Tensor

TOP_K = 5
BINS = 15
"""Of the largest posterior, all of one width, in the expected calibration error."""

_SMALLEST = torch.finfo(torch.float32).tiny


def measure(posteriors: Tensor, labels: Tensor) -> dict[str, float | None]:
    """Return the errors and the mean class recall (appendix B) in percent, and how far the posteriors can be trusted.

    Args:
        posteriors: (N, K), rows summing to 1.
        labels: (N,) int64, each class at least once.

    Returns:
        `top1_error` and `top5_error` in percent; top-5 error says nothing of five classes or fewer, and is None then.
        `mean_class_recall` in percent.
        `nll`: mean negative logarithm of the true label's posterior, in nats. A posterior counts as no less than the
            smallest normal float32, so that one that was rounded to zero has a price of 87 nats, not an infinite one.
        `ece`: expected calibration error in percent (Guo et al. 2017): the mean distance between accuracy and mean
            confidence within `BINS` bins of equal width of the largest posterior, weighted by their images. A bin holds
            its upper end.
    """
    classes = posteriors.shape[1]
    # Few lines of our own: importing torchmetrics for them takes longer than many an evaluation.
    confidence, predicted = posteriors.max(1)
    correct = (predicted == labels).double()
    among_first = (posteriors.topk(min(TOP_K, classes), dim=1).indices == labels[:, None]).any(1).double()
    count = torch.bincount(labels, minlength=classes)
    recall = torch.bincount(labels, correct, minlength=classes) / count
    own = posteriors.gather(1, labels[:, None]).double().clamp(min=_SMALLEST)
    return {
        "top1_error": round(100 * (1 - correct.mean().item()), 4),
        "top5_error": round(100 * (1 - among_first.mean().item()), 4) if classes > TOP_K else None,
        "mean_class_recall": round(100 * recall.mean().item(), 4),
        "nll": round(own.reciprocal().log().mean().item(), 6),
        "ece": round(100 * _calibration_error(confidence.double(), correct), 4),
    }


def _calibration_error(confidence: Tensor, correct: Tensor) -> float:
    """Return the sum over bins of |correct images - sum of confidences|, over the number of images."""
    ends = torch.linspace(0, 1, BINS + 1, dtype=torch.float64)[1:-1]
    gaps = torch.bincount(torch.bucketize(confidence, ends), correct - confidence, minlength=BINS)
    return gaps.abs().sum().item() / len(confidence)
