"""The search for a net's learning rate and weight decay: one seeded Optuna study a net."""

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from vgg_ablation.train.epoch import Epoch
from vgg_ablation.train.run import DivergedError, at_chance
from vgg_ablation.train.settings import PAPER_LEARNING_RATE, PAPER_WEIGHT_DECAY, SearchRange, TuneSettings

EDGE = 0.05
"""An optimum within this share of the (logarithmic) range from its end is said to sit at the edge."""

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
    """From 0, in the order of the search; a trial that was interrupted has none."""
    state: str
    """`complete` or `pruned`."""
    outcome: str
    """`diverged`, `at chance` (the losses sit at ln K), or nothing."""
    learning_rate: float
    weight_decay: float
    validation_accuracy: float
    """Percent, of the last epoch; 0 for a trial that diverged."""
    epochs: int
    """How many were run."""
    seconds: float = field(compare=False)
    """Time that they took."""


def search(
    objective: Objective, classes: int, settings: TuneSettings, journal: Path, pruner: BasePruner | None = None
) -> Iterator[Outcome]:
    """Run the search and yield each trial as it ends; first those that `journal` already holds.

    The paper's point is tried first if it lies in the space, then the sampler draws. It is seeded anew for each trial
    from the seed and the number of finished trials, so that an interrupted search goes on exactly as if it had not
    been: a trial found running in the journal was cut off, and is drawn again. A trial that diverges counts as 0 % and
    never ends the search. `pruner` stands in for that of the settings; one that ranks a trial that was cut off among
    the others may decide otherwise after an interruption.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # else it advises faster packages, once a search
    with warnings.catch_warnings():
        # The multivariate sampler and the journal are experimental by name; our lock file fixes their version.
        warnings.simplefilter("ignore", ExperimentalWarning)
        storage = JournalStorage(JournalFileBackend(str(journal)))
        study = optuna.create_study(
            storage=storage, study_name="search", direction="maximize", load_if_exists=True,
            pruner=pruner or make_pruner(settings),
        )  # fmt: skip
    for cut_off in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(cut_off.number, state=TrialState.FAIL)
    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))[: settings.trials]
    for number, trial in enumerate(finished):
        yield _outcome(number, trial)
    ranges = {"learning_rate": settings.learning_rate, "weight_decay": settings.weight_decay}
    space: dict[str, BaseDistribution] = {
        name: FloatDistribution(allowed.low, allowed.high, log=True) for name, allowed in ranges.items()
    }
    paper = {"learning_rate": PAPER_LEARNING_RATE, "weight_decay": PAPER_WEIGHT_DECAY}
    paper_is_inside = all(ranges[name].low <= value <= ranges[name].high for name, value in paper.items())
    for number in range(len(finished), settings.trials):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            study.sampler = make_sampler(settings, number)
        if number == 0 and paper_is_inside and not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            study.enqueue_trial(paper)
        trial = study.ask(space)
        point = trial.params["learning_rate"], trial.params["weight_decay"]
        # No name is kept for the epochs: those of a pruned trial are to be closed when it ends.
        _run(trial, objective(*point, number), classes, study)
        yield _outcome(number, study.get_trials(deepcopy=False)[trial.number])


def _run(trial: optuna.Trial, epochs: Iterator[Epoch], classes: int, study: optuna.Study) -> None:
    """Run one trial and tell the study what came of it."""
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
        assert last is not None  # noqa: S101 - a run has at least one epoch
        outcome = "at chance" if at_chance(last, classes) else ""
    except DivergedError as error:
        seconds += error.seconds
        last = Epoch(error.epoch, math.nan, math.inf, math.inf, 0.0, error.seconds)
        outcome = "diverged"
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


def _outcome(number: int, trial: FrozenTrial) -> Outcome:
    assert trial.value is not None  # noqa: S101 - a pruned trial's value is its last report
    return Outcome(
        trial=number,
        state=trial.state.name.lower(),
        outcome=trial.user_attrs["outcome"],
        learning_rate=trial.params["learning_rate"],
        weight_decay=trial.params["weight_decay"],
        validation_accuracy=trial.value,
        epochs=trial.user_attrs["epochs"],
        seconds=trial.user_attrs["seconds"],
    )
