"""Work in progress on disk, kept so that a kill, a torn write or a flipped bit costs no more than its latest part."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

from vgg_ablation.files import replacing


class Slots:
    """The two latest states of some work, each numbered and under a SHA-256, in two files written in turn.

    Args:
        stem: of the files `STEM.0` and `STEM.1`.
        say: tells people of a damaged file.
    """

    def __init__(self, stem: Path, say: Callable[[str], None]) -> None:
        self.name = str(stem)
        self._paths = tuple(stem.with_name(f"{stem.name}.{place}") for place in (0, 1))
        self._say = say

    def write(self, number: int, content: bytes) -> None:
        """Keep state `number` in place of the one before the latest; states are numbered one after the other.

        Raises:
            StageError: the disk is full; both states that were kept still are.
            OSError: the file cannot be written for another reason.
        """
        head = _head(number, content) + b"\n"
        path = self._paths[number % 2]
        with replacing(path, needed=len(head) + len(content)) as beside, beside.open("wb") as file:
            file.write(head)
            file.write(content)

    def read(self) -> bytes | None:
        """Return the latest whole state, or None where there is none; a damaged file is named."""
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
            instead = "going on from the one before" if content is not None else "nothing whole is left: begun anew"
            self._say(f"{' and '.join(map(str, damaged))}: damaged, the checksum does not match; {instead}")
        return content

    def remove(self) -> None:
        """Delete both files."""
        for path in self._paths:
            path.unlink(missing_ok=True)


def _head(number: int, content: bytes) -> bytes:
    head = b"%d %s" % (number, hashlib.sha256(content).hexdigest().encode())
    return b"%s %s" % (head, hashlib.sha256(head).hexdigest().encode())


def _read_number(path: Path) -> int:
    """Return the number that a file says it has; where its head is damaged, one above all, for it to be looked at."""
    with path.open("rb") as file:
        head = re.fullmatch(rb"((\d{1,18}) [0-9a-f]{64}) ([0-9a-f]{64})\n", file.readline(160))
    # The head has a checksum of its own: a digit that was flipped would put the latest state behind the one before.
    return int(head[2]) if head and hashlib.sha256(head[1]).hexdigest().encode() == head[3] else 10**18
