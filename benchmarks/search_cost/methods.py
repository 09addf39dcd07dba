"""The search methods that are compared, and the points of a grid and of random search."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from optuna.pruners import BasePruner, SuccessiveHalvingPruner

from vgg_ablation.errors import StageError
from vgg_ablation.runtime.settings import TuneSettings

RANDOM = "random"


@dataclass(frozen=True)
class Method:
    """A search method, without its seed."""

    words: str
    """Description, with `random_trials` of section `tune` in braces."""
    settings: dict[str, str | int] | None
    """Settings of section `tune`; None for points drawn uniformly in both logarithms, all trained to their end."""
    pruner: BasePruner | None = None
    """One that a study cannot choose."""


METHODS = {
    "gp": Method("Gaussian process after {random_trials} trials, no pruner", {"sampler": "gp", "pruner": "none"}),
    "tpe": Method(
        "TPE after {random_trials} trials, median pruner after epoch 4",
        {"sampler": "tpe", "pruner": "median", "prune_after": 4},
    ),
    "halving": Method(
        "TPE after {random_trials} trials, only the better half continues after epochs 2, 4 and 8",
        {"sampler": "tpe", "pruner": "none"},
        SuccessiveHalvingPruner(min_resource=2, reduction_factor=2, min_early_stopping_rate=0, bootstrap_count=0),
    ),
    RANDOM: Method("random points, no pruner", None),
}


def method_of(settings: TuneSettings) -> str:
    """Return the method that a study's search is.

    Raises:
        StageError: it is none of them.
    """
    for name, method in METHODS.items():
        if method.settings and not method.pruner and settings.model_copy(update=method.settings) == settings:
            return name
    raise StageError(
        f"the study's search is none of those compared ({', '.join(METHODS)}); add it to search_cost/methods.py"
    )


def random_points(settings: TuneSettings) -> Iterator[tuple[float, float]]:
    """Yield one point a trial, (learning rate, weight decay), uniform in the logarithms over the search's space."""
    random = np.random.default_rng(settings.seed)
    for _ in range(settings.trials):
        learning_rate, weight_decay = (
            math.exp(random.uniform(math.log(allowed.low), math.log(allowed.high)))
            for allowed in (settings.learning_rate, settings.weight_decay)
        )
        yield learning_rate, weight_decay


def grid_points(settings: TuneSettings, shape: tuple[int, int]) -> list[tuple[float, float]]:
    """Return a grid over the search's space, evenly spaced in the logarithms, both ends included."""
    rates, decays = (
        np.geomspace(allowed.low, allowed.high, count).tolist()
        for allowed, count in zip((settings.learning_rate, settings.weight_decay), shape, strict=True)
    )
    return [(rate, decay) for rate in rates for decay in decays]
