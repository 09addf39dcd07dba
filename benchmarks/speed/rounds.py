"""The order of work: contestants take turns, so that what drifts in the machine meets all of them alike."""

import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from benchmarks.speed.forms import (
    CORES,
    EPOCH,
    INPUT,
    STEP,
    TRAINING_MEASURES,
    WITH_LOADER_WORKERS,
    Case,
    Effort,
    Form,
)
from benchmarks.speed.repetition import Measured, Repetition
from benchmarks.speed.workers import Worker

Report = Callable[[str], None]


def alternate(
    contestants: Mapping[str, Callable[[], Repetition]], effort: Effort, report: Report
) -> dict[str, tuple[Repetition, ...]]:
    """Let each contestant repeat its work once a round, another first in each; return the repetitions that count.

    Args:
        contestants: what does one repetition, by name; what has a process of its own sleeps while another works.
        effort: how many rounds, and the budget at which a contestant does no more; one repetition each is always done.
        report: is told of each round.
    """
    names = list(contestants)
    done: dict[str, list[Repetition]] = {name: [] for name in names}
    spent = dict.fromkeys(names, 0.0)
    longest = dict.fromkeys(names, 0.0)
    for number in range(effort.all_rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            if done[name] and spent[name] + longest[name] > effort.budget:
                continue
            began = time.monotonic()
            done[name].append(contestants[name]())
            taken = time.monotonic() - began
            spent[name] += taken
            longest[name] = max(longest[name], taken)
        values = ", ".join(f"{name} {done[name][-1].value:.3g}" for name in names)
        report(f"round {number + 1} of {effort.all_rounds}: {values}")
    warm_up = int(effort.warm_up)
    return {name: tuple(repetitions[warm_up:] or repetitions) for name, repetitions in done.items()}


def measures_of(cases: Iterable[Case]) -> list[tuple[Case, tuple[str, ...]]]:
    """Return the cases with what is measured in each: the input path, which knows no net, once a side of the crop."""
    found: list[tuple[Case, tuple[str, ...]]] = []
    seen: set[int] = set()
    for case in cases:
        found.append((case, (STEP, EPOCH) if case.pixels in seen else TRAINING_MEASURES))
        seen.add(case.pixels)
    return found


class Training:
    """The measures of training, case after case.

    Args:
        workers: the contestants' processes.
        form: how often.
        cores: of the machine.
        report: is told of each round.
    """

    def __init__(self, workers: Mapping[str, Worker], form: Form, cores: int, report: Report) -> None:
        self._workers = workers
        self._form = form
        self._tried = {cores if number == CORES else number for number in form.loader_processes}
        self._report = report
        self.loader_workers: dict[tuple[str, int], dict[int, float]] = {}
        """Seconds of an epoch by the number of the loader's processes, by contestant and side of the crop."""

    def run(self, case: Case, measures: tuple[str, ...]) -> list[Measured]:
        """Measure one case; no process holds anything of another one."""
        for worker in self._workers.values():
            worker.ask("release")
        precisions = {name: worker.ask("open", case) for name, worker in self._workers.items()}
        chosen = {name: self._load_with(name, case) for name in WITH_LOADER_WORKERS if name in self._workers}
        measured: list[Measured] = []
        for measure in measures:
            names = self._form.step_contestants if measure == STEP else tuple(self._workers)
            repetitions = alternate(
                {name: partial(self._workers[name].ask, "repeat", measure) for name in names},
                self._form.effort[measure],
                lambda text, measure=measure: self._report(f"{describe(case, measure)}, {text} images/s"),
            )
            measured += [
                Measured(
                    measure, name, repetitions[name], None if measure == INPUT else case.net, case.pixels,
                    precisions[name], chosen.get(name),
                )
                for name in names
            ]  # fmt: skip
        return measured

    def _load_with(self, name: str, case: Case) -> int:
        """Give a contestant's loader as many processes as pay; return how many.

        Found out with the first net at a side of the crop, and kept for the others: of the shallow net's time the
        input path takes more.
        """
        worker = self._workers[name]
        tried_at = case.pixels if case.pixels in self._form.loader_tried_at else self._form.loader_tried_at[0]
        if (name, tried_at) not in self.loader_workers:
            seconds: dict[int, float] = {}
            for workers in sorted(self._tried):
                worker.ask("load_with", workers)
                worker.ask("repeat", INPUT)  # starts them
                seconds[workers] = worker.ask("repeat", EPOCH).seconds
            self.loader_workers[name, tried_at] = seconds
        seconds = self.loader_workers[name, tried_at]
        best = min(seconds, key=lambda workers: seconds[workers])
        worker.ask("load_with", best)
        return best


def describe(case: Case, measure: str) -> str:
    """Return a case and a measure in words."""
    if measure == INPUT:
        return f"input at {case.pixels} pixels"
    return f"{measure} of {case.net} at {case.pixels} pixels"
