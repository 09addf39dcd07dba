"""The archive: one uncompressed tar in Caltech-256's official layout, whatever the images come from.

The layout is `256_ObjectCategories/003.backpack/003_0001.jpg`. Members are read straight from the tar and nothing is
extracted, so that no member can leave a folder; links, devices and oversized members are never followed or read. What
is no member is listed as a stray. Names are labels, made printable before they reach a table, a terminal or a page.
"""

import io
import os
import re
import shutil
import stat
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from vgg_ablation.dataset.download import fetch, fetch_official, without_credentials
from vgg_ablation.dataset.sample import CATEGORIES, render_sample
from vgg_ablation.errors import StageError
from vgg_ablation.files import replacing, require_space
from vgg_ablation.runtime.console import Stage
from vgg_ablation.runtime.state import repository_root

SAMPLE_PER_CATEGORY = 100  # images

ROOT_FOLDER = "256_ObjectCategories"
CLUTTER = "257.clutter"
_CATEGORY = re.compile(r"[0-9]{3}\.[^/]+")

LARGEST_MEMBER = 64 * 2**20  # bytes; the largest photograph of Caltech-256 has about 7 MB
"""Members above this size are no photographs of this data set, and are left out."""

_MOST_HEADERS = 64 * 2**10
"""Bytes that the headers of one entry may take: two names of the longest that systems allow take 8 KiB."""


@dataclass(frozen=True, slots=True)
class Member:
    """One file of the archive."""

    path: str
    """Category folder and file name: `003.backpack/003_0001.jpg`."""
    category: str
    """The official folder name: `003.backpack`."""
    offset: int
    """Where its bytes begin in the tar."""
    size: int
    """Its length in bytes."""


@dataclass(frozen=True, slots=True)
class Stray:
    """An entry of the archive that is no member."""

    path: str
    """From its category's folder on, `056.dog/greg/1.jpg`; its whole name where it lies in none."""
    category: str
    """The official name of the folder that it lies in, at any depth; empty where it lies in none."""
    reason: str
    """Why it is no member: `a link`, `an empty category`."""


@dataclass(frozen=True, slots=True)
class Listing:
    """All that an archive holds but its folders, each part sorted by path."""

    members: tuple[Member, ...]
    strays: tuple[Stray, ...]


def obtain(source: str, destination: Path, stage: Stage) -> int:
    """Bring the archive that `source` names to `destination`, whole or not at all, and return how many files it holds.

    `source` is `sample`, `caltech256`, or the path or http(s) address of a tar, or the path of a folder, in the
    official layout; relative paths are from the repository's root.

    Raises:
        StageError: nothing is there, the network does not answer, or what is there is no whole tar in that layout.
    """
    named = without_credentials(source)
    found: list[Member] = []

    def accept(path: Path) -> None:
        found.extend(members(path, named=named))
        if not found:
            raise StageError(f"{named}: holds no {ROOT_FOLDER}/NNN.category/file as the official archive does")

    with replacing(destination) as beside:
        if source == "sample":
            _render(beside, stage)
        elif source == "caltech256":
            fetch_official(beside, stage, accept)
        elif source.startswith(("http://", "https://")):
            fetch(source, beside, stage, accept)
        elif (path := repository_root() / source).is_dir():
            _gather(path, beside, stage)
        elif path.is_file():
            require_space(destination.parent, path.stat().st_size)
            # A copy, not a link: DVC makes its outputs read-only, and the original is not ours.
            shutil.copyfile(path, beside)
        else:
            raise StageError(
                f"data.source = {source!r}: no such file or folder (relative paths are from {repository_root()}); "
                "allowed: sample, caltech256, or the path or address of a tar or folder in the official layout"
            )
        if not found:
            accept(beside)
    return len(found)


def members(archive: Path, *, named: str | None = None) -> list[Member]:
    """Return the members of `list_archive`; the same errors."""
    return list(list_archive(archive, named=named).members)


def list_archive(archive: Path, *, named: str | None = None) -> Listing:
    """Return what the archive holds, read to its end to be sure that it is whole.

    Members are the regular files that lie directly in a category's folder; what else there is, and each category
    without a member, is a stray.

    Raises:
        StageError: it is no uncompressed tar, is cut short or damaged, or names one file twice; the line calls it
            `named`.
        OSError: it cannot be opened.
    """
    label = printable(named or str(archive))
    found: dict[str, Member] = {}
    strays: list[Stray] = []
    categories: set[str] = set()
    with _Rationed(archive.open("rb", buffering=0)) as file:
        for info in _entries(file, label):
            if info.isdir():
                folder = info.name.rsplit("/", 1)[-1]
                if _CATEGORY.fullmatch(folder):
                    categories.add(printable(folder))
                continue
            category, rest = (printable(part) for part in _place(info.name))
            path = f"{category}/{rest}" if category else rest
            categories.add(category)
            if reason := _why_stray(info):
                strays.append(Stray(path, category, reason))
            elif path in found:
                raise StageError(f"{label}: names {path} twice")
            else:
                found[path] = Member(path, category, info.offset_data, info.size)
    empty = categories - {member.category for member in found.values()} - {""}
    strays += [Stray(f"{category}/", category, "an empty category") for category in empty]
    return Listing(
        tuple(found[path] for path in sorted(found)),
        tuple(sorted(strays, key=lambda stray: (stray.path, stray.reason))),
    )


def printable(text: str) -> str:
    """Return `text` as one line that any table, terminal or page can hold: what does not print is escaped."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii") for letter in text
    )


class _Rationed(io.BufferedReader):
    """A tar as tarfile reads it, which believes a header that claims gigabytes: a ration bounds those of one entry."""

    left = _MOST_HEADERS

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= self.left:
            raise tarfile.ReadError("the headers of an entry are damaged or too long")
        self.left -= size
        return super().read(size)


def _entries(file: _Rationed, label: str) -> Iterator[tarfile.TarInfo]:
    try:
        yield from _to_the_end(file)
    except Exception as error:  # hostile bytes make tarfile raise much besides its own errors, IndexError say
        raise StageError(f"{label}: not a whole, uncompressed tar ({printable(str(error))}); fetch it again") from None


def _to_the_end(file: _Rationed) -> Iterator[tarfile.TarInfo]:
    """Yield the tar's entries in order, up to the block of zeros at its end."""
    end = 0
    with tarfile.open(fileobj=file, mode="r:", encoding="utf-8") as tar:
        while (info := tar.next()) is not None:
            bytes_inside = 0 <= info.size <= tar.offset - info.offset_data
            # Without progress, its header would be read again and again (CVE-2025-8194).
            if tar.offset <= end or (info.isreg() and not info.issparse() and not bytes_inside):
                raise tarfile.ReadError(f"a file of {info.size:,} bytes is named at byte {info.offset:,}")
            yield info
            end = tar.offset
            # Both would grow with every entry.
            tar.members.clear()  # pyright: ignore[reportAttributeAccessIssue]
            tar.pax_headers = {}
            file.left = _MOST_HEADERS
    file.seek(end)
    file.left = _MOST_HEADERS
    # tarfile takes a cut between two files, and a damaged header, for the end; a block of zeros is the end.
    if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError(f"cut short or damaged at byte {end:,}")


def _place(name: str) -> tuple[str, str]:
    """Split a name at the last category folder in it: that folder, or "", and what follows."""
    parts = name.split("/")
    for depth in reversed(range(len(parts) - 1)):
        if _CATEGORY.fullmatch(parts[depth]):
            return parts[depth], "/".join(parts[depth + 1 :])
    return "", name


def _why_stray(info: tarfile.TarInfo) -> str | None:
    """Return why an entry is no member; None for a member."""
    category, rest = _place(info.name)
    if info.issym() or info.islnk():
        return "a link"
    if info.isdev():
        return "a device or pipe"
    if info.issparse():
        return "a sparse file"
    if not info.isreg():
        return "an entry of unknown type"
    if not category:
        return "not in a category's folder"
    if "/" in rest or rest in ("", ".", ".."):
        return "not directly in its category's folder"
    return None


def _render(destination: Path, stage: Stage) -> None:
    with stage.task("rendering", len(CATEGORIES) * SAMPLE_PER_CATEGORY, quiet=5.0) as task:
        files = ((name, io.BytesIO(content)) for name, content in render_sample(SAMPLE_PER_CATEGORY))
        _write_tar(destination, files, task.advance)


def _gather(folder: Path, destination: Path, stage: Stage) -> None:
    """Write what lies in the category folders of `folder`, itself `256_ObjectCategories` or above it, as a tar."""
    inside: list[tuple[Path, str, str]] = []
    categories: set[str] = set()
    bytes_inside = beside = special = 0
    for path, status in _walk(folder):
        category, rest = _place(path.relative_to(folder.parent).as_posix())
        if stat.S_ISDIR(status.st_mode):
            if _CATEGORY.fullmatch(path.name):
                categories.add(path.name)
        elif not stat.S_ISREG(status.st_mode):
            special += 1
        elif category:
            inside.append((path, category, rest))
            bytes_inside += status.st_size
        else:
            beside += 1
    if beside or special:
        stage.say(
            f"{printable(str(folder))}: left out {special:,} links and special files, "
            f"and {beside:,} files that lie in no category's folder"
        )
    require_space(destination.parent, bytes_inside)

    def files() -> Iterator[tuple[str, BinaryIO]]:
        for path, category, rest in sorted(inside):
            try:
                file = path.open("rb")
            except OSError as error:
                raise _unreadable(error) from None
            with file:
                yield f"{ROOT_FOLDER}/{category}/{rest}", file

    empty = categories - {category for _, category, _ in inside}
    with stage.task("gathering", len(inside), quiet=5.0) as task:
        _write_tar(destination, files(), task.advance, folders=[f"{ROOT_FOLDER}/{name}" for name in sorted(empty)])


def _walk(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield all that lies beneath a folder, with its status; links are not followed."""

    def refuse(error: OSError) -> None:
        raise _unreadable(error) from None

    try:
        for parent, folders, names in os.walk(folder, onerror=refuse):
            for path in (Path(parent, name) for name in folders + names):
                yield path, path.lstat()
    except RecursionError:
        raise StageError(f"{printable(str(folder))}: folders lie too deep in one another") from None


def _unreadable(error: OSError) -> StageError:
    return StageError(
        f"{printable(str(error.filename))}: cannot be read ({error.strerror}); make it readable or take it away"
    )


def _write_tar(
    destination: Path, files: Iterable[tuple[str, BinaryIO]], wrote: Callable[[], None], folders: Iterable[str] = ()
) -> None:
    """Write `files` and empty `folders` as a tar whose bytes depend on names and contents alone."""
    with tarfile.open(destination, "w", format=tarfile.PAX_FORMAT, encoding="utf-8") as tar:
        for name, file in files:
            info = tarfile.TarInfo(name)
            info.size = file.seek(0, os.SEEK_END)
            file.seek(0)
            tar.addfile(info, file)
            wrote()
        for name in folders:
            info = tarfile.TarInfo(name)
            info.type = tarfile.DIRTYPE
            tar.addfile(info)
