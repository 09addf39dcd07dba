"""Processes that work in turns. Programs cannot share one: ours changes its process's allocator and kernels."""

import os
import pkgutil
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from multiprocessing import get_context, parent_process, set_start_method
from types import TracebackType
from typing import Any, Self

from vgg_ablation.errors import StageError


class Worker:
    """A process that holds one object: `target` (`package.module:Class`) called with `arguments` at the first `ask`.

    Between two calls the process sleeps.
    """

    def __init__(self, name: str, target: str, *arguments: object) -> None:
        self._name = name
        self._object = target, arguments
        # Spawned, as a fork would share what the libraries of this process have set up.
        self._pool = ProcessPoolExecutor(1, get_context("spawn"), _start)

    def ask(self, method: str, *arguments: object) -> Any:
        """Call a method of the object and return its result.

        Raises:
            StageError: it failed, or the process has ended.
        """
        try:
            return self._pool.submit(_call, *self._object, method, arguments).result()
        except BrokenProcessPool:
            raise StageError(f"{self._name}: its process ended unexpectedly; out of memory?") from None
        except StageError as error:
            raise StageError(f"{self._name}: {error}") from error
        except Exception as error:
            first_line = next(iter(str(error).strip().splitlines()), "")
            raise StageError(f"{self._name}: {type(error).__name__}: {first_line}") from error

    def close(self) -> None:
        """End the process, after the call in progress."""
        self._pool.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _start() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # while idle; the coordinator closes this process
    threading.Thread(target=_end_with_coordinator, daemon=True).start()
    set_start_method(None, force=True)  # data loaders start their processes as in any other program


def _end_with_coordinator() -> None:
    coordinator = parent_process()
    assert coordinator is not None  # noqa: S101 - this is a child
    coordinator.join()
    os._exit(1)


_make = cache(lambda target, arguments: pkgutil.resolve_name(target)(*arguments))


def _call(target: str, arguments: tuple[object, ...], method: str, details: tuple[object, ...]) -> object:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends a long call at once, without a traceback
    try:
        return getattr(_make(target, arguments), method)(*details)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
