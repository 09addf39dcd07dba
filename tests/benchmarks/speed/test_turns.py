from collections.abc import Callable

import pytest

from benchmarks.speed import turns
from benchmarks.speed.cases import Effort
from benchmarks.speed.results import Timing


class Programs:
    """Programs that take the given seconds by a clock of their own, and the order in which they worked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **seconds: float) -> None:
        self.order: list[str] = []
        self._now = 0.0
        monkeypatch.setattr(turns.time, "monotonic", lambda: self._now)
        self.work: dict[str, Callable[[], Timing]] = {
            name: lambda name=name, taken=taken: self._work(name, taken) for name, taken in seconds.items()
        }

    def _work(self, name: str, seconds: float) -> Timing:
        self.order.append(name)
        self._now += seconds
        return Timing(seconds + len(self.order) / 1000)


def test_another_program_is_first_in_each_round(monkeypatch: pytest.MonkeyPatch) -> None:
    programs = Programs(monkeypatch, a=1, b=1, c=1)
    said: list[str] = []
    timings = turns.alternate(programs.work, Effort(3, 100.0), said.append)
    assert programs.order == [*"abc", *"bca", *"cab"]
    assert {name: len(found) for name, found in timings.items()} == {"a": 3, "b": 3, "c": 3}
    assert len(said) == 3


def test_the_warm_up_round_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    timings = turns.alternate(Programs(monkeypatch, a=1).work, Effort(2, 100.0, warm_up=True), lambda _: None)
    assert [timing.seconds for timing in timings["a"]] == [1.002, 1.003]


def test_a_slow_program_stops_at_its_budget_after_at_least_one_repetition(monkeypatch: pytest.MonkeyPatch) -> None:
    programs = Programs(monkeypatch, slow=20, fair=4, quick=1)
    timings = turns.alternate(programs.work, Effort(3, 9.0), lambda _: None)
    assert {name: len(found) for name, found in timings.items()} == {"slow": 1, "fair": 2, "quick": 3}
