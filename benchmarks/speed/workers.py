"""Processes that work in turns: each holds one object, and sleeps on its pipe until it is asked something.

Contestants must not share a process: ours changes the allocator of its own, and makes its kernels deterministic.
"""

import os
import pkgutil
import signal
import threading
from contextlib import suppress
from multiprocessing import get_context, parent_process, set_start_method
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

from vgg_ablation.errors import StageError

_PATIENCE = 3.0  # seconds to end by itself


class Worker:
    """A process that holds what `target` (`package.module:Class`) makes of `arguments`, once it is first asked."""

    def __init__(self, name: str, target: str, *arguments: object) -> None:
        self._name = name
        # A fresh interpreter: a fork would share what the other processes' libraries have set up.
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, target, arguments), name=name)
        self._process.start()
        theirs.close()

    def ask(self, method: str, *arguments: object) -> Any:
        """Have the object do something; return what it returns.

        Raises:
            StageError: it failed, or its process has ended.
        """
        try:
            self._pipe.send((method, arguments))
            result, failure = self._pipe.recv()
        except (EOFError, ConnectionError):
            self._process.join(_PATIENCE)
            raise StageError(f"{self._name}: its process ended ({_fate(self._process.exitcode)})") from None
        if failure:
            raise StageError(f"{self._name}: {failure}")
        return result

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        for end in (self._process.terminate, self._process.kill):
            self._process.join(_PATIENCE)
            if self._process.exitcode is None:
                end()
        self._process.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _serve(pipe: Connection, target: str, arguments: tuple[object, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group, and the coordinator ends us
    threading.Thread(target=_end_with_coordinator, daemon=True).start()
    set_start_method(None, force=True)  # loaders start their processes as they would anywhere else, not as we did
    held: object = None
    while True:
        try:
            method, details = pipe.recv()
        except EOFError:
            return
        try:
            if held is None:
                held = pkgutil.resolve_name(target)(*arguments)
            answer = getattr(held, method)(*details), None
        except Exception as error:  # whatever it is, it is told as one line
            answer = None, _one_line(error)
        with suppress(BrokenPipeError):  # nobody waits for it any more
            pipe.send(answer)


def _end_with_coordinator() -> None:
    coordinator = parent_process()
    assert coordinator is not None  # noqa: S101 - this is a child
    coordinator.join()
    os._exit(1)


def _one_line(error: Exception) -> str:
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    if isinstance(error, StageError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _fate(exitcode: int | None) -> str:
    if exitcode == -signal.SIGKILL:
        return "killed: out of memory?"
    return f"status {exitcode}"
