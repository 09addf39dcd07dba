"""Decoding once: every image as RGB pixels of one size class, in one memory-mapped file with an index."""

import hashlib
import io
import os
import threading
import warnings
from collections import Counter, deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from vgg_ablation.dataset.archive import CLUTTER, LARGEST_MEMBER, Listing, Member, Stray
from vgg_ablation.errors import StageError
from vgg_ablation.files import replacing, require_space, write_table
from vgg_ablation.images.index import EXCLUDED_FILE, INDEX_COLUMNS, INDEX_FILE, PIXELS_FILE
from vgg_ablation.runtime import messages
from vgg_ablation.runtime.console import Console
from vgg_ablation.text import printable

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP")
LARGEST_IMAGE = 100_000_000  # pixels; the largest of Caltech-256 has about 40 million
LARGEST_ASPECT = 20  # longer side over shorter; bounds the packed size of an image at so many times side x side pixels
_ONE_AT_A_TIME = 16_000_000  # pixels; larger images wait for each other, so that memory does not grow with the cores
_AHEAD = 64  # images decoded but not yet written: enough that no core waits, few enough to bound the memory
_LONGEST_REASON = 200  # characters

_larger = threading.Lock()
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Operation that turns an image upright, by the orientation in its EXIF metadata."""


@dataclass(frozen=True)
class Decoded:
    """An image as it is packed."""

    pixels: np.ndarray
    """(height, width, 3) uint8, RGB, smallest side S."""
    greyscale: bool
    """Whether the file had one channel."""


class UnusableError(Exception):
    """This file is not a usable image; the message says why, and begins with the kind of reason."""


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
    meant = [name] if name in every else [category for category in every if category.split(".", 1)[1] == name]
    if not meant:
        raise StageError(f"data.categories: {name!r} is not in the archive; it holds {len(filled)}: {_some(filled)}")
    if len(meant) > 1:
        raise StageError(f"data.categories: {name!r} may be {' or '.join(meant)}; give its number too")
    if meant[0] not in filled:
        raise StageError(f"data.categories: {meant[0]} is empty in the archive; leave it out")
    return meant[0]


def decode(content: bytes, side: int) -> Decoded:
    """Decode an image file to RGB, turn it upright, and rescale it isotropically to smallest side `side` (section 3.1).

    Of an animation it is the first frame.

    Raises:
        UnusableError: it is no image, is damaged or cut short, is larger than `LARGEST_IMAGE`, or is more elongated
            than `LARGEST_ASPECT`.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            _require_bounded(image)
            with _larger if image.width * image.height > _ONE_AT_A_TIME else nullcontext():
                return _decode_open(image, side)
    except (UnusableError, MemoryError):  # what is decoded is bounded: no fault of the file
        raise
    except Image.UnidentifiedImageError:
        raise UnusableError("not an image") from None
    except Image.DecompressionBombError as error:
        raise UnusableError(f"too large: {error}") from None
    except Exception as error:  # Pillow's decoders raise errors of many kinds on hostile bytes
        said = printable(str(error) or type(error).__name__)
        raise UnusableError(f"undecodable: {said[:_LONGEST_REASON]}") from None


def _require_bounded(image: Image.Image) -> None:
    if image.width * image.height > LARGEST_IMAGE:
        raise UnusableError(f"too large: {image.width} x {image.height} pixels")
    if max(image.size) > LARGEST_ASPECT * min(image.size):
        raise UnusableError(f"too elongated: {image.width} x {image.height} pixels")


def _decode_open(image: Image.Image, side: int) -> Decoded:
    scale = side / min(image.size)
    width, height = (max(side, round(length * scale)) for length in image.size)
    greyscale = image.mode in ("1", "L", "LA", "I", "I;16")
    # A JPEG decodes straight to a half, quarter or eighth; twice the size wanted leaves the filter enough.
    image.draft(None, (2 * width, 2 * height))
    eight = image.point(lambda value: value / 256, "L") if image.mode.startswith("I;16") else image
    rgb = eight.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
    try:
        turn = _UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # unreadable metadata make no photograph unusable; of many kinds too
        turn = None
    return Decoded(np.asarray(rgb if turn is None else rgb.transpose(turn)), greyscale)


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
    with (
        replacing(folder / PIXELS_FILE) as beside,
        beside.open("wb") as packed,
        console.task(messages.PACKING, len(chosen), quiet=10.0) as task,
        warnings.catch_warnings(action="ignore"),  # Pillow warns of odd metadata, which we do not need
        closing(_decode_all(archive, chosen, side)) as decoded,
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
    if empty := labels.keys() - {row[2] for row in rows}:
        raise StageError(f"category {min(empty)} has no usable image; leave it out of data.categories")
    for name, columns, table in (
        (INDEX_FILE, INDEX_COLUMNS, rows),
        (EXCLUDED_FILE, ["path", "reason"], sorted(excluded)),
    ):
        write_table(folder / name, columns, (dict(zip(columns, row, strict=True)) for row in table))
    kinds = Counter(_kind(reason) for _, reason in excluded)
    return {
        "images": len(rows),
        "categories": list(labels),
        "greyscale": greyscale,
        "excluded": len(excluded),
        "excluded_reasons": dict(sorted(kinds.items())),
        "duplicates": kinds["duplicate"],
    }


def _decode_all(
    archive: Path, chosen: list[Member], side: int
) -> Generator[tuple[Member, str, Decoded | UnusableError]]:
    """Yield each member with the SHA-256 of its bytes and its pixels, in order, decoding on every core."""
    pool = ThreadPoolExecutor(os.cpu_count())
    with archive.open("rb") as tar:
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


def _kind(reason: str) -> str:
    return "duplicate" if reason.startswith("duplicate of ") else reason.partition(":")[0]


def _some(names: list[str]) -> str:
    return ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
