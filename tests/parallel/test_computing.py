"""Units computed in any number of processes, which may be killed, and what the stages then find."""

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console as Terminal

from vgg_ablation.device import choose_compute
from vgg_ablation.errors import StageError
from vgg_ablation.files import read_table
from vgg_ablation.images.batches import RunImages
from vgg_ablation.parallel import __main__ as command
from vgg_ablation.parallel.__main__ import ATTEMPTS, drive
from vgg_ablation.parallel.computing import compute_unit, count_steps
from vgg_ablation.parallel.machine import Machine, Slot
from vgg_ablation.parallel.processes import Event, Processes
from vgg_ablation.parallel.progress import Progress
from vgg_ablation.parallel.schedule import Schedule
from vgg_ablation.parallel.units import Unit, Work
from vgg_ablation.runtime import cost
from vgg_ablation.runtime.checkpoints import VARIABLE, Checkpoints
from vgg_ablation.runtime.console import Console
from vgg_ablation.runtime.cost import Meter

Results = Callable[[Work], dict[str, object]]


def schedule_of(work: Work, archs: tuple[str, ...]) -> Schedule:
    units = work.units(archs)
    return Schedule(units, {unit.name: 1.0 for unit in units})


def progress_of(schedule: Schedule) -> Progress:
    return Progress(schedule, dict.fromkeys(schedule.units, 1), 1, Terminal(quiet=True))


@pytest.fixture
def processes(work: Work) -> Iterator[Processes]:
    engine = Processes(work, [Slot(""), Slot("", {"OMP_NUM_THREADS": "2"})])
    yield engine
    engine.close()


def test_units_in_two_processes_of_which_one_is_killed_give_the_results_of_one_process(
    work: Work, processes: Processes, computed_in_order: dict[str, object], results: Results
) -> None:
    schedule, killed, steps = schedule_of(work, ("A", "C_BN")), [], Counter[str]()
    wait = processes.wait

    def kill_one_at_its_first_step(seconds: float) -> Iterator[Event]:
        for event in wait(seconds):
            steps[event.unit.name] += event.kind == "step"
            if event.kind == "step" and event.unit.kind == "run" and not killed:
                (process,) = [each for each in processes._processes if each.unit == event.unit]
                os.kill(process.process.pid or 0, signal.SIGKILL)
                killed.append(event.unit.name)
            yield event

    processes.wait = kill_one_at_its_first_step  # pyright: ignore[reportAttributeAccessIssue]
    drive(schedule, processes, progress_of(schedule))
    assert killed
    assert not schedule.failed
    assert not schedule.waiting
    assert results(work) == computed_in_order
    for unit in schedule.done.values():
        if unit.name not in killed:
            assert steps[unit.name] == count_steps(unit, work)
    curves = [read_table(path)["epoch"] for path in Path("live").glob("*/*/*/curves.csv")]
    assert len(curves) == len(("A", "C_BN")) * (2 + 2 * len(work.trained_scales)), "trials, and runs at each scale"
    assert curves == [[str(epoch + 1) for epoch in range(len(each))] for each in curves], "each epoch once"
    assert len(list(Path("live").glob("*/*/*-test-*/result.json"))) == len(("A", "C_BN")) * 2


def test_a_terminated_process_writes_its_last_epoch(
    work: Work, processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "60")
    tune = work.study.tune.model_copy(update={"epochs": 10**6})
    processes._work = replace(work, study=work.study.model_copy(update={"tune": tune}))
    processes.start(work.units(("A",))[0])
    assert next(event.kind for event in processes.wait(60)) == "step"
    assert list(Path(".state").glob("tune/*/trial-0/checkpoint.*")) == []
    processes.close()
    (path,) = Path(".state").glob("tune/*/trial-0/checkpoint.*")
    assert Checkpoints(path.with_suffix(""), pytest.fail).read()


def test_a_process_that_is_killed_while_it_is_idle_is_replaced(work: Work, processes: Processes) -> None:
    first, second, *_ = work.units(("A",))
    for unit in (first, second):
        assert processes.start(unit)
        assert [event.kind for event in until_it_ends(processes)][-1] == "done"
        (idle,) = processes._processes
        idle.process.kill()
        idle.process.join()


def until_it_ends(processes: Processes) -> list[Event]:
    """Return the events of the one unit that runs."""
    events: list[Event] = []
    while not events or events[-1].kind not in ("done", "failed", "lost"):
        events += processes.wait(60)
    return events


class Scripted:
    """An engine of two slots whose units end as a script says: `done` unless it has another word for their name."""

    def __init__(self, script: dict[str, list[str]]) -> None:
        self.script = {name: list(kinds) for name, kinds in script.items()}
        self.running: list[Unit] = []
        self.started: list[str] = []

    def start(self, unit: Unit) -> bool:
        if len(self.running) == 2:
            return False
        self.running.append(unit)
        self.started.append(unit.name)
        return True

    def wait(self, seconds: float) -> Iterator[Event]:
        unit = self.running.pop(0)
        kinds = self.script.get(unit.name, [])
        yield Event(unit, kinds.pop(0) if kinds else "done", "")  # pyright: ignore[reportArgumentType]

    def release_idle(self) -> None:
        pass

    def close(self) -> None:
        pass


def test_a_unit_that_fails_stops_only_those_that_need_it(work: Work) -> None:
    schedule = schedule_of(work, ("A", "C"))
    drive(schedule, Scripted({"A trial 2/2": ["failed"]}), progress_of(schedule))
    assert list(schedule.failed) == ["A trial 2/2"]
    assert sorted(schedule.blocked) == ["A run 1/2", "A run 2/2"]
    assert sorted(schedule.done) == ["A trial 1/2", "C run 1/2", "C run 2/2", "C trial 1/2", "C trial 2/2"]


@pytest.mark.parametrize("times", [ATTEMPTS - 1, ATTEMPTS])
def test_a_unit_whose_process_is_lost_is_tried_three_times(work: Work, times: int) -> None:
    schedule = schedule_of(work, ("A",))
    engine = Scripted({"A trial 1/2": ["lost"] * times})
    drive(schedule, engine, progress_of(schedule))
    assert engine.started.count("A trial 1/2") == ATTEMPTS
    assert list(schedule.failed) == (["A trial 1/2"] if times == ATTEMPTS else [])


def test_a_unit_that_cannot_be_computed_is_a_line(work: Work, processes: Processes) -> None:
    pixels = bytearray(Path("data/processed/pixels.uint8").read_bytes())
    pixels[1000] ^= 1
    Path("data/processed/pixels.uint8").write_bytes(pixels)
    (unit, *_) = work.units(("A",))
    assert processes.start(unit)
    *_, event = until_it_ends(processes)
    assert event.kind == "failed"
    assert processes._processes == [], "an error of CUDA would fail the next units, too"
    assert "pixels.uint8" in event.text
    assert "\n" not in event.text


def test_a_unit_whose_trials_are_missing_says_so(work: Work) -> None:
    *_, run = work.units(("A",))
    with pytest.raises(StageError, match="lacks trials that this needs"):
        compute_unit(run, work, choose_compute(threads=1), pytest.fail, pytest.fail)


@pytest.mark.parametrize("kind", ["trial", "run"])
def test_epochs_found_in_the_state_are_told_from_those_that_are_run(
    work: Work, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    study = work.study.model_copy(update={"tune": work.study.tune.model_copy(update={"trials": 1, "epochs": 6})})
    work, compute, add = replace(work, study=study), choose_compute(threads=1), Meter.add
    *before, unit = work.units(("A",))[: 1 if kind == "trial" else 2]
    for each in before:
        compute_unit(each, work, compute, pytest.fail, lambda _: None)
    steps: list[str] = []
    found: list[str] = []

    def interrupted(text: str) -> None:
        steps.append(text)
        if len(steps) == 2:
            raise KeyboardInterrupt

    def add_long(meter: Meter, seconds: float, *rest: float) -> None:
        """The first two epochs took longer than it takes to find them."""
        add(meter, seconds + (60 if len(found) < 2 else 0), *rest)  # pyright: ignore[reportArgumentType]

    with pytest.raises(KeyboardInterrupt):
        compute_unit(unit, work, compute, pytest.fail, interrupted)
    steps.clear()
    monkeypatch.setattr(Meter, "add", add_long)
    compute_unit(unit, work, compute, lambda _: None, steps.append, found=found.append)
    assert len(found) == 2
    assert steps, "the other epochs"


def test_a_run_opens_the_images_once_for_all_its_scales(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []
    *trials, run, _ = work.units(("A",))
    open_images = RunImages.open

    def counted(folder: Path, split: int, *rest: Any, **options: Any) -> RunImages:
        opened.append(split)
        return open_images(folder, split, *rest, **options)

    for unit in trials:
        compute_unit(unit, work, choose_compute(threads=1), pytest.fail, lambda _: None)
    monkeypatch.setattr(RunImages, "open", counted)
    compute_unit(run, work, choose_compute(threads=1), pytest.fail, lambda _: None)
    assert opened == [0, 0], "of the search and of the run"


def test_a_unit_asks_git_for_nothing(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "describe_commit", lambda: pytest.fail("asked"))
    compute_unit(work.units(("A",))[0], work, choose_compute(threads=1), pytest.fail, lambda _: None)


def test_the_command_names_what_failed(work: Work, monkeypatch: pytest.MonkeyPatch, console: Console) -> None:
    class Failing(Scripted):
        def __init__(self, *_: object) -> None:
            super().__init__({"C trial 1/2": ["failed"]})

    monkeypatch.setattr(command, "Processes", Failing)
    monkeypatch.setattr(command, "probe_machine", lambda *_: Machine("cpu", (), 64e9, 1e6))
    with pytest.raises(StageError, match=r"^failed: C trial 1/2; 3 more need them; the rest is done; run it again"):
        command.compute(work, ("A", "C"), console)
