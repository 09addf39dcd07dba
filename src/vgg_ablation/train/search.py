"""The search for a net's learning rate, weight decay and batch size: one seeded Optuna study per net."""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Protocol

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from vgg_ablation.paper import recipe as paper
from vgg_ablation.runtime.settings import SearchRange, TuneSettings
from vgg_ablation.train.epoch import Divergence, Epoch
from vgg_ablation.train.run import Point, at_chance

EDGE = 0.05
"""An optimum within this share of the logarithmic range from one of its ends is at the edge."""

STUCK_AFTER = Fraction(2, 3)
"""Share of a trial's epochs after which it ends if its losses are still those of guessing, ln K: the cosine schedule
has fallen to a quarter of the learning rate by then, and no net was observed to start learning later."""

Objective = Callable[[Point], Iterator[Epoch]]
"""From the point of a trial to the epochs of its run."""


@dataclass(frozen=True)
class Trial:
    """A finished trial; its fields but `seconds` are columns of trials.csv."""

    trial: int
    """Number in the order of the search, from 0."""
    state: str
    """`complete` or `pruned`."""
    outcome: str
    """`diverged` or `exploded` (see `Divergence`), `at chance` (the losses are those of guessing), or nothing."""
    learning_rate: float
    weight_decay: float
    batch_size: int
    validation_accuracy: float
    """Percent, of the last epoch; 0 if training diverged or exploded."""
    epochs: int
    """Number of epochs that were run."""
    seconds: float = field(compare=False)
    """Their duration."""

    @property
    def point(self) -> Point:
        """Hyper-parameters of the trial."""
        return Point(self.learning_rate, self.weight_decay, self.batch_size)

    @classmethod
    def of(cls, trial: FrozenTrial) -> "Trial":
        """Return a finished trial of `run_trial`."""
        assert trial.value is not None  # noqa: S101 - the value of a pruned trial is its last report
        return cls(
            trial=trial.number,
            state=trial.state.name.lower(),
            outcome=trial.user_attrs["outcome"],
            **trial.params,
            validation_accuracy=trial.value,
            epochs=trial.user_attrs["epochs"],
            seconds=trial.user_attrs["seconds"],
        )


class Storage(Protocol):
    """Storage of finished trials."""

    def read(self) -> Mapping[int, FrozenTrial]:
        """Return the finished trials by number."""
        ...

    def add(self, trial: FrozenTrial) -> None:
        """Store a finished trial."""
        ...


def finish(
    objective: Objective,
    classes: int,
    settings: TuneSettings,
    trials: Storage,
    number: int,
    pruner: BasePruner | None = None,
) -> Trial:
    """Return the stored trial `number`, or else run it, as `run_trial` does, and store it.

    Raises:
        KeyError: a trial of an earlier round is not stored yet.
        StageError: the storage failed; the next attempt runs the trial again.
    """
    finished = trials.read()
    if (trial := finished.get(number)) is None:
        earlier = [finished[each] for each in range(_first_of_round(settings, number))]
        trial = run_trial(objective, classes, settings, earlier, number, pruner)
        trials.add(trial)
    return Trial.of(trial)


def run_trial(
    objective: Objective,
    classes: int,
    settings: TuneSettings,
    earlier: Sequence[FrozenTrial],
    number: int,
    pruner: BasePruner | None = None,
) -> FrozenTrial:
    """Suggest a point for trial `number`, run it, and return the finished trial.

    The paper's learning rate and weight decay, with the largest batch, come first if they are in the space; then the
    sampler suggests points. It is seeded for each trial from the search's seed and the trial's number. It knows the
    results of the trials of earlier rounds, and the points of the trials before this one in its round. So the trials of
    a round may run in any order or at the same time: the search is the same. A trial that diverges counts as 0 %; one
    that stays at ln K ends early (`STUCK_AFTER`).

    Args:
        objective: runs a trial.
        classes: number of classes.
        settings: budget, space, sampler, pruner, seed and size of a round.
        earlier: trials of all earlier rounds, in the order of their numbers.
        number: number of the trial, from 0.
        pruner: instead of that of the settings.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # else each search logs advice about faster packages
    study = optuna.create_study(direction="maximize", pruner=pruner or _pruner(settings))
    before = _first_of_round(settings, number)
    study.add_trials(earlier)
    ranges = {"learning_rate": settings.learning_rate, "weight_decay": settings.weight_decay}
    space: dict[str, BaseDistribution] = {
        name: FloatDistribution(allowed.low, allowed.high, log=True) for name, allowed in ranges.items()
    }
    space["batch_size"] = CategoricalDistribution(settings.batch_size)
    first = {"learning_rate": paper.LEARNING_RATE, "weight_decay": paper.WEIGHT_DECAY}
    if not before and all(ranges[name].low <= value <= ranges[name].high for name, value in first.items()):
        study.enqueue_trial(first | {"batch_size": settings.batch_size[-1]})
    for each in range(before, number):
        _suggest(study, space, settings, each)  # the trials before this one in its round: running, for the sampler
    trial = _suggest(study, space, settings, number)
    epochs = objective(Point(**trial.params))
    _run(trial, epochs, classes, settings.epochs, study)
    return study.get_trials(deepcopy=False)[number]


def _first_of_round(settings: TuneSettings, number: int) -> int:
    return number - number % settings.round_size


def _suggest(
    study: optuna.Study, space: dict[str, BaseDistribution], settings: TuneSettings, number: int
) -> optuna.Trial:
    with warnings.catch_warnings():
        # The multivariate sampler is marked as experimental; the lock file fixes its version.
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.sampler = _sampler(settings, number)
    return study.ask(space)


def _sampler(settings: TuneSettings, number: int) -> BaseSampler:
    """Return the sampler of trial `number`, with a seed of its own."""
    seed = settings.seed + number
    # All arguments that decide suggestions are given: Optuna 5.0 changed their defaults.
    if settings.sampler == "gp":
        return GPSampler(seed=seed, n_startup_trials=settings.random_trials, deterministic_objective=False)
    return TPESampler(
        n_startup_trials=settings.random_trials, n_ei_candidates=24, multivariate=True, group=False,
        constant_liar=True, seed=seed,
    )  # fmt: skip


def _pruner(settings: TuneSettings) -> BasePruner:
    if settings.pruner == "none":
        return NopPruner()
    return MedianPruner(
        n_startup_trials=settings.random_trials, n_warmup_steps=settings.prune_after, interval_steps=1, n_min_trials=1
    )


def _run(trial: optuna.Trial, epochs: Iterator[Epoch], classes: int, length: int, study: optuna.Study) -> None:
    """Run a trial of at most `length` epochs and tell the study its result."""
    last: Epoch | None = None
    state = TrialState.COMPLETE
    seconds = 0.0
    try:
        for last in epochs:
            seconds += last.seconds
            assert last.validation_accuracy is not None  # noqa: S101 - a search has validation images
            trial.report(last.validation_accuracy, last.epoch)
            if trial.should_prune():
                state = TrialState.PRUNED
                break
            if last.epoch >= STUCK_AFTER * length and at_chance(last, classes):
                break
        assert last is not None  # noqa: S101 - a run has at least one epoch
        outcome = "at chance" if at_chance(last, classes) else ""
    except Divergence as error:
        seconds += error.seconds
        last = Epoch(0 if error.net else error.epoch, math.nan, math.inf, 100.0, math.inf, 0.0, error.seconds)
        outcome = error.kind
    trial.set_user_attr("epochs", last.epoch)
    trial.set_user_attr("seconds", seconds)
    trial.set_user_attr("outcome", outcome)
    study.tell(trial, last.validation_accuracy if state == TrialState.COMPLETE else None, state)


def best(trials: Sequence[Trial]) -> Trial:
    """Return the first complete trial with the highest validation accuracy; at least one trial is complete."""
    return max((trial for trial in trials if trial.state == "complete"), key=lambda trial: trial.validation_accuracy)


def at_edge(value: float, allowed: SearchRange) -> bool:
    """Return whether `value` is so near an end of its range that a better one may be outside."""
    place = math.log(value / allowed.low) / math.log(allowed.high / allowed.low)
    return not EDGE <= place <= 1 - EDGE
