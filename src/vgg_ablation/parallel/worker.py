"""The process of a slot: it computes one unit after another."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import FrameType
from typing import Literal, NamedTuple

from vgg_ablation.device import choose_compute
from vgg_ablation.parallel.computing import compute_unit
from vgg_ablation.parallel.units import Unit, Work
from vgg_ablation.runtime.console import explain
from vgg_ablation.text import printable


class Message(NamedTuple):
    """Progress or result of the unit that a process computes."""

    kind: Literal["step", "found", "say", "done", "failed"]
    """`found`: a step whose result was in the resume state."""
    text: str


def serve(connection: Connection, work: Work) -> None:
    """Compute the units that come over `connection`, until it is closed, and send `Message`s.

    Ctrl-C is left to the parent. SIGTERM, or SIGHUP if it is not ignored (nohup), ends this process after training has
    written its checkpoint. If the parent was killed, this process ends at once: files are always whole.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # until now it was blocked, see `processes.ctrl_c_blocked`
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        with contextlib.suppress(EOFError):  # the parent has no more work
            while True:
                connection.send(run(connection.recv(), work, connection))
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGTERM)


def _stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - as signal handlers are called
    for each in (signal.SIGTERM, signal.SIGHUP):  # the parent may send one too; it kills a process that takes too long
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


def run(unit: Unit, work: Work, connection: Connection) -> Message:
    """Compute `unit`; return how it ended."""

    def send(kind: Literal["step", "found", "say"]) -> Callable[[str], None]:
        return lambda text: connection.send(Message(kind, text))

    def compute() -> str:
        device = choose_compute(work.study.compute.threads)
        return compute_unit(unit, work, device, send("say"), send("step"), found=send("found"))

    return run_to_message(compute)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101 - this is a child
    parent.join()
    os._exit(1)


def run_to_message(compute: Callable[[], str]) -> Message:
    """Call what computes a unit and returns a line about the result; return how it ended."""
    try:
        return Message("done", printable(compute()))
    except Exception as error:
        text = explain(error)
        if not text:
            traceback.print_exc()
            text = f"{type(error).__name__}: {error}"
        return Message("failed", printable(text))
