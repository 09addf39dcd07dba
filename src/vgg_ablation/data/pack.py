"""Decoding once: every image as RGB pixels of one size class, in one memory-mapped file with an index."""

import hashlib
import io
import os
import warnings
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from vgg_ablation.data.archive import CLUTTER, LARGEST_MEMBER, Member
from vgg_ablation.data.packed import EXCLUDED_FILE, INDEX_COLUMNS, INDEX_FILE, PIXELS_FILE
from vgg_ablation.pipeline.console import Stage
from vgg_ablation.pipeline.errors import StageError
from vgg_ablation.pipeline.files import replacing, write_text

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP")
LARGEST_IMAGE = 100_000_000  # pixels, as it is or rescaled; the largest of Caltech-256 has about 40 million
_AHEAD = 64  # images decoded but not yet written: enough that no core waits, few enough to bound the memory


@dataclass(frozen=True)
class Decoded:
    """An image as it is packed."""

    pixels: np.ndarray
    """(height, width, 3) uint8, RGB, smallest side S."""
    greyscale: bool
    """Whether the file had one channel."""


class UnusableError(Exception):
    """This file is not a usable image; the message says why, and begins with the kind of reason."""


def choose_members(members: Iterable[Member], categories: str | tuple[str, ...], *, clutter: bool) -> list[Member]:
    """Return the members in the chosen categories, in archive order.

    Raises:
        StageError: a category is not in the archive.
    """
    listed = list(members)
    present = sorted({member.category for member in listed})
    if categories == "all":
        chosen = {name for name in present if clutter or name != CLUTTER}
    else:
        by_name = {alias: name for name in present for alias in (name, name.split(".", 1)[1])}
        for name in categories:
            if name not in by_name:
                raise StageError(
                    f"data.categories: {name!r} is not in the archive; it holds {len(present)}: {_some(present)}"
                )
        chosen = {by_name[name] for name in categories}
    return [member for member in listed if member.category in chosen]


def decode(content: bytes, side: int) -> Decoded:
    """Decode an image file to RGB and rescale it isotropically to smallest side `side` (section 3.1).

    Raises:
        UnusableError: it is no image, is damaged or cut short, or is larger than `LARGEST_IMAGE`.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            scale = side / min(image.size)
            width, height = (max(side, round(length * scale)) for length in image.size)
            if max(width * height, image.width * image.height) > LARGEST_IMAGE:
                raise UnusableError(f"too large: {image.width} x {image.height} pixels")
            greyscale = image.mode in ("1", "L", "LA", "I", "I;16")
            # A JPEG decodes straight to a half, quarter or eighth; twice the size wanted leaves the filter its say.
            image.draft(None, (2 * width, 2 * height))
            eight = image.point(lambda value: value / 256, "L") if image.mode.startswith("I;16") else image
            rgb = eight.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
    except Image.UnidentifiedImageError:
        raise UnusableError("not an image") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnusableError(f"undecodable: {error}") from None
    return Decoded(np.asarray(rgb), greyscale)


def pack(archive: Path, chosen: list[Member], side: int, folder: Path, stage: Stage) -> dict[str, object]:
    """Write the chosen images of the archive to `folder` as pixels, index and list of excluded files.

    Of files with the same bytes the first is kept and the others are excluded, so that no split can hold both. Labels
    number the categories in the order of their official names. Returns the counts that the report gives.

    Raises:
        StageError: fewer than two categories are left.
    """
    rows: list[tuple[object, ...]] = []
    excluded: list[tuple[str, str]] = []
    first_with: dict[str, str] = {}
    labels = {name: label for label, name in enumerate(sorted({member.category for member in chosen}))}
    if len(labels) < 2:
        raise StageError(f"data.categories: {len(labels)} chosen; at least two are needed")
    offset = greyscale = 0
    with (
        replacing(folder / PIXELS_FILE) as beside,
        beside.open("wb") as packed,
        stage.task("packing", len(chosen), quiet=10.0) as task,
        warnings.catch_warnings(action="ignore"),  # Pillow warns of odd metadata, which we do not read
    ):
        for member, sha256, result in _decode_all(archive, chosen, side):
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
    write_text(folder / INDEX_FILE, pd.DataFrame(rows, columns=INDEX_COLUMNS).to_csv(index=False))
    write_text(folder / EXCLUDED_FILE, pd.DataFrame(excluded, columns=["path", "reason"]).to_csv(index=False))
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
) -> Iterator[tuple[Member, str, Decoded | UnusableError]]:
    """Yield each member with the SHA-256 of its bytes and its pixels, in order, decoding on every core."""
    with archive.open("rb") as tar, ThreadPoolExecutor(os.cpu_count()) as pool:
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
        for member in chosen:
            ahead.append(pool.submit(work, member))
            if len(ahead) == _AHEAD:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _kind(reason: str) -> str:
    return next(kind for kind in ("duplicate", "not an image", "undecodable", "too large") if reason.startswith(kind))


def _some(names: list[str]) -> str:
    return ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
