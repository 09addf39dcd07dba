"""Locks on folders, so that two processes never write the same files.

Killing `dvc` leaves its stage running: the next `dvc repro` waits for that stage here, and uses what it made.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from vgg_ablation.errors import StageError
from vgg_ablation.files import write_text
from vgg_ablation.text import printable

_LONGEST_COMMAND = 80  # characters


@contextmanager
def locked(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock of `folder`, which is created, while the body runs.

    While another process holds it, wait and `say` which one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    holder = folder / "holder.txt"
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"waiting for {_read_holder(holder)}, which holds {folder}")
        lock.acquire()
    try:
        write_text(holder, f"process {os.getpid()} ({printable(' '.join(sys.argv), _LONGEST_COMMAND)})\n")
        yield
    finally:
        lock.release()


@contextmanager
def latest(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock of `folder` as `locked` does, unless another process asked for it later.

    Raises:
        StageError: another process came while this one waited; the outputs may already be in use by that one.
    """
    file = folder / "latest.txt"
    write_text(file, f"{os.getpid()}\n")
    with locked(folder, say):
        if (other := file.read_text(encoding="utf-8").strip()) != str(os.getpid()):
            raise StageError(f"process {other} started the same stage later; leaving it to that process")
        yield


def _read_holder(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:  # it holds the lock and has not written the file yet
        return "another process"
