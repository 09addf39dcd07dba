"""Reading the archive: one uncompressed tar in Caltech-256's layout or another one of folders of images.

Members are read in place and nothing is extracted, so that no member can leave a folder; links, devices and oversized
members are never followed or read. All other entries are listed as strays. Names are labels, made printable before they
reach a table, a terminal or a page.
"""

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

from vgg_ablation.dataset.layout import FOLDER, Entry, Listing, Member, arrange, clean, is_image, named_as_image
from vgg_ablation.dataset.signatures import HEAD, recognise
from vgg_ablation.errors import StageError
from vgg_ablation.text import printable

ROOT_FOLDER = "256_ObjectCategories"
CLUTTER = "257.clutter"
"""The category of Caltech-256 that shows no object."""
OFFICIAL_CATEGORIES = 256
"""Categories of Caltech-256 besides it."""

LARGEST_MEMBER = 64 * 2**20  # bytes; the largest photograph of Caltech-256 has about 7 MB
"""Larger members are no photographs of this data set, and are left out."""

_MOST_HEADERS = 16 * 2**20
"""Bytes that the headers of one entry may take: extended attributes, such as a preview, may take 100 kB and more."""


def members(archive: Path, *, named: str | None = None) -> list[Member]:
    """Return the members of `list_archive`; the same errors."""
    return list(list_archive(archive, named=named).members)


def list_archive(archive: Path, *, named: str | None = None) -> Listing:
    """Return what the archive holds; it is read to its end to be sure that it is complete.

    Raises:
        StageError: it is no uncompressed tar, is cut short or damaged, or names one file twice; the message calls it
            `named`.
        OSError: it cannot be opened.
    """
    label = printable(named or str(archive))
    entries: list[Entry] = []
    files: set[str] = set()
    folders: set[str] = set()
    with archive.open("rb", buffering=0) as raw, _LimitedHeaders(raw) as file:
        head = raw.read(HEAD)
        raw.seek(0)
        if found := recognise(head):
            raise StageError(f"{label}: not a tar, but {found[1]}")
        for info in _entries(file, label):
            name, reason, image = clean(info.name), FOLDER if info.isdir() else _why_special(info), False
            if reason == FOLDER:
                if name in folders:
                    continue
                folders.add(name)
            elif not reason:
                if name in files:
                    raise StageError(f"{label}: names {name} twice")
                files.add(name)
                image = named_as_image(name) or is_image(name, os.pread(raw.fileno(), HEAD, info.offset_data))
            entries.append(Entry(name, info.size, info.offset_data, reason, image))
    return arrange(entries)


class _LimitedHeaders(io.BufferedReader):
    """A tar with a limit on the headers of one entry: tarfile would read those that claim gigabytes."""

    left = _MOST_HEADERS

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= self.left:
            raise tarfile.ReadError(
                "the headers of an entry are damaged, or too long; if they hold extended attributes, "
                "pack the images again without: tar --no-xattrs"
            )
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


def _why_special(info: tarfile.TarInfo) -> str:
    """Return why an entry is neither folder nor regular file; empty where it is one."""
    if info.issym() or info.islnk():
        return "a link"
    if info.isdev():
        return "a device or pipe"
    if info.issparse():
        return "a sparse file"
    return "" if info.isreg() else "an entry of unknown type"
