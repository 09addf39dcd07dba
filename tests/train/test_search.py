import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.pruners import SuccessiveHalvingPruner
from optuna.trial import FrozenTrial

from vgg_ablation.errors import StageError
from vgg_ablation.runtime.settings import SearchRange, TuneSettings
from vgg_ablation.train.epoch import Epoch
from vgg_ablation.train.run import DivergedError
from vgg_ablation.train.search import Objective, Outcome, at_edge, best, search
from vgg_ablation.train.trials import FileLedger, Ledger

EPOCHS = 5
CLASSES = 10
SETTINGS = TuneSettings(
    trials=9, epochs=EPOCHS, learning_rate=SearchRange(low=1e-4, high=1e-1),
    weight_decay=SearchRange(low=1e-5, high=1e-2), sampler="tpe", random_trials=3,
    pruner="median", prune_after=2, seed=0,
)  # fmt: skip
Search = Callable[..., list[Outcome]]


def accuracy(learning_rate: float, weight_decay: float, epoch: int) -> float:
    """Return what a made-up net reaches: best at a rate of 0.02, where it learns within a few epochs."""
    height = 80 * math.exp(-(math.log10(learning_rate / 0.02) ** 2)) - abs(math.log10(weight_decay / 1e-3))
    return max(0.0, height * (1 - math.exp(-epoch * learning_rate / 0.02)))


def made_up(learning_rate: float, weight_decay: float, trial: int) -> Iterator[Epoch]:
    """Train a made-up net, which diverges at high rates and does not learn at low ones."""
    for epoch in range(1, EPOCHS + 1):
        if learning_rate > 0.05 and epoch == 3:
            raise DivergedError(epoch, 0.5)
        loss = math.log(CLASSES) * (1 if learning_rate < 3e-4 else 0.5)
        yield Epoch(epoch, learning_rate, loss, loss, accuracy(learning_rate, weight_decay, epoch), 0.5)


def diverging(learning_rate: float, weight_decay: float, trial: int) -> Iterator[Epoch]:
    raise DivergedError(1, 0.5)
    yield


class Interrupted(Exception):  # noqa: N818 - it is no error
    """The process was cut off here."""


def cut_off_in(trial: int, epoch: int) -> Objective:
    """Return `made_up`, cut off before an epoch of a trial; epoch 1 has then not begun."""

    def run(learning_rate: float, weight_decay: float, number: int) -> Iterator[Epoch]:
        for found in made_up(learning_rate, weight_decay, number):
            if (number, found.epoch) == (trial, epoch):
                raise Interrupted
            yield found

    return run


def flat(value: float, loss: float = 0.1, epochs: int = EPOCHS) -> Objective:
    def run(learning_rate: float, weight_decay: float, trial: int) -> Iterator[Epoch]:
        for epoch in range(1, epochs + 1):
            yield Epoch(epoch, learning_rate, loss, loss, value, 0.5)

    return run


def in_file(stem: Path) -> FileLedger:
    return FileLedger(stem, pytest.fail)


@pytest.fixture
def run(tmp_path: Path) -> Search:
    """Return what searches and keeps its trials in one place."""

    def searched(objective: Objective = made_up, **changes: object) -> list[Outcome]:
        settings = SETTINGS.model_copy(update=changes)
        return list(search(objective, CLASSES, settings, in_file(tmp_path / "trials")))

    return searched


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> list[Outcome]:
    return list(search(made_up, CLASSES, SETTINGS, in_file(tmp_path_factory.mktemp("search") / "trials")))


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> list[Outcome]:
    settings = SETTINGS.model_copy(update={"trials": 18})
    return list(search(made_up, CLASSES, settings, in_file(tmp_path_factory.mktemp("long") / "trials")))


# Where the search looks.


def test_the_papers_point_is_tried_first(uninterrupted: list[Outcome]) -> None:
    assert (uninterrupted[0].learning_rate, uninterrupted[0].weight_decay) == (1e-2, 5e-4)


@pytest.mark.parametrize(
    ("name", "allowed"),
    [("learning_rate", SearchRange(low=0.02, high=0.1)), ("weight_decay", SearchRange(low=1e-3, high=1e-2))],
)
def test_a_papers_point_outside_the_space_is_not_tried(run: Search, name: str, allowed: SearchRange) -> None:
    outcomes = run(trials=3, **{name: allowed})
    assert all(allowed.low <= getattr(outcome, name) <= allowed.high for outcome in outcomes)


def test_all_trials_lie_in_the_space(uninterrupted: list[Outcome]) -> None:
    for outcome in uninterrupted:
        assert 1e-4 <= outcome.learning_rate <= 1e-1
        assert 1e-5 <= outcome.weight_decay <= 1e-2


def test_a_search_has_as_many_trials_as_set(uninterrupted: list[Outcome]) -> None:
    assert [outcome.trial for outcome in uninterrupted] == list(range(9))


def test_no_point_is_tried_twice(uninterrupted: list[Outcome]) -> None:
    assert len({(outcome.learning_rate, outcome.weight_decay) for outcome in uninterrupted}) == 9


def test_the_same_seed_gives_the_same_search(run: Search, uninterrupted: list[Outcome]) -> None:
    assert run() == uninterrupted


def test_another_seed_gives_another_search(run: Search, uninterrupted: list[Outcome]) -> None:
    assert run(seed=100, trials=2)[1] != uninterrupted[1]


def test_the_search_comes_nearer_to_the_best_point_than_chance(long: list[Outcome]) -> None:
    """Uniform draws of the rate's logarithm would be 0.9 away in the mean."""
    away = [abs(math.log10(outcome.learning_rate / 0.02)) for outcome in long[9:]]
    assert sum(away) / len(away) < 0.5


# What is recorded.


def test_a_complete_trials_accuracy_is_that_of_its_last_epoch(uninterrupted: list[Outcome]) -> None:
    complete = [outcome for outcome in uninterrupted if outcome.state == "complete" and not outcome.outcome]
    assert complete
    for outcome in complete:
        assert outcome.validation_accuracy == accuracy(outcome.learning_rate, outcome.weight_decay, EPOCHS)
        assert outcome.epochs == EPOCHS


def test_a_trial_takes_the_time_of_its_epochs_the_one_that_diverged_among_them(uninterrupted: list[Outcome]) -> None:
    assert {outcome.outcome for outcome in uninterrupted} >= {"", "diverged"}
    assert all(outcome.seconds == 0.5 * outcome.epochs for outcome in uninterrupted)


def test_a_diverged_trial_counts_as_nothing_and_is_recorded(run: Search) -> None:
    (outcome,) = run(diverging, trials=1)
    assert (outcome.state, outcome.outcome, outcome.validation_accuracy, outcome.epochs) == (
        "complete",
        "diverged",
        0,
        1,
    )


def test_a_trial_that_diverges_later_counts_as_nothing(run: Search) -> None:
    (outcome,) = run(trials=1, learning_rate=SearchRange(low=0.06, high=0.1))
    assert (outcome.outcome, outcome.validation_accuracy, outcome.epochs) == ("diverged", 0, 3)


def test_a_search_in_which_all_diverge_has_a_best_trial(run: Search) -> None:
    outcomes = run(diverging)
    assert len(outcomes) == 9
    assert best(outcomes) == outcomes[0]


@pytest.mark.parametrize(("loss", "outcome"), [(math.log(CLASSES), "at chance"), (1.5, "")])
def test_a_trial_that_ends_at_ln_k_is_recorded_as_at_chance(run: Search, loss: float, outcome: str) -> None:
    assert run(flat(10.0, loss), trials=1)[0].outcome == outcome


@pytest.mark.parametrize(("epochs", "ended_after"), [(1, 1), (2, 2), (3, 2), (5, 4), (6, 4), (15, 10)])
def test_a_trial_that_sits_at_ln_k_ends_after_two_thirds_of_its_epochs(
    run: Search, epochs: int, ended_after: int
) -> None:
    (outcome,) = run(flat(10.0, math.log(CLASSES), epochs), trials=1, epochs=epochs)
    assert (outcome.state, outcome.epochs, outcome.validation_accuracy) == ("complete", ended_after, 10.0)


def test_a_trial_that_left_ln_k_in_time_runs_to_its_end(run: Search) -> None:
    def late(learning_rate: float, weight_decay: float, trial: int) -> Iterator[Epoch]:
        for epoch in range(1, EPOCHS + 1):
            yield Epoch(epoch, learning_rate, math.log(CLASSES) * (1 if epoch < 4 else 0.9), 2.3, 12.0, 0.5)

    (outcome,) = run(late, trials=1)
    assert (outcome.epochs, outcome.outcome) == (EPOCHS, "")


def worse_from_the(fourth: int) -> Objective:
    def run(learning_rate: float, weight_decay: float, trial: int) -> Iterator[Epoch]:
        return flat(50.0 if trial < fourth else 20.0)(learning_rate, weight_decay, trial)

    return run


def test_a_trial_worse_than_the_median_is_pruned_after_the_epochs_that_all_are_given(run: Search) -> None:
    outcome = run(worse_from_the(3), trials=4)[3]
    assert (outcome.state, outcome.epochs, outcome.validation_accuracy) == ("pruned", 2, 20.0)


def test_no_trial_is_pruned_before_as_many_are_complete_as_are_drawn_at_random(run: Search) -> None:
    assert [outcome.state for outcome in run(worse_from_the(2), trials=4)] == [
        "complete",
        "complete",
        "complete",
        "pruned",
    ]


def test_a_trial_as_good_as_the_median_is_not_pruned(run: Search) -> None:
    assert {outcome.state for outcome in run(flat(50.0), trials=6)} == {"complete"}


def test_a_pruned_trial_at_ln_k_is_recorded_as_at_chance(run: Search) -> None:
    def objective(learning_rate: float, weight_decay: float, trial: int) -> Iterator[Epoch]:
        return flat(*((50.0, 0.1) if trial < 3 else (20.0, math.log(CLASSES))))(learning_rate, weight_decay, trial)

    assert run(objective, trials=4)[3].outcome == "at chance"


def test_the_made_up_search_has_all_kinds_of_trials(long: list[Outcome]) -> None:
    """Else the tests of interruption would show less than they seem to."""
    assert {outcome.state for outcome in long} == {"complete", "pruned"}
    assert {outcome.outcome for outcome in long} == {"", "diverged", "at chance"}


# Interruption.


@pytest.mark.parametrize("epoch", [1, 4])
@pytest.mark.parametrize("trial", [0, 1, 3, 8])
def test_an_interrupted_search_goes_on_as_if_it_had_not_been(
    run: Search, uninterrupted: list[Outcome], trial: int, epoch: int
) -> None:
    reached = min(epoch, uninterrupted[trial].epochs - 1)  # a trial may end before the epoch
    with pytest.raises(Interrupted):
        run(cut_off_in(trial, reached))
    assert run() == uninterrupted


def test_an_interrupted_gaussian_process_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"sampler": "gp", "pruner": "none", "trials": 7})
    whole = list(search(made_up, CLASSES, settings, in_file(tmp_path / "whole")))
    for trial in (0, 4, 6):
        with pytest.raises(Interrupted):
            list(search(cut_off_in(trial, 2), CLASSES, settings, in_file(tmp_path / "parts")))
    assert list(search(made_up, CLASSES, settings, in_file(tmp_path / "parts"))) == whole
    assert {outcome.state for outcome in whole} == {"complete"}


def test_a_search_interrupted_again_and_again_goes_on(run: Search, uninterrupted: list[Outcome]) -> None:
    for trial in (0, 0, 0, 2, 2, 5):
        with pytest.raises(Interrupted):
            run(cut_off_in(trial, 1))
    assert run() == uninterrupted


def test_a_pruner_that_keeps_its_own_notes_goes_on_as_if_it_had_not_been_interrupted(tmp_path: Path) -> None:
    """Successive halving writes what it compares into the trials."""
    settings = SETTINGS.model_copy(update={"pruner": "none"})
    pruner = SuccessiveHalvingPruner(min_resource=1, reduction_factor=2, min_early_stopping_rate=0)
    whole = list(search(made_up, CLASSES, settings, in_file(tmp_path / "whole"), pruner))
    with pytest.raises(Interrupted):
        list(search(cut_off_in(5, 1), CLASSES, settings, in_file(tmp_path / "parts"), pruner))
    assert list(search(made_up, CLASSES, settings, in_file(tmp_path / "parts"), pruner)) == whole
    assert {outcome.state for outcome in whole[5:]} == {"complete", "pruned"}


def test_a_trial_that_was_cut_off_is_in_no_record(run: Search, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        run(cut_off_in(1, 1), trials=2)
    assert [trial.state.name for trial in in_file(tmp_path / "trials").read()] == ["COMPLETE"]


class _Unwilling:
    """A ledger that is lost from its n-th trial on."""

    def __init__(self, ledger: Ledger, lost_from: int) -> None:
        self._ledger, self._lost_from = ledger, lost_from

    def read(self) -> list[FrozenTrial]:
        return self._ledger.read()

    def append(self, trial: FrozenTrial) -> None:
        if trial.number >= self._lost_from:
            raise StageError("lost")
        self._ledger.append(trial)


def test_a_trial_that_could_not_be_kept_is_not_yielded_and_is_run_again(
    run: Search, tmp_path: Path, uninterrupted: list[Outcome]
) -> None:
    outcomes = search(made_up, CLASSES, SETTINGS, _Unwilling(in_file(tmp_path / "trials"), 3))
    assert [next(outcomes), next(outcomes), next(outcomes)] == uninterrupted[:3]
    with pytest.raises(StageError, match="lost"):
        next(outcomes)
    assert run() == uninterrupted


def test_a_search_ended_between_two_trials_goes_on(tmp_path: Path, uninterrupted: list[Outcome]) -> None:
    for _ in range(3):
        first = search(made_up, CLASSES, SETTINGS, in_file(tmp_path / "trials"))
        next(first)
        next(first)
        first.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert list(search(made_up, CLASSES, SETTINGS, in_file(tmp_path / "trials"))) == uninterrupted


def test_a_long_search_interrupted_midway_goes_on(run: Search, long: list[Outcome]) -> None:
    with pytest.raises(Interrupted):
        run(cut_off_in(12, 1), trials=18)
    assert run(trials=18) == long


def test_a_finished_search_is_read_and_not_repeated(run: Search, uninterrupted: list[Outcome]) -> None:
    run()
    assert run(lambda *_: pytest.fail("a trial was run again")) == uninterrupted


def test_more_trials_go_on_where_fewer_stopped(run: Search, uninterrupted: list[Outcome]) -> None:
    run(trials=4)
    assert run(trials=9) == uninterrupted


def test_fewer_trials_are_the_first_of_more(run: Search, uninterrupted: list[Outcome]) -> None:
    """What a search finds follows from its settings, not from what was searched before."""
    run(trials=9)
    assert run(trials=4) == uninterrupted[:4]


def test_a_trial_keeps_its_number_when_it_is_begun_again(run: Search) -> None:
    """Its checkpoint is called by it."""
    numbers: list[int] = []

    def numbered(learning_rate: float, weight_decay: float, trial: int) -> Iterator[Epoch]:
        numbers.append(trial)
        return cut_off_in(2 if len(numbers) < 4 else -1, 1)(learning_rate, weight_decay, trial)

    with pytest.raises(Interrupted):
        run(numbered, trials=3)
    run(numbered, trials=3)
    assert numbers == [0, 1, 2, 2]


# What is made of it.


def outcome(trial: int, value: float, state: str = "complete") -> Outcome:
    return Outcome(trial, state, "", 1e-2, 5e-4, value, EPOCHS, 0.5)


def test_the_best_trial_has_the_highest_accuracy() -> None:
    assert best([outcome(0, 20), outcome(1, 40), outcome(2, 30)]).trial == 1


def test_of_equals_the_first_is_best() -> None:
    assert best([outcome(0, 20), outcome(1, 40), outcome(2, 40)]).trial == 1


def test_a_pruned_trial_is_not_best() -> None:
    assert best([outcome(0, 20), outcome(1, 40, "pruned")]).trial == 0


@pytest.mark.parametrize(
    ("value", "edge"), [(1e-4, True), (1.4e-4, True), (1.5e-4, False), (1e-2, False), (1e-1, True)]
)
def test_an_optimum_in_the_outer_twentieth_of_the_logarithmic_range_is_at_its_edge(value: float, edge: bool) -> None:
    """Of three decades that is a factor of 10 ** 0.15 = 1.41."""
    assert at_edge(value, SETTINGS.learning_rate) is edge


@given(place=st.floats(0, 1), low=st.floats(1e-6, 1e-3), decades=st.floats(0.5, 4))
def test_the_edges_are_alike(place: float, low: float, decades: float) -> None:
    allowed = SearchRange(low=low, high=low * 10**decades)
    value, mirrored = low * 10 ** (decades * place), low * 10 ** (decades * (1 - place))
    if min(abs(place - 0.05), abs(place - 0.95)) > 1e-6:
        assert at_edge(value, allowed) == at_edge(mirrored, allowed) == (min(place, 1 - place) < 0.05)


def test_an_outcome_says_which_fields_it_has() -> None:
    """The tuning table has these columns, but for the time."""
    assert list(vars(outcome(0, 1))) == [
        "trial", "state", "outcome", "learning_rate", "weight_decay", "validation_accuracy", "epochs",
        "seconds",
    ]  # fmt: skip
