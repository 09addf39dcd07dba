"""Checkpoints of unfinished work: a kill, a torn write or a flipped bit costs no more than the latest one."""

import hashlib
import os
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from vgg_ablation.errors import StageError
from vgg_ablation.files import replacing

VARIABLE = "CHECKPOINT_SECONDS"
"""Environment variable: most seconds of work between two checkpoints; it affects no result."""
SECONDS = 60.0
"""Default of `VARIABLE`."""


class Checkpoints:
    """The latest two checkpoints of some work, each with a number and a SHA-256, in two files written in turn.

    Args:
        stem: common start of the names of the two files, `STEM.0` and `STEM.1`.
        say: receives a line about a damaged file.

    """

    def __init__(self, stem: Path, say: Callable[[str], None]) -> None:
        self.name = str(stem)
        self._paths = tuple(stem.with_name(f"{stem.name}.{place}") for place in (0, 1))
        self._say = say

    def write(self, number: int, *content: bytes | memoryview) -> None:
        """Write checkpoint `number`, which is above those before it, over the last but one.

        `content` is in parts, which are written one after the other.

        Raises:
            StageError: the disk is full; both existing checkpoints stay.
            OSError: the file cannot be written for another reason.
        """
        head = _head(number, content) + b"\n"
        path = min(self._paths, key=lambda path: _read_number(path) if path.exists() else -1)
        needed = len(head) + sum(map(len, content))
        with replacing(path, needed=needed) as beside, beside.open("wb") as file:
            file.write(head)
            for part in content:
                file.write(part)

    def read(self) -> bytes | None:
        """Return the content of the latest valid checkpoint, or None; damaged files are reported and deleted."""
        numbers = {path: _read_number(path) for path in self._paths if path.exists()}
        damaged = []
        for path in sorted(numbers, key=lambda path: -numbers[path]):
            head, _, content = path.read_bytes().partition(b"\n")
            if head == _head(numbers[path], [content]):
                break
            damaged.append(path)
        else:
            content = None
        if damaged:
            instead = "using the previous checkpoint" if content is not None else "no valid checkpoint, starting over"
            self._say(f"{', '.join(map(str, damaged))}: checksum mismatch; {instead}")
        for path in damaged:
            path.unlink()
        return content

    def remove(self) -> None:
        """Delete both files."""
        for path in self._paths:
            path.unlink(missing_ok=True)


class BackgroundCheckpoints(Checkpoints):
    """Checkpoints that a thread writes while the work in the context's body goes on, at most one at a time.

    When the body is interrupted (Ctrl-C, SIGTERM, a StageError), the latest content that was kept is written before the
    context ends. Whoever keeps content makes sure that the work no longer changes it.

    Args:
        stem: see `Checkpoints`.
        say: see `Checkpoints`.

    Raises:
        StageError: `VARIABLE` is not a number of seconds.
    """

    def __init__(self, stem: Path, say: Callable[[str], None]) -> None:
        super().__init__(stem, say)
        self._most = _read_seconds()
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._writing = Future[None]()
        self._writing.set_result(None)
        self._kept: tuple[int, Callable[[], Sequence[bytes | memoryview]]] | None = None
        self._since = time.monotonic()
        self._writing_took = float("inf")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._thread:
            if isinstance(error, KeyboardInterrupt | StageError):
                self.write_kept()
            self.wait()

    def keep(self, number: int, content: Callable[[], Sequence[bytes | memoryview]]) -> None:
        """Keep the content of checkpoint `number`, in place of what was kept before, until `write_kept`.

        `content` is called in the thread; see `write` for what it returns. Raises as `wait`, if a write has failed.
        """
        if self._writing.done():
            self.wait()
        self._kept = number, content

    def due(self, seconds: float) -> bool:
        """Return whether to write the kept content now, given that the next chance is `seconds` away.

        The duration of the latest write is added, but at most half the interval: a kill may come before the next write
        ends.
        """
        writing = min(self._writing_took, self._most / 2)
        return time.monotonic() - self._since + seconds + writing > self._most

    def write_kept(self) -> None:
        """Start to write what was kept, if it is not written yet; first wait for the write before. Raises as `wait`."""
        now = time.monotonic()
        self.wait()
        if self._kept:
            self._writing = self._thread.submit(self._write_timed, *self._kept)
            self._kept, self._since = None, now  # in this order: Ctrl-C in between has it written twice

    def _write_timed(self, number: int, content: Callable[[], Sequence[bytes | memoryview]]) -> None:
        began = time.monotonic()
        self.write(number, *content())
        self._writing_took = time.monotonic() - began

    def wait(self) -> None:
        """Wait until nothing is being written. Raises as `write`, if a write has failed."""
        self._writing.result()

    def remove(self) -> None:
        """Delete both files, and forget what was kept."""
        self._kept = None
        self.wait()
        super().remove()


def _head(number: int, content: Sequence[bytes | memoryview]) -> bytes:
    digest = hashlib.sha256()
    for part in content:
        digest.update(part)
    head = b"%d %s" % (number, digest.hexdigest().encode())
    return b"%s %s" % (head, hashlib.sha256(head).hexdigest().encode())


def _read_number(path: Path) -> int:
    """Return the number in a file's head; if the head is damaged, a number above all others, so that it is reported."""
    with path.open("rb") as file:
        head = re.fullmatch(rb"((\d{1,18}) [0-9a-f]{64}) ([0-9a-f]{64})\n", file.readline(160))
    # The head has its own checksum: a flipped digit would put the latest checkpoint behind the previous one.
    return int(head[2]) if head and hashlib.sha256(head[1]).hexdigest().encode() == head[3] else 10**18


def _read_seconds() -> float:
    text = os.environ.get(VARIABLE, str(SECONDS))
    if not re.fullmatch(r"\d+(\.\d+)?", text):
        raise StageError(f"{VARIABLE}={text!r} is not a number of seconds")
    return float(text)
