"""Errors, recall and calibration from posteriors."""

import numpy as np
import torch
from torch import Tensor

from vgg_ablation.evaluate.calibration import BINS, bin_numbers

TOP_K = 5

_SMALLEST = torch.finfo(torch.float32).tiny


def measure(posteriors: Tensor, labels: Tensor) -> dict[str, float | None]:
    """Return error rates, mean class recall (appendix B) and calibration.

    Args:
        posteriors: (N, K), rows summing to 1.
        labels: (N,) int64, each class at least once.

    Returns:
        `top1_error` and `top5_error` in percent; `top5_error` is None with five classes or fewer.
        `mean_class_recall` in percent.
        `nll`: mean negative log-likelihood of the true class in nats. Posteriors below the smallest normal float32 are
            raised to it, so that one that was rounded to zero costs 87 nats, not infinitely many.
        `ece`: expected calibration error in percent (Guo et al. 2017), over bins of the largest posterior: the
            distance between accuracy and mean confidence of each bin, weighted by its number of images.
    """
    # Own code: importing torchmetrics takes longer than many an evaluation.
    classes = posteriors.shape[1]
    confidence, predicted = posteriors.max(1)
    correct = (predicted == labels).double()
    in_top_k = (posteriors.topk(min(TOP_K, classes), dim=1).indices == labels[:, None]).any(1).double()
    recall = torch.bincount(labels, correct, minlength=classes) / torch.bincount(labels, minlength=classes)
    true = posteriors.gather(1, labels[:, None]).double().clamp(min=_SMALLEST)
    return {
        "top1_error": round(100 * (1 - correct.mean().item()), 4),
        "top5_error": round(100 * (1 - in_top_k.mean().item()), 4) if classes > TOP_K else None,
        "mean_class_recall": round(100 * recall.mean().item(), 4),
        "nll": round(true.reciprocal().log().mean().item(), 6),
        "ece": round(100 * _calibration_error(confidence.double().numpy(), correct.numpy()), 4),
    }


def _calibration_error(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Return the sum over bins of |correct images - sum of confidences|, divided by the number of images."""
    gaps = np.bincount(bin_numbers(confidence), correct - confidence, minlength=BINS)
    return float(np.abs(gaps).sum() / len(confidence))
