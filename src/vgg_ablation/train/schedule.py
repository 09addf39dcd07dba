"""Learning-rate schedules as closed forms of the step or of the validation history, so that nothing needs saving."""

import math
from collections.abc import Sequence

DECREASES = 3  # section 3.1: "in total, the learning rate was decreased 3 times"


def cosine(step: int, steps: int) -> float:
    """Return the share of the initial rate at `step` of `steps`: a half cosine from 1 at step 0 towards 0."""
    return (1 + math.cos(math.pi * step / steps)) / 2


def plateau(accuracies: Sequence[float], patience: int) -> float:
    """Return the share of the initial rate for the epoch after those with these validation accuracies.

    A tenth whenever more than `patience` epochs in a row bring no better accuracy, `DECREASES` times at most.
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
