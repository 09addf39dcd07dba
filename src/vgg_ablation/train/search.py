"""The search for a net's learning rate and weight decay: one seeded Optuna study per net."""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from vgg_ablation import paper
from vgg_ablation.runtime.settings import SearchRange, TuneSettings
from vgg_ablation.train.epoch import Divergence, Epoch
from vgg_ablation.train.run import at_chance

EDGE = 0.05
"""An optimum within this share of the logarithmic range from one of its ends is at the edge."""

STUCK_AFTER = Fraction(2, 3)
"""Share of a trial's epochs after which it ends if its losses are still those of guessing, ln K: the cosine schedule
has fallen to a quarter of the learning rate by then, and no net was observed to start learning later."""

Objective = Callable[[float, float, int], Iterator[Epoch]]
"""Learning rate, weight decay and number of a trial to the epochs of its run."""


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
    validation_accuracy: float
    """Percent, of the last epoch; 0 if training diverged or exploded."""
    epochs: int
    """Number of epochs that were run."""
    seconds: float = field(compare=False)
    """Their duration."""


def search(
    objective: Objective,
    classes: int,
    settings: TuneSettings,
    finished: Sequence[FrozenTrial] = (),
    store: Callable[[FrozenTrial], None] = lambda _: None,
    pruner: BasePruner | None = None,
) -> Iterator[Trial]:
    """Run the search and yield each trial when it is finished and stored, first those in `finished`.

    The paper's point is tried first if it is in the space; then the sampler suggests points. It is seeded for each
    trial from the search's seed and the trial's number, and sees finished trials only. So a resumed search makes the
    same suggestions as an uninterrupted one. A trial that diverges counts as 0 %; one that stays at ln K ends early
    (`STUCK_AFTER`); neither ends the search.

    Args:
        objective: runs a trial.
        classes: number of classes.
        settings: budget, space, sampler, pruner and seed.
        finished: the first trials of this search, from an earlier attempt.
        store: saves a finished trial before it is yielded.
        pruner: instead of that of the settings.

    Raises:
        StageError: `store` failed; the next attempt runs this trial again.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # else each search logs advice about faster packages
    study = optuna.create_study(direction="maximize", pruner=pruner or _pruner(settings))
    study.add_trials(finished[: settings.trials])
    done = study.get_trials(deepcopy=False)
    yield from map(_trial, done)
    ranges = {"learning_rate": settings.learning_rate, "weight_decay": settings.weight_decay}
    space: dict[str, BaseDistribution] = {
        name: FloatDistribution(allowed.low, allowed.high, log=True) for name, allowed in ranges.items()
    }
    first = {"learning_rate": paper.LEARNING_RATE, "weight_decay": paper.WEIGHT_DECAY}
    if not done and all(ranges[name].low <= value <= ranges[name].high for name, value in first.items()):
        study.enqueue_trial(first)
    for number in range(len(done), settings.trials):
        with warnings.catch_warnings():
            # The multivariate sampler is marked as experimental; the lock file fixes its version.
            warnings.simplefilter("ignore", ExperimentalWarning)
            study.sampler = _sampler(settings, number)
        trial = study.ask(space)
        point = trial.params["learning_rate"], trial.params["weight_decay"]
        # The iterator of epochs has no name here: that of a trial that ends early is closed at once.
        _run(trial, objective(*point, number), classes, settings.epochs, study)
        told = study.get_trials(deepcopy=False)[number]
        store(told)
        yield _trial(told)


def _sampler(settings: TuneSettings, number: int) -> BaseSampler:
    """Return the sampler of trial `number`, with a seed of its own."""
    seed = settings.seed + number
    # All arguments that decide suggestions are given: Optuna 5.0 changed their defaults.
    if settings.sampler == "gp":
        return GPSampler(seed=seed, n_startup_trials=settings.random_trials, deterministic_objective=False)
    return TPESampler(
        n_startup_trials=settings.random_trials, n_ei_candidates=24, multivariate=True, group=False,
        constant_liar=False, seed=seed,
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
        last = Epoch(error.epoch, math.nan, math.inf, math.inf, 0.0, error.seconds)
        outcome = error.kind
    trial.set_user_attr("epochs", last.epoch)
    trial.set_user_attr("seconds", seconds)
    trial.set_user_attr("outcome", outcome)
    study.tell(trial, last.validation_accuracy if state == TrialState.COMPLETE else None, state)


def _trial(trial: FrozenTrial) -> Trial:
    assert trial.value is not None  # noqa: S101 - the value of a pruned trial is its last report
    return Trial(
        trial=trial.number,
        state=trial.state.name.lower(),
        outcome=trial.user_attrs["outcome"],
        learning_rate=trial.params["learning_rate"],
        weight_decay=trial.params["weight_decay"],
        validation_accuracy=trial.value,
        epochs=trial.user_attrs["epochs"],
        seconds=trial.user_attrs["seconds"],
    )


def best(trials: Sequence[Trial]) -> Trial:
    """Return the first complete trial with the highest validation accuracy; at least one trial is complete."""
    return max((trial for trial in trials if trial.state == "complete"), key=lambda trial: trial.validation_accuracy)


def at_edge(value: float, allowed: SearchRange) -> bool:
    """Return whether `value` is so near an end of its range that a better one may be outside."""
    place = math.log(value / allowed.low) / math.log(allowed.high / allowed.low)
    return not EDGE <= place <= 1 - EDGE
