"""Fit of the training images. The test error of a net that does not fit them says nothing about its depth."""

from collections.abc import Mapping
from typing import TypeVar

FITTED = 2.0
"""Percent: a net fits if its training error is at most this, in all studies.

Set after a first study of office10 had shown nets that did not fit.

Training error: top-1 error of a run's own training images, centre crops, without augmentation or dropout; of a net the
mean over its runs, those that did not train included.
"""

Name = TypeVar("Name")


def unfitted(training_errors: Mapping[Name, float]) -> dict[Name, float]:
    """Return the nets whose training error, percent, is above `FITTED`, the largest first."""
    above = {name: error for name, error in training_errors.items() if error > FITTED}
    return dict(sorted(above.items(), key=lambda one: -one[1]))
