"""Decoding once: every image as RGB pixels of one size class, in one memory-mapped file with an index."""

import hashlib
import os
import re
import warnings
from collections import Counter, deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from vgg_ablation.dataset.archive import CLUTTER, LARGEST_MEMBER
from vgg_ablation.dataset.decode import Decoded, UnusableError, decode
from vgg_ablation.dataset.layout import Listing, Member, Stray
from vgg_ablation.errors import StageError
from vgg_ablation.files import replacing, require_space, write_table
from vgg_ablation.images.index import EXCLUDED_FILE, INDEX_COLUMNS, INDEX_FILE, PIXELS_FILE
from vgg_ablation.runtime import messages
from vgg_ablation.runtime.console import Console

_AHEAD = 64  # images decoded but not yet written: enough that no core waits, few enough to bound the memory


def choose(listing: Listing, categories: str | tuple[str, ...], *, clutter: bool) -> Listing:
    """Return the members in the chosen categories, the strays in them, and the strays in no category at all.

    Raises:
        StageError: a category is not in the archive, is empty, is named twice, or a name matches two categories.
    """
    filled = {member.category for member in listing.members}
    if categories == "all":
        # A category without a member is no class, but listed.
        chosen = {name for name in filled | {stray.category for stray in listing.strays} if clutter or name != CLUTTER}
    else:
        meant: dict[str, str] = {}
        for name in categories:
            category = _named(name, sorted(filled), listing.strays)
            if category in meant:
                raise StageError(f"data.categories: {meant[category]!r} and {name!r} are one category, {category}")
            meant[category] = name
        chosen = set(meant)
    listed = chosen | {""}
    return Listing(
        tuple(member for member in listing.members if member.category in chosen),
        tuple(stray for stray in listing.strays if stray.category in listed),
    )


def _named(name: str, filled: list[str], strays: Iterable[Stray]) -> str:
    """Return the category that a user means by `name`."""
    every = sorted({*filled, *(stray.category for stray in strays)} - {""})
    meant = [name] if name in every else [category for category in every if without_number(category) == name]
    if not meant:
        raise StageError(f"data.categories: {name!r} is not in the archive; it holds {len(filled)}: {_some(filled)}")
    if len(meant) > 1:
        raise StageError(f"data.categories: {name!r} may be {' or '.join(meant)}; give its number too")
    if meant[0] not in filled:
        raise StageError(f"data.categories: {meant[0]} is empty in the archive; leave it out")
    return meant[0]


def pack(
    archive: Path, chosen: list[Member], side: int, folder: Path, console: Console, strays: Iterable[Stray] = ()
) -> dict[str, object]:
    """Write the chosen images of the archive to `folder` as pixels, index and list of excluded files and `strays`.

    Of files with the same bytes the first is kept and the others are excluded, so that no split can hold both. Labels
    number the categories in the order of their official names. Returns the counts that the report gives.

    Raises:
        StageError: fewer than two categories are left, one has no usable image, or the disk is full.
    """
    rows: list[tuple[object, ...]] = []
    excluded = [(stray.path, stray.reason) for stray in strays]
    first_with: dict[str, str] = {}
    labels = {name: label for label, name in enumerate(sorted({member.category for member in chosen}))}
    if len(labels) < 2:
        raise StageError(f"data.categories: {len(labels)} chosen; at least two are needed")
    require_space(folder, 3 * side * side * len(chosen))
    offset = greyscale = 0
    profiles: Counter[str] = Counter()
    with (
        replacing(folder / PIXELS_FILE) as beside,
        beside.open("wb") as packed,
        console.task(messages.PACKING, len(chosen), quiet=10.0) as task,
        closing(decode_all(archive, chosen, side)) as decoded,
    ):
        for member, sha256, result in decoded:
            task.advance()
            if sha256 in first_with:
                excluded.append((member.path, f"duplicate of {first_with[sha256]}"))
                continue
            if isinstance(result, UnusableError):
                excluded.append((member.path, str(result)))
                continue
            first_with[sha256] = member.path
            height, width, _ = result.pixels.shape
            label = labels[member.category]
            rows.append((len(rows), member.path, member.category, label, height, width, offset, sha256))
            packed.write(result.pixels.data)
            offset += result.pixels.size
            greyscale += result.greyscale
            profiles[result.profile] += 1
    if empty := labels.keys() - {row[2] for row in rows}:
        raise StageError(f"category {min(empty)} has no usable image; leave it out of data.categories")
    for name, columns, table in (
        (INDEX_FILE, INDEX_COLUMNS, rows),
        (EXCLUDED_FILE, ["path", "reason"], sorted(excluded)),
    ):
        write_table(folder / name, columns, (dict(zip(columns, row, strict=True)) for row in table))
    kinds = Counter(kind_of(reason) for _, reason in excluded)
    return {
        "images": len(rows),
        "categories": list(labels),
        "greyscale": greyscale,
        "profiles_converted": profiles["converted"],
        "profiles_ignored": profiles["ignored"],
        "excluded": len(excluded),
        "excluded_reasons": dict(sorted(kinds.items())),
        "duplicates": kinds["duplicate"],
    }


def decode_all(
    archive: Path, chosen: Sequence[Member], side: int
) -> Generator[tuple[Member, str, Decoded | UnusableError]]:
    """Yield each member with the SHA-256 of its bytes and its pixels, in order, decoding on every core."""
    pool = ThreadPoolExecutor(os.cpu_count())
    # Pillow warns of odd metadata, which we do not need.
    with archive.open("rb") as tar, warnings.catch_warnings(action="ignore"):
        descriptor = tar.fileno()

        def work(member: Member) -> tuple[Member, str, Decoded | UnusableError]:
            if member.size > LARGEST_MEMBER:
                return member, "", UnusableError(f"too large: {member.size:,} bytes")
            content = os.pread(descriptor, member.size, member.offset)
            sha256 = hashlib.sha256(content).hexdigest()
            try:
                return member, sha256, decode(content, side)
            except UnusableError as error:
                return member, sha256, error

        ahead: deque[Future[tuple[Member, str, Decoded | UnusableError]]] = deque()
        try:
            for member in chosen:
                ahead.append(pool.submit(work, member))
                if len(ahead) == _AHEAD:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)  # whoever interrupts it does not wait for those not begun


def kind_of(reason: str) -> str:
    """Return the kind of a reason for leaving out a file: `duplicate`, `undecodable`."""
    return "duplicate" if reason.startswith("duplicate of ") else reason.partition(":")[0]


def without_number(category: str) -> str:
    """Return `backpack` of `003.backpack`, and other names as they are."""
    return re.sub(r"^[0-9]+\.(?=.)", "", category)


def _some(names: list[str]) -> str:
    return ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
