"""Errors and recall, in percent, from posteriors."""

from torch import Tensor
from torchmetrics.functional.classification import multiclass_accuracy

TOP_K = 5


def measure(posteriors: Tensor, labels: Tensor) -> dict[str, float | None]:
    """Return top-1 and top-5 error and mean class recall (appendix B), in percent.

    Args:
        posteriors: (N, K).
        labels: (N,) int64.

    Top-5 error says nothing of five classes or fewer, and is None then.
    """
    classes = posteriors.shape[1]

    def accuracy(top_k: int, average: str) -> float:
        value = multiclass_accuracy(posteriors.double(), labels, classes, average=average, top_k=top_k)  # pyright: ignore[reportArgumentType]
        return 100 * value.item()

    return {
        "top1_error": round(100 - accuracy(1, "micro"), 4),
        "top5_error": round(100 - accuracy(TOP_K, "micro"), 4) if classes > TOP_K else None,
        "mean_class_recall": round(accuracy(1, "macro"), 4),
    }
