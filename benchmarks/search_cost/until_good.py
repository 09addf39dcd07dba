"""Cost of a search: training images processed until a trial is nearly as good as the best of a fine grid."""

from collections.abc import Sequence
from dataclasses import dataclass, field

GRID = "grid"
GOOD_WITHIN = 1.0  # percentage points of validation accuracy
"""A trial this close to the grid's best is good."""
_ROUNDING = 1e-9


@dataclass(frozen=True)
class MethodTrial:
    """One trial; a line of `docs/search-cost.csv`."""

    method: str
    """A key of `methods.METHODS`, or `GRID`."""
    seed: int
    trial: int
    """From 0, in the order of the search or of the grid."""
    state: str
    """`complete`, `pruned` or `diverged`."""
    learning_rate: float
    weight_decay: float
    images: int
    """Training images processed, including an epoch that diverged."""
    accuracies: tuple[float, ...]
    """Percent of the validation images, after each epoch."""
    losses: tuple[float, ...]
    """Loss of the validation images, nats, after each epoch."""
    seconds: float = field(default=0.0, compare=False)
    """Time of the epochs; not in the file."""

    @property
    def accuracy(self) -> float:
        """Percent: that of the last epoch if the trial is complete and can thus be chosen, else 0."""
        return self.accuracies[-1] if self.state == "complete" else 0.0


def is_good(trial: MethodTrial, best: float) -> bool:
    """Return whether a trial is within `GOOD_WITHIN` of the accuracy `best`."""
    return trial.accuracy >= best - GOOD_WITHIN - _ROUNDING


def images_of(trials: Sequence[MethodTrial]) -> int:
    """Return the training images that all trials processed."""
    return sum(trial.images for trial in trials)


def images_until_good(trials: Sequence[MethodTrial], best: float) -> int | None:
    """Return the images processed up to and including the first good trial; None if there is none."""
    first = next((number for number, trial in enumerate(trials) if is_good(trial, best)), None)
    return None if first is None else images_of(trials[: first + 1])


def best_within(trials: Sequence[MethodTrial], images: float) -> float:
    """Return the best accuracy of the trials that had ended after `images` training images; 0 if none had."""
    best, spent = 0.0, 0
    for trial in trials:
        spent += trial.images
        if spent > images:
            break
        best = max(best, trial.accuracy)
    return best


def expected_images_in_random_order(grid: Sequence[MethodTrial], best: float) -> float:
    """Return the mean, over all orders of the grid's trials, of `images_until_good`.

    Each of k good trials is equally likely to be the first of them, and any other trial comes before all k in one order
    of k + 1. If all n trials cost the same, that is (n + 1) / (k + 1) times the cost of one. At least one must be good.
    """
    good = [trial for trial in grid if is_good(trial, best)]
    others = images_of(grid) - images_of(good)
    return images_of(good) / len(good) + others / (len(good) + 1)
