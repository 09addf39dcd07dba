"""What is compared: searches by several samplers and pruners, and points drawn at random."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from optuna.pruners import BasePruner, SuccessiveHalvingPruner
from optuna.trial import FrozenTrial

from benchmarks.search_cost.cost import Trial
from benchmarks.search_cost.curves import Curves
from vgg_ablation.errors import StageError
from vgg_ablation.runtime.settings import TuneSettings
from vgg_ablation.train.epoch import Epoch
from vgg_ablation.train.run import DivergedError
from vgg_ablation.train.search import search

RANDOM = "random"


@dataclass(frozen=True)
class Method:
    """A way to search, but for its seed."""

    words: str
    """What it is, with the settings that it reads in braces."""
    settings: dict[str, str | int] | None
    """Of section `tune`. None: points are drawn uniformly in both logarithms, from the first on, none is pruned."""
    pruner: BasePruner | None = None
    """One that a study cannot choose."""


METHODS = {
    "gp": Method("Gaussian process after {random_trials} trials, no pruner", {"sampler": "gp", "pruner": "none"}),
    "tpe": Method(
        "TPE after {random_trials} trials, median pruner after epoch 4",
        {"sampler": "tpe", "pruner": "median", "prune_after": 4},
    ),
    "halving": Method(
        "TPE after {random_trials} trials, the better half goes on after epochs 2, 4 and 8",
        {"sampler": "tpe", "pruner": "none"},
        SuccessiveHalvingPruner(min_resource=2, reduction_factor=2, min_early_stopping_rate=0, bootstrap_count=0),
    ),
    RANDOM: Method("points at random, no pruner", None),
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
        f"the study's search is none of those compared: {', '.join(METHODS)}; add it to search_cost.methods"
    )


@dataclass(frozen=True)
class Facts:
    """What a process knows of the images and of its machine."""

    training_images: int
    """An epoch's: those that whole batches take."""
    validation_images: int
    device: str
    precision: str


class _NoLedger:
    """Keeps no trials: the curves are kept, over which a search that was interrupted runs again in no time."""

    def read(self) -> list[FrozenTrial]:
        return []

    def append(self, trial: FrozenTrial) -> None:
        pass


@dataclass(frozen=True)
class Trainer:
    """What carries trials out."""

    curves: Curves
    settings: TuneSettings
    classes: int
    facts: Facts

    def full_trial(self, method: str, seed: int, number: int, point: tuple[float, float]) -> Trial:
        """Train at a point for all epochs, as the grid and random search do."""
        epochs: list[Epoch] = []
        try:
            epochs.extend(self.curves.epochs(*point))
        except DivergedError as error:
            return self._trial(method, seed, number, "diverged", point, error.epoch, epochs)
        return self._trial(method, seed, number, "complete", point, len(epochs), epochs)

    def search(self, method: str, seed: int) -> Iterator[Trial]:
        """Yield the trials of a search as they end."""
        # Each trial of a search has a seed of its own, counted upwards: those of two searches are kept apart.
        settings = self.settings.model_copy(update={"seed": seed * self.settings.trials})
        how = METHODS[method]
        if how.settings is None:
            for number, point in enumerate(random_points(settings)):
                yield self.full_trial(method, seed, number, point)
            return
        epochs: list[Epoch] = []

        def objective(learning_rate: float, weight_decay: float, _: int) -> Iterator[Epoch]:
            epochs.clear()
            for epoch in self.curves.epochs(learning_rate, weight_decay):
                epochs.append(epoch)
                yield epoch

        settings = settings.model_copy(update=how.settings)
        for outcome in search(objective, self.classes, settings, _NoLedger(), how.pruner):
            state = outcome.state if outcome.outcome in ("", "at chance") else "diverged"
            point = outcome.learning_rate, outcome.weight_decay
            yield self._trial(method, seed, outcome.trial, state, point, outcome.epochs, epochs)

    def _trial(
        self, method: str, seed: int, number: int, state: str, point: tuple[float, float], run: int, curve: list[Epoch]
    ) -> Trial:
        return Trial(
            method, seed, number, state, *point, images=run * self.facts.training_images,
            accuracies=tuple(epoch.validation_accuracy for epoch in curve),
            losses=tuple(epoch.validation_loss for epoch in curve),
        )  # fmt: skip


def random_points(settings: TuneSettings) -> Iterator[tuple[float, float]]:
    """Yield as many points as there are trials, uniform in the logarithms over the search's space."""
    random = np.random.default_rng(settings.seed)
    for _ in range(settings.trials):
        learning_rate, weight_decay = (
            math.exp(random.uniform(math.log(allowed.low), math.log(allowed.high)))
            for allowed in (settings.learning_rate, settings.weight_decay)
        )
        yield learning_rate, weight_decay


def grid_points(settings: TuneSettings, shape: tuple[int, int]) -> list[tuple[float, float]]:
    """Return the points of a grid over the search's space, ends included, equally far apart in the logarithms."""
    rates, decays = (
        np.geomspace(allowed.low, allowed.high, count).tolist()
        for allowed, count in zip((settings.learning_rate, settings.weight_decay), shape, strict=True)
    )
    return [(rate, decay) for rate in rates for decay in decays]
