"""One process per slot computes units on this machine, one after another."""

import multiprocessing
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Literal, NamedTuple

from vgg_ablation.parallel.machine import Slot
from vgg_ablation.parallel.units import Unit, Work
from vgg_ablation.parallel.worker import serve

_SPAWN = multiprocessing.get_context("spawn")  # a fork of a process in which torch has computed may hang
_PATIENCE = 60.0  # seconds for a process to end when asked to: it may have a gigabyte to write


class Event(NamedTuple):
    """Something happened to a unit that runs."""

    unit: Unit
    kind: Literal["step", "found", "say", "done", "failed", "lost"]
    """`found`: a step whose result was in the resume state; `lost`: the process ended without a result."""
    text: str


@dataclass
class _Process:
    slot: Slot
    process: SpawnProcess
    connection: Connection
    unit: Unit | None = None

    def send(self, unit: Unit) -> bool:
        """Send a unit to the process; return whether it is alive."""
        try:
            self.connection.send(unit)
        except OSError:
            return False
        self.unit = unit
        return True

    def end(self) -> None:
        self.process.terminate()  # before the connection is closed, which would be an error in the process
        self.connection.close()
        self.process.join(_PATIENCE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.slot.release()


class Processes:
    """Runs units in processes of this machine, one per slot.

    Args:
        work: the study that the units belong to.
        slots: places for processes.
    """

    def __init__(self, work: Work, slots: Sequence[Slot]) -> None:
        self._work = work
        self._idle = list(slots)
        self._processes: list[_Process] = []

    def start(self, unit: Unit) -> bool:
        """Start a unit; return whether there was a free slot."""
        for each in [each for each in self._processes if each.unit is None]:
            if each.send(unit):
                return True
            self._remove(each)  # it was killed while it was idle
        for slot in self._idle:
            if slot.acquire():
                self._idle.remove(slot)
                self._processes.append(new := _start(slot, self._work))
                if new.send(unit):
                    return True
                self._remove(new)
                return False
        return False

    def _remove(self, process: _Process) -> None:
        self._processes.remove(process)
        process.end()
        self._idle.append(process.slot)

    def wait(self, seconds: float) -> Iterator[Event]:
        """Wait until something happens, at most this many seconds, and yield what did."""
        by_connection = {each.connection: each for each in self._processes if each.unit}
        for connection in wait(by_connection, seconds):
            each = by_connection[connection]  # pyright: ignore[reportArgumentType] - one of ours
            unit = each.unit
            assert unit is not None  # noqa: S101 - see above
            try:
                kind, text = each.connection.recv()
            except (EOFError, OSError):
                each.process.join(_PATIENCE)
                self._remove(each)
                yield Event(unit, "lost", _describe_exit(each.process.exitcode))
                continue
            if kind == "done":
                each.unit = None
            elif kind == "failed":
                self._remove(each)  # an error of CUDA would fail its next units too
            yield Event(unit, kind, text)

    def release_idle(self) -> None:
        """End processes that have no unit, so that others can use their GPUs and memory."""
        for each in [each for each in self._processes if each.unit is None]:
            self._remove(each)

    def close(self) -> None:
        """End all processes. Those that train write their checkpoints at the same time."""
        for each in self._processes:
            each.process.terminate()
        for each in self._processes:
            each.end()
        self._processes.clear()


def _start(slot: Slot, work: Work) -> _Process:
    ours, theirs = _SPAWN.Pipe()
    process = _SPAWN.Process(target=serve, args=(theirs, work), daemon=True)
    with _environment(slot.environment), ctrl_c_blocked():
        process.start()
    theirs.close()
    return _Process(slot, process, ours)  # pyright: ignore[reportArgumentType] - a pipe of another class on Windows


@contextmanager
def ctrl_c_blocked() -> Iterator[None]:
    """Hold Ctrl-C back while the body starts a process, which inherits that: it would end while it imports."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    """Change this process's environment, which a process that starts now inherits."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _describe_exit(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        return f"its process was killed by {name}" + (" (is there enough memory?)" if -code == signal.SIGKILL else "")
    return f"its process ended with status {code}"
