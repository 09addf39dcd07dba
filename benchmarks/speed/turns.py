"""The order of work: programs take turns, so that a machine that slows down slows all of them alike."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial

from benchmarks.speed.cases import (
    CORES,
    EPOCH,
    INPUT,
    STEP,
    TRAINING_MEASURES,
    WITH_LOADER,
    Case,
    Effort,
    Plan,
)
from benchmarks.speed.results import Row, Timing, make_row
from benchmarks.speed.worker import Worker

Say = Callable[[str], None]


def alternate(work: Mapping[str, Callable[[], Timing]], effort: Effort, say: Say) -> dict[str, list[Timing]]:
    """Let each program do its work once a round, another one first in each round; return the timings that count.

    Args:
        work: does one repetition, by program.
        effort: number of rounds, and the budget after which a program stops; each does at least one repetition.
        say: is told of each round.
    """
    names = list(work)
    timings: dict[str, list[Timing]] = {name: [] for name in names}
    spent = dict.fromkeys(names, 0.0)
    longest = dict.fromkeys(names, 0.0)
    for number in range(effort.all_rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            if timings[name] and spent[name] + longest[name] > effort.budget:
                continue
            start = time.monotonic()
            timings[name].append(work[name]())
            seconds = time.monotonic() - start
            spent[name] += seconds
            longest[name] = max(longest[name], seconds)
        values = ", ".join(f"{name} {timings[name][-1].value:.3g}" for name in names)
        say(f"round {number + 1} of {effort.all_rounds}: {values}")
    return {name: found[int(effort.warm_up) :] or found for name, found in timings.items()}


def measures_of(cases: Iterable[Case], plan: Plan) -> Iterator[tuple[Case, tuple[str, ...]]]:
    """Yield each case with its measures: the input path, the same for all nets, is measured once a side of the crop."""
    seen: set[int] = set()
    for case in cases:
        measures = (STEP, EPOCH) if case.pixels in seen else TRAINING_MEASURES
        yield case, measures if case.pixels in plan.epochs_at else (STEP,)
        seen.add(case.pixels)


class TrainingMeasures:
    """Measures training, case by case.

    Args:
        workers: processes that hold a `timing.Session`, by program.
        plan: how often to measure.
        cores: cores of the machine.
        say: is told of each round.
    """

    def __init__(self, workers: Mapping[str, Worker], plan: Plan, cores: int, say: Say) -> None:
        self._workers = workers
        self._plan = plan
        self._numbers = sorted({cores if number == CORES else number for number in plan.loader_processes})
        self._say = say
        self._tried: dict[tuple[str, int], dict[int, float]] = {}

    @property
    def loader_processes_tried(self) -> dict[str, dict[int, float]]:
        """Seconds of an epoch by number of loader processes, by program and side of the crop."""
        return {f"{name} at {pixels} pixels": seconds for (name, pixels), seconds in self._tried.items()}

    def run(self, case: Case, measures: tuple[str, ...]) -> Iterator[Row]:
        """Measure one case."""
        precisions = {name: worker.ask("open", case) for name, worker in self._workers.items()}
        loading = self._plan.programs.get(EPOCH, self._workers) if EPOCH in measures else ()
        processes = {name: self._choose_processes(name, case) for name in WITH_LOADER if name in loading}
        for measure in measures:
            names = [name for name in self._plan.programs.get(measure, self._workers) if name in self._workers]
            net = None if measure == INPUT else case.net
            timings = alternate(
                {name: partial(self._workers[name].ask, "repeat", measure) for name in names},
                self._plan.effort[measure],
                lambda text, what=f"{measure} of {net or 'images'} at {case.pixels} pixels": self._say(
                    f"{what}, {text} images/s"
                ),
            )
            for name, found in timings.items():
                yield make_row(measure, name, found, net, case.pixels, precisions[name], processes.get(name))

    def _choose_processes(self, name: str, case: Case) -> int:
        """Give a loader the number of processes that makes an epoch shortest, and return it.

        It is tried with the first net at a side of the crop, the shallow one: of its time input takes the larger part.
        """
        worker = self._workers[name]
        if len(self._numbers) == 1:
            worker.ask("load_with", self._numbers[0])
            return self._numbers[0]
        tried_at = self._plan.loader_tried_at
        key = name, case.pixels if case.pixels in tried_at else tried_at[0]
        if key not in self._tried:
            self._tried[key] = {}
            for number in self._numbers:
                worker.ask("load_with", number)
                worker.ask("repeat", INPUT)  # starts the processes
                self._tried[key][number] = worker.ask("repeat", EPOCH).seconds
        best = min(self._tried[key], key=self._tried[key].__getitem__)
        worker.ask("load_with", best)
        return best
