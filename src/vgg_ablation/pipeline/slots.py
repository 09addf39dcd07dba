"""Work in progress on disk, kept so that a kill, a torn write or a flipped bit costs no more than its latest part."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from vgg_ablation.pipeline.files import write_bytes


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
        write_bytes(self._paths[number % 2], _digest(number, content) + b" %d\n" % number + content)

    def read(self) -> bytes | None:
        """Return the latest whole state, or None where there is none; a damaged file is named."""
        found: dict[int, bytes] = {}
        damaged = []
        for path in self._paths:
            try:
                head, _, content = path.read_bytes().partition(b"\n")
            except FileNotFoundError:
                continue
            digest, _, number = head.partition(b" ")
            if number.isdigit() and digest == _digest(int(number), content):
                found[int(number)] = content
            else:
                damaged.append(path)
        if damaged:
            instead = "going on from the one before" if found else "nothing whole is left, so this begins anew"
            self._say(f"{' and '.join(map(str, damaged))}: damaged, the checksum does not match; {instead}")
        return found[max(found)] if found else None

    def remove(self) -> None:
        """Delete both files."""
        for path in self._paths:
            path.unlink(missing_ok=True)


def _digest(number: int, content: bytes) -> bytes:
    digest = hashlib.sha256(b"%d\n" % number)
    digest.update(content)
    return digest.hexdigest().encode()
