"""Errors and recall, in percent, from posteriors."""

import torch
from torch import Tensor

TOP_K = 5


def measure(posteriors: Tensor, labels: Tensor) -> dict[str, float | None]:
    """Return top-1 and top-5 error and mean class recall (appendix B), in percent.

    Args:
        posteriors: (N, K).
        labels: (N,) int64, each class at least once.

    Top-5 error says nothing of five classes or fewer, and is None then.
    """
    classes = posteriors.shape[1]
    # Few lines of our own: importing torchmetrics for them takes longer than many an evaluation.
    correct = (posteriors.argmax(1) == labels).double()
    among_first = (posteriors.topk(min(TOP_K, classes), dim=1).indices == labels[:, None]).any(1).double()
    count = torch.bincount(labels, minlength=classes)
    recall = torch.bincount(labels, correct, minlength=classes) / count
    return {
        "top1_error": round(100 * (1 - correct.mean().item()), 4),
        "top5_error": round(100 * (1 - among_first.mean().item()), 4) if classes > TOP_K else None,
        "mean_class_recall": round(100 * recall.mean().item(), 4),
    }
