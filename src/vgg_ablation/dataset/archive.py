"""Reading the archive: one uncompressed tar in Caltech-256's official layout.

The layout is `256_ObjectCategories/003.backpack/003_0001.jpg`. Members are read in place and nothing is extracted, so
that no member can leave a folder; links, devices and oversized members are never followed or read. All other
entries are listed as strays. Names are labels, made printable before they reach a table, a terminal or a page.
"""

import io
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vgg_ablation.errors import StageError
from vgg_ablation.text import printable

ROOT_FOLDER = "256_ObjectCategories"
CLUTTER = "257.clutter"
"""The category of Caltech-256 that shows no object."""
CATEGORY = re.compile(r"[0-9]{3}\.[^/]+")
"""The name of a category's folder."""

LARGEST_MEMBER = 64 * 2**20  # bytes; the largest photograph of Caltech-256 has about 7 MB
"""Larger members are no photographs of this data set, and are left out."""

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
    """Position of its first byte in the tar."""
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class Stray:
    """An entry of the archive that is no member."""

    path: str
    """From its category's folder on, `056.dog/greg/1.jpg`; the whole name outside category folders."""
    category: str
    """The official name of the folder that holds it, at any depth; empty outside category folders."""
    reason: str
    """Why it is no member: `a link`, `an empty category`."""


@dataclass(frozen=True, slots=True)
class Listing:
    """All that an archive holds but its folders, each part sorted by path."""

    members: tuple[Member, ...]
    strays: tuple[Stray, ...]


def members(archive: Path, *, named: str | None = None) -> list[Member]:
    """Return the members of `list_archive`; the same errors."""
    return list(list_archive(archive, named=named).members)


def list_archive(archive: Path, *, named: str | None = None) -> Listing:
    """Return what the archive holds; it is read to its end to be sure that it is complete.

    Members are the regular files directly in a category's folder; everything else, and each category without a member,
    is a stray.

    Raises:
        StageError: it is no uncompressed tar, is cut short or damaged, or names one file twice; the message calls it
            `named`.
        OSError: it cannot be opened.
    """
    label = printable(named or str(archive))
    found: dict[str, Member] = {}
    strays: list[Stray] = []
    categories: set[str] = set()
    with _LimitedHeaders(archive.open("rb", buffering=0)) as file:
        for info in _entries(file, label):
            if info.isdir():
                folder = info.name.rsplit("/", 1)[-1]
                if CATEGORY.fullmatch(folder):
                    categories.add(printable(folder))
                continue
            category, rest = (printable(part) for part in place(info.name))
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


def place(name: str) -> tuple[str, str]:
    """Split a name at its last category folder: that folder, or "" where there is none, and what follows."""
    parts = name.split("/")
    for depth in reversed(range(len(parts) - 1)):
        if CATEGORY.fullmatch(parts[depth]):
            return parts[depth], "/".join(parts[depth + 1 :])
    return "", name


class _LimitedHeaders(io.BufferedReader):
    """A tar with a limit on the headers of one entry: tarfile would read those that claim gigabytes."""

    left = _MOST_HEADERS

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= self.left:
            raise tarfile.ReadError("the headers of an entry are damaged or too long")
        self.left -= size
        return super().read(size)


def _entries(file: _LimitedHeaders, label: str) -> Iterator[tarfile.TarInfo]:
    try:
        yield from _to_the_end(file)
    except Exception as error:  # hostile bytes make tarfile raise much besides its own errors, IndexError for example
        raise StageError(
            f"{label}: not a complete, uncompressed tar ({printable(str(error))}); download it again"
        ) from None


def _to_the_end(file: _LimitedHeaders) -> Iterator[tarfile.TarInfo]:
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


def _why_stray(info: tarfile.TarInfo) -> str | None:
    """Return why an entry is no member; None for a member."""
    category, rest = place(info.name)
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
