"""Order of the units: of those that can start, the one with the longest chain of work behind it is next."""

import heapq
from collections.abc import Mapping, Sequence
from graphlib import TopologicalSorter

from vgg_ablation.parallel.units import Unit


class Schedule:
    """State of the units of a study. Knows no clock and no process.

    Args:
        units: all units, each after those that it needs.
        amounts: amount of work of each unit, by name, in any unit of measure.
    """

    def __init__(self, units: Sequence[Unit], amounts: Mapping[str, float]) -> None:
        self.units = {unit.name: unit for unit in units}
        self.amounts = amounts
        self.waiting = dict(self.units)
        self.running: dict[str, Unit] = {}
        self.done: dict[str, Unit] = {}
        self.failed: dict[str, Unit] = {}
        self.blocked: dict[str, Unit] = {}
        """Units that need a failed one."""
        self._chain = longest_chains(units, amounts)

    def next(self) -> Unit | None:
        """Return the unit that should start next; None if none can start now."""
        ready = (unit for unit in self.waiting.values() if all(need in self.done for need in unit.needs))
        return max(ready, key=lambda unit: self._chain[unit.name], default=None)  # the first of several

    def start(self, unit: Unit) -> None:
        """Count a unit as running."""
        self.running[unit.name] = self.waiting.pop(unit.name)

    def finish(self, unit: Unit) -> None:
        """Count a running unit as done."""
        self.done[unit.name] = self.running.pop(unit.name)

    def fail(self, unit: Unit) -> None:
        """Count a running unit as failed, and the units that need it as blocked."""
        self.failed[unit.name] = self.running.pop(unit.name)
        lost = {unit.name}
        for name in [*self.waiting]:  # a unit comes after those that it needs
            if lost & set(self.waiting[name].needs):
                lost.add(name)
                self.blocked[name] = self.waiting.pop(name)

    def repeat(self, unit: Unit) -> None:
        """Let a running unit wait again, because the process that ran it was lost."""
        del self.running[unit.name]
        self.waiting = {unit.name: unit, **self.waiting}


def longest_chains(units: Sequence[Unit], amounts: Mapping[str, float]) -> dict[str, float]:
    """Return for each unit the work of the longest chain of units that starts with it."""
    after: dict[str, list[str]] = {unit.name: [] for unit in units}
    for unit in units:
        for need in unit.needs:
            after[need].append(unit.name)
    chains: dict[str, float] = {}
    for name in TopologicalSorter(after).static_order():
        chains[name] = amounts[name] + max((chains[later] for later in after[name]), default=0.0)
    return chains


def makespan(units: Sequence[Unit], seconds: Mapping[str, float], slots: int) -> float:
    """Return how long the schedule of `units` takes on a number of slots, if each takes its `seconds`."""
    schedule = Schedule(units, seconds)
    now = 0.0
    running: list[tuple[float, str]] = []
    while True:
        while len(running) < slots and (unit := schedule.next()):
            schedule.start(unit)
            heapq.heappush(running, (now + seconds[unit.name], unit.name))
        if not running:
            return now
        now, name = heapq.heappop(running)
        schedule.finish(schedule.units[name])
