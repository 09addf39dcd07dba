"""Taking state off the disk. Symbolic links are never followed: what they point to is not ours."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

_PARTIAL = re.compile(r"\..+\.(?P<process>[0-9]{1,9})\.partial")  # as `files.replacing` names them


def list_folders(root: Path, place: str) -> list[Path]:
    """Return the folders at `place` under `root` by name; none where a link is on the way, and no links."""
    folder = root / place
    if not folder.is_dir() or folder.resolve() != root.resolve() / place:
        return []
    return sorted(inside for inside in folder.iterdir() if inside.is_dir() and not inside.is_symlink())


def count_bytes(folder: Path) -> int:
    """Return how long the files in `folder` are together, while others may be at work in it."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += Path(parent, name).lstat().st_size
    return total


def remove_unless_in_use(folder: Path) -> bool:
    """Remove a folder of state as a whole unless a process holds its lock, and return whether it was removed.

    It gets another name first: a removal that is cut short leaves nothing where work would look for its state.

    Raises:
        OSError: it cannot be removed.
    """
    try:
        with FileLock(folder / "lock").acquire(timeout=0):
            shutil.rmtree(folder.rename(folder.with_name(f".{folder.name}.removed")))
    except Timeout:
        return False
    return True


def find_abandoned(folder: Path) -> Iterator[Path]:
    """Yield the files under `folder` that were being written by processes which are no more."""
    if folder.is_symlink():
        return
    for parent, _, names in os.walk(folder):
        for name in names:
            partial = _PARTIAL.fullmatch(name)
            if partial and not psutil.pid_exists(int(partial["process"])):
                yield Path(parent, name)
