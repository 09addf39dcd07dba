"""Checkpoints of unfinished work: a kill, a torn write or a flipped bit costs no more than the latest one."""

import hashlib
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

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

    Raises:
        StageError: `VARIABLE` is not a number of seconds.
    """

    def __init__(self, stem: Path, say: Callable[[str], None]) -> None:
        self.name = str(stem)
        self._paths = tuple(stem.with_name(f"{stem.name}.{place}") for place in (0, 1))
        self._say = say
        self._most = _read_seconds()
        self._written = time.monotonic()

    def due(self, seconds: float) -> bool:
        """Return whether to write one now, if the next chance comes after so many seconds."""
        return time.monotonic() - self._written + seconds > self._most

    def write(self, number: int, content: bytes) -> None:
        """Write checkpoint `number`, which is above those before it, over the last but one.

        Raises:
            StageError: the disk is full; both existing checkpoints stay.
            OSError: the file cannot be written for another reason.
        """
        head = _head(number, content) + b"\n"
        path = min(self._paths, key=lambda path: _read_number(path) if path.exists() else -1)
        self._written = time.monotonic()
        with replacing(path, needed=len(head) + len(content)) as beside, beside.open("wb") as file:
            file.write(head)
            file.write(content)

    def read(self) -> bytes | None:
        """Return the content of the latest valid checkpoint, or None; damaged files are reported and deleted."""
        numbers = {path: _read_number(path) for path in self._paths if path.exists()}
        damaged = []
        for path in sorted(numbers, key=lambda path: -numbers[path]):
            head, _, content = path.read_bytes().partition(b"\n")
            if head == _head(numbers[path], content):
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


def _head(number: int, content: bytes) -> bytes:
    head = b"%d %s" % (number, hashlib.sha256(content).hexdigest().encode())
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
