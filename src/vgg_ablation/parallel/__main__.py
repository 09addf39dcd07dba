"""Compute a study on all cores, GPUs or machines: `python -m vgg_ablation.parallel`; `dvc repro` then takes it over.

Interrupt either of them at any time, and run it again to resume.
"""

import subprocess
import sys
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Protocol

from rich.console import Console as Terminal

from vgg_ablation.dataset.source import look
from vgg_ablation.device import choose_compute
from vgg_ablation.errors import StageError
from vgg_ablation.imagenet import obtain_start
from vgg_ablation.model.table1 import ABLATION, PLAIN
from vgg_ablation.parallel.computing import count_steps
from vgg_ablation.parallel.counts import count_images, count_listed, unit_gmacs
from vgg_ablation.parallel.estimate import estimate
from vgg_ablation.parallel.machine import probe_machine
from vgg_ablation.parallel.processes import Event, Processes
from vgg_ablation.parallel.progress import Progress
from vgg_ablation.parallel.schedule import Schedule
from vgg_ablation.parallel.units import Unit, Work
from vgg_ablation.runtime.console import Console, stage
from vgg_ablation.runtime.params import Params, read_params
from vgg_ablation.runtime.settings import StudySettings

ATTEMPTS = 3
"""A unit has failed when its process was lost this many times."""
_POLL = 1.0  # seconds after which to look for a free slot, and refresh the table, if nothing happens
_DVC = (sys.executable, "-m", "dvc")
_PREPROCESS = "stages/dvc.yaml:preprocess"


class Engine(Protocol):
    """Processes, on this machine or a cluster, that units run in."""

    def start(self, unit: Unit) -> bool:
        """Start a unit; return whether there was a free slot."""
        ...

    def wait(self, seconds: float) -> Iterator[Event]:
        """Wait until something happens, at most this many seconds, and yield what did."""
        ...

    def release_idle(self) -> None:
        """Give back slots that are not used."""
        ...

    def close(self) -> None:
        """End all units that still run."""
        ...


def drive(schedule: Schedule, engine: Engine, progress: Progress) -> None:
    """Run all units of a schedule. One that fails does not stop the others, only those that need it."""
    lost = Counter[str]()
    while True:
        while (unit := schedule.next()) and engine.start(unit):
            schedule.start(unit)
            progress.started(unit)
        if not schedule.running:
            if not unit:
                return
            progress.waits_for_slot()
        if not schedule.waiting:
            engine.release_idle()
        for event in engine.wait(_POLL):
            if event.kind == "lost":
                lost[event.unit.name] += 1
                if lost[event.unit.name] == ATTEMPTS:
                    event = event._replace(kind="failed")
            if event.kind in ("done", "failed", "lost"):
                settle = {"done": schedule.finish, "failed": schedule.fail, "lost": schedule.repeat}[event.kind]
                settle(event.unit)
            progress.happened(event)
        progress.refresh()


def prepare_images(console: Console) -> None:
    """Let DVC fetch and pack the images, if they are not those of the settings.

    Raises:
        StageError: DVC failed; it has said why.
    """
    # First the status: a `dvc repro` that runs at the same time would refuse another one.
    status = subprocess.run([*_DVC, "status", "--json", "--with-deps", _PREPROCESS], capture_output=True, check=False)  # noqa: S603
    if status.stdout.strip() in (b"{}", b'{"check": ["always changed"]}'):
        return
    console.say(f"images: dvc repro {_PREPROCESS}")
    if subprocess.run([*_DVC, "repro", _PREPROCESS], check=False).returncode:  # noqa: S603
        raise StageError("the images are not ready, for the reason above; run this again")


def open_engine(work: Work, archs: Sequence[str], address: str | None, count: int | None) -> tuple[Engine, int, str]:
    """Return where units run, how many at the same time, and its name: this machine, or the Ray cluster at `address`.

    `count` is that of `Machine.slots`; a cluster uses all that it has.

    Raises:
        StageError: Ray is not installed, or there is no such cluster.
    """
    if address is None:
        machine = probe_machine(work, archs)
        slots = machine.slots(work.study.compute.threads, count)
        return Processes(work, slots), len(slots), machine.device
    try:
        from vgg_ablation.parallel.cluster import Cluster
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise StageError("--on needs Ray, which is not installed; install it: make cluster") from None
    cluster = Cluster(work, address)
    return cluster, cluster.slots, f"the Ray cluster at {address}"


def compute(
    work: Work, archs: Sequence[str], console: Console, address: str | None = None, count: int | None = None
) -> None:
    """Compute the units of some nets; `address` and `count` as in `open_engine`.

    Raises:
        StageError: units failed, or as `open_engine`.
    """
    units = work.units(archs)
    engine, slots, where = open_engine(work, archs, address, count)
    console.say(f"{len(units)} units, {slots} at the same time, on {where}")
    schedule = Schedule(units, {unit.name: unit_gmacs(unit, work) for unit in units})
    steps = {unit.name: count_steps(unit, work) for unit in units}
    try:
        with Progress(schedule, steps, slots, Terminal()) as shown:
            drive(schedule, engine, shown)
    finally:
        engine.close()
    if schedule.failed:
        left = f"; {len(schedule.blocked)} more need them" if schedule.blocked else ""
        raise StageError(f"failed: {', '.join(schedule.failed)}{left}; the rest is done; run it again to retry")
    console.made(f"{len(units)} units")


def dry_run(params: Params, work: Work, archs: Sequence[str], console: Console, count: int | None) -> None:
    """Print the units with estimated times on this machine; `count` as in `open_engine`.

    Raises:
        StageError: the source is not there, or does not hold what the settings ask for.
    """
    data = work.study.data
    # What would have to be downloaded is not looked at.
    known = data.source in ("sample", "caltech256") or data.source.startswith(("http://", "https://"))
    images = count_images(data) if known else count_listed(look(data.source, console), data)
    slots = len(probe_machine(work, archs).slots(work.study.compute.threads, count))
    device = choose_compute(work.study.compute.threads)
    with console.task("net", len(archs)) as task:
        table, seconds, _ = estimate(work, images, params.arch, params.norm, archs, slots, device, task.advance)
    console.say(f"on {device}")
    Terminal().print(table)
    if data.source != "sample":
        assumed = "Caltech-256's mean images a category" if known else "all files are usable images"
        console.say(f"not counted: fetching and packing the images; assumed: {assumed}")
    console.made(f"{seconds:.0f} s in all, estimated")


def main(arguments: Sequence[str] | None = None) -> None:
    """Read params.yaml and compute what it selects."""
    parser = ArgumentParser(prog="python -m vgg_ablation.parallel", description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="list the units with estimated times, and compute none")
    parser.add_argument("--on", metavar="ADDRESS", help="compute on a Ray cluster: `auto`, or HOST:PORT of its head")
    parser.add_argument("--slots", type=int, metavar="N", help="units at the same time (default: one per core or GPU)")
    chosen = parser.parse_args(arguments)
    if chosen.slots is not None and chosen.slots < 1:
        parser.error("--slots must be at least 1")
    if chosen.on and (chosen.dry_run or chosen.slots):
        parser.error("--on cannot be combined with --slots or --dry-run, which concern this machine only")
    with stage("parallel") as console:
        params = read_params()
        params.require_selection(PLAIN)
        work = Work(params.whole(StudySettings), params.scale)
        console.say(params.selection(work.study.data.source))
        archs = params.nets(ABLATION)
        if chosen.dry_run:
            dry_run(params, work, archs, console, chosen.slots)
        else:
            prepare_images(console)
            for arch in archs:
                obtain_start(arch, work.study.model, console)
            compute(work, archs, console, chosen.on, chosen.slots)


if __name__ == "__main__":
    main()
