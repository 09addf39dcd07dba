from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.speed import rounds
from benchmarks.speed.forms import EPOCH, INPUT, STEP, Case, Effort, Images
from benchmarks.speed.repetition import Repetition


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """A clock that stands still but for what is added to it."""
    now = [0.0]
    monkeypatch.setattr(rounds.time, "monotonic", lambda: now[0])

    def passes(seconds: float) -> None:
        now[0] += seconds

    return passes


def contestants(clock: Callable[[float], None], order: list[str], **seconds: float) -> dict[str, Callable]:
    def work(name: str) -> Repetition:
        order.append(name)
        clock(seconds[name])
        return Repetition(seconds[name] + len(order) / 1000)

    return {name: lambda name=name: work(name) for name in seconds}


def test_contestants_take_turns_and_another_is_first_in_each_round(clock: Callable[[float], None]) -> None:
    order: list[str] = []
    reports: list[str] = []
    done = rounds.alternate(contestants(clock, order, a=1, b=1, c=1), Effort(3, 100.0), reports.append)
    assert order == [*"abc", *"bca", *"cab"]
    assert {name: len(repetitions) for name, repetitions in done.items()} == {"a": 3, "b": 3, "c": 3}
    assert len(reports) == 3


def test_the_round_that_warms_up_does_not_count(clock: Callable[[float], None]) -> None:
    order: list[str] = []
    done = rounds.alternate(contestants(clock, order, a=1), Effort(2, 100.0, warm_up=True), lambda _: None)
    assert [repetition.seconds for repetition in done["a"]] == [1.002, 1.003]


def test_a_slow_contestant_stops_at_its_budget_but_is_measured_once(clock: Callable[[float], None]) -> None:
    order: list[str] = []
    done = rounds.alternate(contestants(clock, order, slow=20, fair=4, quick=1), Effort(3, 9.0), lambda _: None)
    assert {name: len(repetitions) for name, repetitions in done.items()} == {"slow": 1, "fair": 2, "quick": 3}


def test_one_repetition_that_takes_up_the_budget_counts_though_it_came_first(clock: Callable[[float], None]) -> None:
    done = rounds.alternate(contestants(clock, [], slow=20), Effort(2, 9.0, warm_up=True), lambda _: None)
    assert len(done["slow"]) == 1


def test_the_input_path_is_measured_once_a_side_of_the_crop() -> None:
    images = Images(Path(), Path(), 4)
    cases = [Case(net, pixels, 2, images) for pixels in (64, 224) for net in ("A", "E")]
    measures = [measures for _, measures in rounds.measures_of(cases)]
    assert measures == 2 * [(INPUT, STEP, EPOCH), (STEP, EPOCH)]
