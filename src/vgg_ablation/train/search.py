"""The search for a net's learning rate and weight decay: one seeded Optuna study a net."""

import math
import warnings
from collections.abc import Callable, Iterator
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
from vgg_ablation.train.epoch import Epoch
from vgg_ablation.train.run import DivergedError, at_chance
from vgg_ablation.train.trials import Ledger

EDGE = 0.05
"""An optimum within this share of the (logarithmic) range from its end is said to sit at the edge."""

STUCK_AFTER = Fraction(2, 3)
"""Share of a trial's epochs after which one that still sits at ln K ends: a cosine has come down to a quarter of the
rate by then, and goes on to fall. What has not begun to learn will not."""

Objective = Callable[[float, float, int], Iterator[Epoch]]
"""Learning rate, weight decay and the number of the trial to the epochs of a run with them."""


def make_sampler(settings: TuneSettings, number: int) -> BaseSampler:
    """Return what draws trial `number`, seeded for it alone."""
    seed = settings.seed + number
    # 5.0 changed the defaults of these: all that matters is said.
    if settings.sampler == "gp":
        return GPSampler(seed=seed, n_startup_trials=settings.random_trials, deterministic_objective=False)
    return TPESampler(
        n_startup_trials=settings.random_trials, n_ei_candidates=24, multivariate=True, group=False,
        constant_liar=False, seed=seed,
    )  # fmt: skip


def make_pruner(settings: TuneSettings) -> BasePruner:
    """Return what stops trials."""
    if settings.pruner == "none":
        return NopPruner()
    return MedianPruner(
        n_startup_trials=settings.random_trials, n_warmup_steps=settings.prune_after, interval_steps=1, n_min_trials=1
    )


@dataclass(frozen=True)
class Outcome:
    """A finished trial."""

    trial: int
    """From 0, in the order of the search."""
    state: str
    """`complete` or `pruned`."""
    outcome: str
    """`diverged` or `exploded` (see `DivergedError`), `at chance` (the losses sit at ln K), or nothing."""
    learning_rate: float
    weight_decay: float
    validation_accuracy: float
    """Percent, of the last epoch; 0 for a trial that diverged or exploded."""
    epochs: int
    """How many were run."""
    seconds: float = field(compare=False)
    """Time that they took."""


def search(
    objective: Objective, classes: int, settings: TuneSettings, ledger: Ledger, pruner: BasePruner | None = None
) -> Iterator[Outcome]:
    """Run the search and yield each trial when `ledger` has it; first those that it already holds.

    The paper's point is tried first if it lies in the space, then the sampler draws. It sees finished trials alone, and
    is seeded anew for each from the seed and their number, so that an interrupted search goes on exactly as if it had
    not been: a trial that was cut off is in no ledger, and gets the same point again. A trial that diverges counts as
    0 % and never ends the search; one that is stuck at ln K ends early (`STUCK_AFTER`). `pruner` stands in for that of
    the settings.

    Raises:
        StageError: the ledger cannot be read, or does not take a trial; the next search runs that one again.
        OSError: the same, of a ledger in a file.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # else it advises faster packages, once a search
    study = optuna.create_study(direction="maximize", pruner=pruner or make_pruner(settings))
    study.add_trials(ledger.read()[: settings.trials])
    finished = study.get_trials(deepcopy=False)
    yield from map(_outcome, finished)
    ranges = {"learning_rate": settings.learning_rate, "weight_decay": settings.weight_decay}
    space: dict[str, BaseDistribution] = {
        name: FloatDistribution(allowed.low, allowed.high, log=True) for name, allowed in ranges.items()
    }
    first = {"learning_rate": paper.LEARNING_RATE, "weight_decay": paper.WEIGHT_DECAY}
    if not finished and all(ranges[name].low <= value <= ranges[name].high for name, value in first.items()):
        study.enqueue_trial(first)
    for number in range(len(finished), settings.trials):
        with warnings.catch_warnings():
            # The multivariate sampler is experimental by name; our lock file fixes its version.
            warnings.simplefilter("ignore", ExperimentalWarning)
            study.sampler = make_sampler(settings, number)
        trial = study.ask(space)
        point = trial.params["learning_rate"], trial.params["weight_decay"]
        # No name is kept for the epochs: those of a trial that ends early are to be closed when it does.
        _run(trial, objective(*point, number), classes, settings.epochs, study)
        told = study.get_trials(deepcopy=False)[number]
        ledger.append(told)
        yield _outcome(told)


def _run(trial: optuna.Trial, epochs: Iterator[Epoch], classes: int, length: int, study: optuna.Study) -> None:
    """Run one trial of `length` epochs and tell the study what came of it."""
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
    except DivergedError as error:
        seconds += error.seconds
        last = Epoch(error.epoch, math.nan, math.inf, math.inf, 0.0, error.seconds)
        outcome = error.reason
    trial.set_user_attr("epochs", last.epoch)
    trial.set_user_attr("seconds", seconds)
    trial.set_user_attr("outcome", outcome)
    study.tell(trial, last.validation_accuracy if state == TrialState.COMPLETE else None, state)


def best(outcomes: list[Outcome]) -> Outcome:
    """Return the complete trial with the highest validation accuracy; of equals the first. One is always complete."""
    return max((trial for trial in outcomes if trial.state == "complete"), key=lambda trial: trial.validation_accuracy)


def at_edge(value: float, allowed: SearchRange) -> bool:
    """Return whether `value` lies so near an end of its range that a better one may lie beyond."""
    place = math.log(value / allowed.low) / math.log(allowed.high / allowed.low)
    return not EDGE <= place <= 1 - EDGE


def _outcome(trial: FrozenTrial) -> Outcome:
    assert trial.value is not None  # noqa: S101 - a pruned trial's value is its last report
    return Outcome(
        trial=trial.number,
        state=trial.state.name.lower(),
        outcome=trial.user_attrs["outcome"],
        learning_rate=trial.params["learning_rate"],
        weight_decay=trial.params["weight_decay"],
        validation_accuracy=trial.value,
        epochs=trial.user_attrs["epochs"],
        seconds=trial.user_attrs["seconds"],
    )
