import math
from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.pruners import SuccessiveHalvingPruner
from optuna.trial import FrozenTrial

from vgg_ablation.errors import StageError
from vgg_ablation.runtime.settings import SearchRange, TuneSettings
from vgg_ablation.train import search
from vgg_ablation.train.epoch import Divergence, Epoch
from vgg_ablation.train.run import Point
from vgg_ablation.train.search import Trial, at_edge, best, finish

EPOCHS = 5
CLASSES = 10
SIZES = (16, 32, 64)
SETTINGS = TuneSettings(
    trials=9, epochs=EPOCHS, learning_rate=SearchRange(low=1e-4, high=1e-1),
    weight_decay=SearchRange(low=1e-5, high=1e-2), batch_size=(32,), sampler="tpe", random_trials=3, round_size=1,
    pruner="median", prune_after=2, seed=0,
)  # fmt: skip


Numbered = Callable[[Point, int], Iterator[Epoch]]
"""An objective that knows the number of its trial."""


def accuracy(point: Point, epoch: int) -> float:
    """Return what a made-up net reaches: best at a rate of 0.02, where it learns within a few epochs."""
    height = 80 * math.exp(-(math.log10(point.learning_rate / 0.02) ** 2)) - abs(math.log10(point.weight_decay / 1e-3))
    return max(0.0, height * (1 - math.exp(-epoch * point.learning_rate / 0.02)) - point.batch_size / 16)


def made_up(point: Point, trial: int) -> Iterator[Epoch]:
    """Train a made-up net, which diverges at high rates and does not learn at low ones."""
    rate = point.learning_rate
    for epoch in range(1, EPOCHS + 1):
        if rate > 0.05 and epoch == 3:
            raise Divergence(epoch, 0.5)
        loss = math.log(CLASSES) * (1 if rate < 3e-4 else 0.5)
        yield Epoch(epoch, rate, loss, 50.0, loss, accuracy(point, epoch), 0.5)


def diverging(point: Point, trial: int) -> Iterator[Epoch]:
    raise Divergence(1, 0.5, "exploded")
    yield


class Interrupted(Exception):  # noqa: N818 - not an error
    """The process was killed here."""


def interrupted_in(trial: int, epoch: int) -> Numbered:
    """Return `made_up`, interrupted before an epoch of a trial."""

    def run(point: Point, number: int) -> Iterator[Epoch]:
        for found in made_up(point, number):
            if (number, found.epoch) == (trial, epoch):
                raise Interrupted
            yield found

    return run


def flat(value: float, loss: float = 0.1, epochs: int = EPOCHS) -> Numbered:
    """Return an objective with the same accuracy and loss in every epoch."""

    def run(point: Point, trial: int) -> Iterator[Epoch]:
        for epoch in range(1, epochs + 1):
            yield Epoch(epoch, point.learning_rate, loss, 50.0, loss, value, 0.5)

    return run


def worse_from(trial: int, loss: float = 0.1) -> Numbered:
    """Return an objective that is worse from a trial on."""
    return lambda point, number: (flat(50.0) if number < trial else flat(20.0, loss))(point, number)


def run(objective: Numbered = made_up, **changes: object) -> list[Trial]:
    return list(Stored(**changes).search(objective))


class Stored:
    """Trials that outlive an interruption."""

    def __init__(self, **changes: object) -> None:
        self.settings = SETTINGS.model_copy(update=changes)
        self.trials: dict[int, FrozenTrial] = {}

    def read(self) -> dict[int, FrozenTrial]:
        return self.trials

    def add(self, trial: FrozenTrial) -> None:
        self.trials[trial.number] = trial

    def finish(self, number: int, objective: Numbered = made_up, **options: Any) -> Trial:
        return finish(lambda point: objective(point, number), CLASSES, self.settings, self, number, **options)

    def search(self, objective: Numbered = made_up, **options: Any) -> Iterator[Trial]:
        for number in range(self.settings.trials):
            yield self.finish(number, objective, **options)


@pytest.fixture(scope="module")
def uninterrupted() -> list[Trial]:
    return run()


# Suggestions.


def test_the_papers_point_is_tried_first(uninterrupted: list[Trial]) -> None:
    assert (uninterrupted[0].learning_rate, uninterrupted[0].weight_decay) == (1e-2, 5e-4)


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_a_search_over_batch_sizes_starts_with_the_largest_and_chooses_the_listed_ones(sampler: str) -> None:
    trials = run(sampler=sampler, pruner="none", batch_size=SIZES)
    assert trials[0].point == Point(1e-2, 5e-4, 64)
    assert {trial.batch_size for trial in trials} == set(SIZES)


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")  # of the multivariate sampler
def test_one_batch_size_changes_no_suggestion(sampler: str) -> None:
    """The points are those that Optuna suggests in a space without batch sizes."""
    found = Stored(sampler=sampler, pruner="none")
    study = optuna.create_study(direction="maximize")
    study.enqueue_trial({"learning_rate": 1e-2, "weight_decay": 5e-4})
    space: dict[str, BaseDistribution] = {
        "learning_rate": FloatDistribution(1e-4, 1e-1, log=True),
        "weight_decay": FloatDistribution(1e-5, 1e-2, log=True),
    }
    for trial in found.search():
        study.sampler = search._sampler(found.settings, trial.trial)
        asked = study.ask(space)
        assert asked.params == {"learning_rate": trial.learning_rate, "weight_decay": trial.weight_decay}
        study.tell(asked, trial.validation_accuracy)


def test_all_points_are_in_the_space_and_none_is_tried_twice() -> None:
    space: dict[str, Any] = {
        "learning_rate": SearchRange(low=0.02, high=0.1),
        "weight_decay": SearchRange(low=1e-3, high=1e-2),
    }
    trials = run(**space)  # without the paper's point
    assert len({(trial.learning_rate, trial.weight_decay) for trial in trials}) == 9
    for name, allowed in space.items():
        assert all(allowed.low <= getattr(trial, name) <= allowed.high for trial in trials)


def test_the_seed_decides_the_search(uninterrupted: list[Trial]) -> None:
    assert run(trials=4) == uninterrupted[:4]
    assert run(trials=2, seed=100)[1] != uninterrupted[1]


# Results of trials.


def test_a_complete_trial_has_the_accuracy_of_its_last_epoch(uninterrupted: list[Trial]) -> None:
    complete = [trial for trial in uninterrupted if trial.state == "complete" and not trial.outcome]
    assert complete
    for trial in complete:
        assert trial.validation_accuracy == accuracy(trial.point, EPOCHS)
        assert trial.epochs == EPOCHS


def test_a_search_in_which_all_trials_diverge_has_a_best_one() -> None:
    trials = run(diverging)
    assert len(trials) == 9
    assert best(trials) == trials[0]
    assert (trials[0].state, trials[0].outcome, trials[0].validation_accuracy) == ("complete", "exploded", 0)


def test_a_trial_that_diverges_later_counts_as_zero() -> None:
    (trial,) = run(trials=1, learning_rate=SearchRange(low=0.06, high=0.1))
    assert (trial.outcome, trial.validation_accuracy, trial.epochs, trial.seconds) == ("diverged", 0, 3, 3 * 0.5)


@pytest.mark.parametrize(("epochs", "ended_after"), [(1, 1), (5, 4), (15, 10)])
def test_a_trial_at_ln_k_ends_after_two_thirds_of_its_epochs(epochs: int, ended_after: int) -> None:
    (trial,) = run(flat(10.0, math.log(CLASSES), epochs), trials=1, epochs=epochs)
    assert (trial.state, trial.outcome, trial.epochs) == ("complete", "at chance", ended_after)
    assert trial.validation_accuracy == 10.0


def test_a_trial_that_left_ln_k_in_time_runs_to_its_end() -> None:
    def late(point: Point, trial: int) -> Iterator[Epoch]:
        for epoch in range(1, EPOCHS + 1):
            yield Epoch(epoch, point.learning_rate, math.log(CLASSES) * (1 if epoch < 4 else 0.9), 80.0, 2.3, 12.0, 0.5)

    (trial,) = run(late, trials=1)
    assert (trial.epochs, trial.outcome) == (EPOCHS, "")


def test_a_trial_worse_than_the_median_is_pruned_after_the_epochs_and_trials_of_grace() -> None:
    assert {trial.state for trial in run(flat(50.0), trials=6)} == {"complete"}
    assert [trial.state for trial in run(worse_from(2), trials=4)] == [*["complete"] * 3, "pruned"]
    trial = run(worse_from(3, math.log(CLASSES)), trials=4)[3]
    assert (trial.state, trial.outcome, trial.epochs, trial.validation_accuracy) == ("pruned", "at chance", 2, 20.0)


# Resuming.


@pytest.mark.parametrize(("trial", "epoch"), [(0, 1), (3, 2), (8, 1)])
def test_an_interrupted_search_makes_the_suggestions_of_an_uninterrupted_one(
    uninterrupted: list[Trial], trial: int, epoch: int
) -> None:
    stored = Stored()
    for _ in range(2):
        with pytest.raises(Interrupted):
            list(stored.search(interrupted_in(trial, epoch)))
        assert len(stored.trials) == trial, "the interrupted trial is not stored"
    assert list(stored.search()) == uninterrupted


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_a_long_search_interrupted_often_makes_the_same_suggestions(sampler: str) -> None:
    settings = {"sampler": sampler, "pruner": "none", "trials": 12 if sampler == "tpe" else 7, "batch_size": SIZES}
    stored = Stored(**settings)
    for trial in (0, 4, 6):
        with pytest.raises(Interrupted):
            list(stored.search(interrupted_in(trial, 2)))
    assert list(stored.search()) == run(**settings)


def test_a_pruner_that_stores_attributes_in_trials_resumes() -> None:
    """Successive halving stores the values that it compares."""
    pruner = SuccessiveHalvingPruner(min_resource=1, reduction_factor=2, min_early_stopping_rate=0)
    whole = list(Stored(pruner="none").search(pruner=pruner))
    stored = Stored(pruner="none")
    with pytest.raises(Interrupted):
        list(stored.search(interrupted_in(5, 1), pruner=pruner))
    assert list(stored.search(pruner=pruner)) == whole
    assert {trial.state for trial in whole[5:]} == {"complete", "pruned"}


def test_a_trial_that_cannot_be_stored_runs_again_under_its_number() -> None:
    numbers: list[int] = []

    def numbered(point: Point, trial: int) -> Iterator[Epoch]:
        numbers.append(trial)
        return made_up(point, trial)

    class Full(Stored):
        def add(self, trial: FrozenTrial) -> None:
            if trial.number == 2 and numbers.count(2) == 1:
                raise StageError("disk full")
            super().add(trial)

    stored = Full()
    with pytest.raises(StageError, match="disk full"):
        list(stored.search(numbered))
    list(stored.search(numbered))
    assert numbers == [0, 1, 2, 2, 3, 4, 5, 6, 7, 8]


# Rounds.


@given(
    data=st.data(),
    sampler=st.sampled_from(["tpe", "tpe", "tpe", "gp"]),  # a trial by gp takes a second
    round_size=st.integers(1, 4),
    sizes=st.sampled_from([(32,), (16, 32, 64)]),
)
@settings(max_examples=10)
def test_the_order_within_a_round_changes_no_trial(
    data: st.DataObject, sampler: str, round_size: int, sizes: tuple[int, ...]
) -> None:
    how: dict[str, Any] = {"sampler": sampler, "round_size": round_size, "batch_size": sizes, "trials": 6}
    in_order, stored = list(Stored(**how).search()), Stored(**how)
    for first in range(0, 6, round_size):
        for number in data.draw(st.permutations(range(first, min(6, first + round_size)))):
            assert stored.finish(number) == in_order[number]


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_a_round_of_trials_has_different_points_where_trials_promise_most(sampler: str) -> None:
    """The sampler knows the points of its round: in one round of four, no two are the same."""
    found = list(Stored(sampler=sampler, round_size=4, trials=8, pruner="none").search())
    points = [(math.log10(trial.learning_rate), math.log10(trial.weight_decay)) for trial in found]
    assert min(math.dist(*pair) for pair in combinations(points[4:], 2)) > 0.01


def test_a_finished_search_is_read_and_more_trials_continue_it(uninterrupted: list[Trial]) -> None:
    stored = Stored(trials=4)
    assert list(stored.search()) == uninterrupted[:4]
    assert list(stored.search(lambda *_: pytest.fail("a trial ran again"))) == uninterrupted[:4]
    stored.settings = SETTINGS
    assert list(stored.search()) == uninterrupted
    stored.settings = SETTINGS.model_copy(update={"trials": 4})
    assert list(stored.search()) == uninterrupted[:4], "fewer trials are the first of more"


# The best trial.


@pytest.mark.parametrize(
    ("values", "states", "winner"),
    [((20, 40, 30), "ccc", 1), ((20, 40, 40), "ccc", 1), ((20, 40, 30), "cpc", 2)],
)
def test_the_best_trial_is_the_first_complete_one_of_highest_accuracy(
    values: tuple[float, ...], states: str, winner: int
) -> None:
    names = {"c": "complete", "p": "pruned"}
    trials = [
        Trial(number, names[state], "", 1e-2, 5e-4, 32, value, EPOCHS, 0.5)
        for number, (value, state) in enumerate(zip(values, states, strict=True))
    ]
    assert best(trials).trial == winner


@given(place=st.floats(0, 1), low=st.floats(1e-6, 1e-3), decades=st.floats(0.5, 4))
def test_the_outer_twentieths_of_the_logarithmic_range_are_its_edges(place: float, low: float, decades: float) -> None:
    allowed = SearchRange(low=low, high=low * 10**decades)
    value, mirrored = low * 10 ** (decades * place), low * 10 ** (decades * (1 - place))
    if min(abs(place - 0.05), abs(place - 0.95)) > 1e-6:
        assert at_edge(value, allowed) == at_edge(mirrored, allowed) == (min(place, 1 - place) < 0.05)
