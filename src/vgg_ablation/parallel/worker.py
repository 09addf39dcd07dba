"""The process of a slot: it computes one unit after another."""

import contextlib
import signal
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Literal, NamedTuple

from vgg_ablation.device import choose_compute
from vgg_ablation.parallel.computing import compute_unit
from vgg_ablation.parallel.units import Unit, Work
from vgg_ablation.runtime.console import explain
from vgg_ablation.text import printable


class Message(NamedTuple):
    """What a process says about the unit that it computes."""

    kind: Literal["step", "say", "done", "failed"]
    text: str


def serve(connection: Connection, work: Work) -> None:
    """Compute the units that come over `connection`, until it is closed, and send `Message`s.

    Ctrl-C is left to the parent. If the parent was killed, this process ends at its next step.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # EOFError: the parent has no more work. OSError: it has ended.
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            connection.send(run(connection.recv(), work, connection))


def run(unit: Unit, work: Work, connection: Connection) -> Message:
    """Compute `unit`; return how it ended."""

    def send(kind: Literal["step", "say"], text: str) -> None:
        try:
            connection.send(Message(kind, text))
        except OSError:
            raise SystemExit from None  # the parent has ended

    def compute() -> str:
        device = choose_compute(work.study.compute.threads)
        return compute_unit(unit, work, device, lambda text: send("say", text), lambda text: send("step", text))

    return outcome(compute)


def outcome(compute: Callable[[], str]) -> Message:
    """Call what computes a unit and returns a line about the result; return how it ended."""
    try:
        return Message("done", printable(compute()))
    except Exception as error:
        text = explain(error)
        if not text:
            traceback.print_exc()
            text = f"{type(error).__name__}: {error}"
        return Message("failed", printable(text))
