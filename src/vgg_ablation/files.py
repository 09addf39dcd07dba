"""Files that are whole or absent: written beside their final name, then renamed."""

import csv
import errno
import glob
import hashlib
import io
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
from rich.filesize import decimal

from vgg_ablation.errors import StageError

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
"""Error numbers of a full disk and of an exhausted quota."""


@contextmanager
def replacing(path: Path, *, needed: int | None = None) -> Iterator[Path]:
    """Yield a temporary path beside `path` to write to; rename it to `path` on success, delete it on failure.

    Temporary files of killed processes are deleted first. `needed` is the number of bytes to write, if known; the
    message about a full disk then says how much is missing.

    Raises:
        StageError: the disk is full.
        OSError: the folder cannot be created, or the file cannot be written, for another reason.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        yield beside
        with beside.open("rb") as written:
            os.fsync(written.fileno())
        beside.replace(path)
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        beside.unlink(missing_ok=True)  # before the free space is measured
        raise disk_full(path, needed) from None
    finally:
        beside.unlink(missing_ok=True)


def require_space(folder: Path, needed: int) -> None:
    """Check, before long work, that the disk of `folder`, which is created, can hold `needed` bytes.

    Raises:
        StageError: it cannot.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(folder).free < needed:
        raise disk_full(folder, needed)


def disk_full(path: Path, needed: int | None = None) -> StageError:
    """Return the error for a disk that cannot hold `path`, of `needed` bytes if that is known."""
    existing = next(place for place in (path, *path.absolute().parents) if place.is_dir())
    free = shutil.disk_usage(existing).free
    missing = f"{decimal(needed - free)} more" if needed and needed > free else f"more than {decimal(free)}"
    return StageError(
        f"{path}: the disk is full: {missing} would be needed, {decimal(free)} are free; make room and run it again"
    )


def _remove_abandoned(path: Path) -> None:
    """Delete temporary files of `path` whose processes have ended."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        owner = re.fullmatch(r"\.(\d{1,9})", left.suffixes[-2])
        if owner and not psutil.pid_exists(int(owner[1])):
            left.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content`, whole or not at all. Raises as `replacing` does."""
    with replacing(path, needed=len(content)) as beside:
        beside.write_bytes(content)


def share(path: Path, to: Path) -> None:
    """Give a complete file, which nobody writes to any more, a second name, or copy it. Raises as `replacing` does."""
    with replacing(to) as beside:
        try:
            os.link(path, beside)
        except OSError:  # another file system, or one without hard links
            shutil.copyfile(path, beside)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 with Unix line ends, whole or not at all. Raises as `replacing` does."""
    write_bytes(path, text.encode())


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write `rows` as CSV with these columns in this order, floats with all digits; other keys are an error."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def read_table(path: Path) -> dict[str, list[str]]:
    """Read a CSV file as its columns by name, all values as text.

    Raises:
        OSError: the file cannot be read.
        StageError: it is empty, not UTF-8, not CSV, has lines of different lengths or two columns of one name.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
    except (UnicodeDecodeError, csv.Error):
        rows = []
    if len({len(row) for row in rows}) != 1 or len(set(rows[0])) < len(rows[0]):
        raise StageError(f"{path}: not a table; rerun the stage that writes it")
    header, *rows = rows
    return {name: [row[place] for row in rows] for place, name in enumerate(header)}


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON; NaN and infinity are refused, since JSON has no such numbers."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: Path) -> dict:
    """Read a JSON object from `path`.

    Raises:
        OSError: the file cannot be read.
        StageError: it holds something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):  # what is not UTF-8 is a ValueError too
        value = None
    if not isinstance(value, dict):
        raise StageError(f"{path}: not a JSON object; rerun the stage that writes it")
    return value


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
