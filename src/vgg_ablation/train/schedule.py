"""Learning-rate schedules as functions of the step or the validation history: they have no state to save."""

import math
from collections.abc import Sequence

DECREASES = 3  # section 3.1: "in total, the learning rate was decreased 3 times"


def warm_up(step: int, steps: int) -> float:
    """Return the learning rate at `step` over that after a warm-up of `steps` steps: it rises linearly to 1."""
    return min(1.0, (step + 1) / steps) if steps else 1.0


def cosine(step: int, steps: int) -> float:
    """Return the learning rate at `step` of `steps` over the initial one: a half cosine from 1 towards 0."""
    return (1 + math.cos(math.pi * step / steps)) / 2


def plateau(accuracies: Sequence[float], patience: int) -> float:
    """Return the learning rate of the epoch after those with these validation accuracies, over the initial one.

    It falls to a tenth after more than `patience` epochs in a row without a better accuracy, `DECREASES` times at most.
    """
    best, stalled, decreases = -math.inf, 0, 0
    for accuracy in accuracies:
        if accuracy > best:
            best, stalled = accuracy, 0
        else:
            stalled += 1
        if stalled > patience:
            stalled, decreases = 0, decreases + 1
    return 10.0 ** -min(decreases, DECREASES)
