import io
import time

import pytest
from rich.console import Console

from vgg_ablation.parallel.processes import Event
from vgg_ablation.parallel.progress import Progress
from vgg_ablation.parallel.schedule import Schedule
from vgg_ablation.parallel.units import Unit

A, B, C = (Unit(arch, "run", 0, 1, ()) for arch in "ABC")


class Shown:
    """Three units of equal work and two slots, and what was printed of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, terminal: bool = False) -> None:
        self.now = 100.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        self.text = io.StringIO()
        self.schedule = Schedule([A, B, C], {unit.name: 2.0 for unit in (A, B, C)})
        console = Console(file=self.text, force_terminal=terminal, width=100)
        steps = {unit.name: 4 for unit in (A, B, C)}
        self.progress = Progress(self.schedule, steps, 2, console)

    def start(self, unit: Unit) -> None:
        self.schedule.start(unit)
        self.progress.started(unit)

    def end(self, unit: Unit, kind: str = "done", text: str = "top-1 error 20 %") -> None:
        {"done": self.schedule.finish, "failed": self.schedule.fail, "lost": self.schedule.repeat}[kind](unit)
        self.progress.happened(Event(unit, kind, text))  # pyright: ignore[reportArgumentType]

    @property
    def lines(self) -> list[str]:
        return self.text.getvalue().splitlines()


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Shown:
    return Shown(monkeypatch)


def test_without_a_terminal_there_is_a_line_per_change(shown: Shown) -> None:
    with shown.progress:
        shown.start(A)
        shown.progress.happened(Event(A, "step", "epoch 1"))
        shown.progress.happened(Event(A, "say", "resuming after epoch 1/4"))
        shown.now += 75
        shown.end(A)
        shown.start(B)
        shown.end(B, "lost", "its process was killed by SIGKILL")
        shown.start(B)
        shown.end(B, "failed", "the disk is full")
    assert shown.lines == [
        "A run 1/1: started",
        "A run 1/1: resuming after epoch 1/4",
        "A run 1/1: top-1 error 20 %; done in 1:15 min, 1 of 3 units, study about 1:15 min left",
        "B run 1/1: started",
        "B run 1/1: its process was killed by SIGKILL; trying it again",
        "B run 1/1: started",
        "B run 1/1: failed: the disk is full",
    ]


def test_without_a_terminal_a_long_unit_says_once_a_minute_how_far_it_is(shown: Shown) -> None:
    shown.start(A)
    for _ in range(3):
        shown.now += 45
        shown.progress.happened(Event(A, "step", "training loss 1.5"))
    assert shown.lines[1:] == ["A run 1/1: step 2/4, 1:30 min left: training loss 1.5"]


def test_waiting_for_a_slot_is_said_once(shown: Shown) -> None:
    for _ in range(3):
        shown.progress.waits_for_slot()
    shown.start(A)
    shown.progress.waits_for_slot()
    assert shown.lines.count("other studies use all GPUs; waiting for one") == 2


def test_the_time_left_is_that_of_the_schedule_at_the_pace_so_far(shown: Shown) -> None:
    assert shown.progress.left() is None
    shown.start(A)
    shown.now += 8
    shown.progress.happened(Event(A, "step", "epoch 4"))
    shown.end(A)
    assert shown.progress.left() == pytest.approx(8), "B and C side by side"
    shown.start(B)
    shown.progress.happened(Event(B, "step", "epoch 1"))
    assert shown.progress.left() == pytest.approx(8), "C takes longer than the rest of B"
    shown.start(C)
    for _ in range(3):
        shown.progress.happened(Event(C, "step", "epoch"))
    assert shown.progress.left() == pytest.approx(6)


def test_what_was_found_in_the_state_says_nothing_of_the_time_left(shown: Shown) -> None:
    shown.start(A)
    shown.progress.happened(Event(A, "found", "epoch 4"))
    shown.now += 1
    shown.end(A)
    assert shown.progress.left() is None
    shown.start(B)
    for _ in range(2):
        shown.progress.happened(Event(B, "found", "epoch"))
    shown.now += 60
    shown.progress.happened(Event(B, "step", "epoch 3"))
    assert shown.lines[-1] == "B run 1/1: step 3/4, 1:00 min left: epoch 3"
    shown.now += 60
    shown.progress.happened(Event(B, "step", "epoch 4"))
    shown.end(B)
    assert shown.progress.left() == pytest.approx(240), "C has four steps"


def test_a_terminal_shows_a_row_per_running_unit_with_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Shown(monkeypatch, terminal=True)
    shown.start(A)
    shown.progress.happened(Event(A, "step", "loss 1.5"))
    shown.now += 10
    text = io.StringIO()
    Console(file=text, width=100).print(shown.progress._table())
    row, total = text.getvalue().splitlines()
    assert row.split() == ["A", "run", "1/1", "1/4", "30", "s", "left", "loss", "1.5"]
    assert "0 of 3 units; 2 waiting" in total
