"""Progress of the units: a table on a terminal, elsewhere one line per change."""

import time
from collections.abc import Mapping
from dataclasses import replace
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table

from vgg_ablation.parallel.processes import Event
from vgg_ablation.parallel.schedule import Schedule, makespan
from vgg_ablation.parallel.units import Unit
from vgg_ablation.runtime.console import duration

_QUIET = 60.0  # seconds between two lines about the steps of a unit


class Progress:
    """Shows what happens to the units of a schedule.

    Args:
        schedule: state of the units.
        steps: number of steps of each unit, by name.
        slots: units that run at the same time.
        console: where to print.
    """

    def __init__(self, schedule: Schedule, steps: Mapping[str, int], slots: int, console: Console) -> None:
        self._schedule = schedule
        self._steps = steps
        self._slots = slots
        self._console = console
        self._began: dict[str, float] = {}
        self._printed: dict[str, float] = {}
        self._taken: dict[str, int] = {}
        self._found: dict[str, tuple[int, float]] = {}
        """Of the steps of a unit, how many were found in the resume state, and when the last of them was."""
        self._notes: dict[str, str] = {}
        self._waits = False
        self._seconds = self._amount = 0.0
        """Time and amount of the work on units that are done, without what was found in the resume state."""
        self._live = Live(console=console, get_renderable=self._table, auto_refresh=False, transient=True)

    def __enter__(self) -> "Progress":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def started(self, unit: Unit) -> None:
        """A unit starts."""
        self._waits = False
        self._began[unit.name] = self._printed[unit.name] = time.monotonic()
        self._taken[unit.name] = 0
        self._found[unit.name] = 0, self._began[unit.name]
        self._notes[unit.name] = ""
        if not self._console.is_terminal:
            self._print(f"{unit.name}: started")

    def happened(self, event: Event) -> None:
        """Something happened to a unit that runs; the schedule knows already."""
        name = event.unit.name
        if event.kind in ("step", "found"):
            self._taken[name] += 1
            self._notes[name] = event.text
            now = time.monotonic()
            if event.kind == "found":
                self._found[name] = self._taken[name], now
            if not self._console.is_terminal and now - self._printed[name] >= _QUIET:
                self._printed[name] = now
                self._print(
                    f"{name}: step {self._taken[name]}/{self._steps[name]}{self._unit_left(name)}: {event.text}"
                )
            return
        if event.kind == "say":
            self._print(f"{name}: {event.text}")
            return
        took = time.monotonic() - self._began.pop(name)
        if event.kind == "done":
            found, since = self._found[name]
            if self._taken[name] > found:
                self._seconds += time.monotonic() - since
                self._amount += self._schedule.amounts[name] * (1 - found / self._steps[name])
            self._print(f"{name}: {event.text}; done in {duration(took)}, {self._count()}")
        elif event.kind == "failed":
            self._print(f"{name}: failed: {event.text}")
        else:
            self._print(f"{name}: {event.text}; trying it again")

    def refresh(self) -> None:
        """Show the present state on a terminal."""
        if self._console.is_terminal:
            self._live.refresh()

    def waits_for_slot(self) -> None:
        """No slot is free, and no unit runs."""
        if not self._waits:
            self._print("other studies use all GPUs; waiting for one")
        self._waits = True

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _count(self) -> str:
        left = self.left()
        return f"{len(self._schedule.done)} of {len(self._schedule.units)} units" + (
            f", study about {duration(left)} left" if left is not None else ""
        )

    def left(self) -> float | None:
        """Return the estimated seconds until all units are done; None before one is that was not found done."""
        amounts = self._schedule.amounts
        if not self._seconds or not self._amount:
            return None
        pace = self._seconds / self._amount
        seconds = {name: pace * amounts[name] for name in self._schedule.waiting}
        for name in self._schedule.running:
            seconds[name] = max(0.0, pace * amounts[name] * (1 - self._share(name)))
        rest = [
            replace(unit, needs=tuple(need for need in unit.needs if need in seconds))
            for name, unit in self._schedule.units.items()
            if name in seconds
        ]
        return makespan(rest, seconds, self._slots)

    def _unit_left(self, name: str) -> str:
        found, since = self._found[name]
        taken = self._taken[name]
        if taken == found:
            return ""
        pace = (time.monotonic() - since) / (taken - found)
        return f", {duration(pace * max(0, self._steps[name] - taken))} left"

    def _share(self, name: str) -> float:
        return min(1.0, self._taken[name] / self._steps[name])

    def _table(self) -> Table:
        table = Table(box=None, show_header=False, padding=(0, 1))
        for name in self._schedule.running:
            left = self._unit_left(name).removeprefix(", ")
            table.add_row(name, f"{self._taken[name]}/{self._steps[name]}", left, self._notes[name])
        waiting, failed = len(self._schedule.waiting), len(self._schedule.failed) + len(self._schedule.blocked)
        total = f"{self._count()}; {waiting} waiting" + (f", {failed} failed" if failed else "")
        table.add_row("all", "", "", total, style="bold")
        return table
