"""What `preprocess` leaves for the other stages, read back: the index of the packed images, the splits, the checksums.

Every stage of every net reads these, so nothing here imports pandas or torch, which take seconds to import. A table
that was damaged, or edited by hand, is refused in one line: what these functions return lies within the file of pixels.
"""

import re
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np

from vgg_ablation.errors import StageError
from vgg_ablation.files import read_table, write_text
from vgg_ablation.runtime.state import file_digest

PIXELS_FILE = "pixels.uint8"
INDEX_FILE = "index.csv"
EXCLUDED_FILE = "excluded.csv"
SPLITS_FILE = "splits.csv"
CHECKSUMS_FILE = "SHA256SUMS"
LARGE_FOLDER = "large"
"""In the folder of the images at the fixed scale: the same images again, large enough for all other scales."""

PACKED = (PIXELS_FILE, INDEX_FILE)
"""The files of the folder of the larger images."""
PREPROCESSED = (*PACKED, SPLITS_FILE)
"""The files that other stages read of the folder of the images at the fixed scale."""

INDEX_COLUMNS = ["image", "path", "category", "label", "height", "width", "offset", "sha256"]
TRAIN, VALIDATION, TEST = PARTS = ("train", "validation", "test")

_FIRST_LINE = 2  # of a table's rows: its header is line 1
_MAKE = "dvc repro (without DVC: python stages/preprocess.py)"
_WHOLE_NUMBER = re.compile("0|[1-9][0-9]{0,17}")  # int64 holds all of these


@dataclass(frozen=True)
class Index:
    """Where N images of different sizes lie in the file of pixels; the arrays are (N,) int64."""

    offsets: np.ndarray
    """First byte of each image: height x width x 3 values, uint8, RGB."""
    heights: np.ndarray
    widths: np.ndarray
    labels: np.ndarray
    categories: tuple[str, ...]
    """Official names by label."""
    size: int
    """Bytes of the file of pixels, which the images fill without gaps."""
    digest: str
    """SHA-256 of the index, which holds the digest of each image's file: what data this is."""

    @classmethod
    def read(cls, folder: Path) -> "Index":
        """Read the index that `preprocess` wrote to `folder`, and compare it with the size of the file of pixels there.

        Raises:
            OSError: one of the two files cannot be read.
            StageError: they do not describe images that follow one another in the file, with one label a category.
        """
        path, pixels = folder / INDEX_FILE, folder / PIXELS_FILE
        table = read_table(path)
        if list(table) != INDEX_COLUMNS:
            raise _damaged(path, f"its columns are not {', '.join(INDEX_COLUMNS)}")
        if not table["image"]:
            raise _damaged(path, "it has no images")
        _require_equal(path, table, "image", range(len(table["image"])))
        heights, widths = (_whole_numbers(path, table, side, least=1) for side in ("height", "width"))
        labels = _whole_numbers(path, table, "label")
        categories = _categories_by_label(path, labels, table["category"])
        sizes = (3 * height * width for height, width in zip(heights, widths, strict=True))
        *offsets, size = accumulate(sizes, initial=0)
        _require_equal(path, table, "offset", offsets)
        if (found := pixels.stat().st_size) != size:
            raise _damaged(pixels, f"it has {found:,} bytes, and {INDEX_FILE} describes {size:,}")
        return cls(
            np.array(offsets, np.int64), np.array(heights, np.int64), np.array(widths, np.int64),
            np.array(labels, np.int64), categories, size, file_digest(path),
        )  # fmt: skip

    def image(self, pixels: np.ndarray, number: int) -> np.ndarray:
        """Return one whole image out of the file's `pixels`, (height, width, 3) uint8, a view."""
        height, width, offset = (int(part[number]) for part in (self.heights, self.widths, self.offsets))
        return pixels[offset : offset + 3 * height * width].reshape(height, width, 3)


def read_splits(folder: Path, images: int | None = None) -> dict[str, list[str]]:
    """Read the table of splits that `preprocess` wrote to `folder`: columns `image`, `path`, `split_0`, ...

    Args:
        folder: with the table.
        images: how many the index has, where that is known: the table must have as many.

    Raises:
        OSError: the file cannot be read.
        StageError: its columns are others, its rows are not the images in order, or a split has an unknown or an empty
            part.
    """
    path = folder / SPLITS_FILE
    table = read_table(path)
    names = [f"split_{split}" for split in range(len(table) - 2)]
    if not names or list(table) != ["image", "path", *names]:
        raise _damaged(path, "its columns are not image, path, split_0 and so on")
    found = len(table["image"])
    if images not in (None, found):
        raise _damaged(path, f"it has {found} images, and {INDEX_FILE} has {images}")
    _require_equal(path, table, "image", range(found))
    for name in names:
        if unknown := set(table[name]).difference(PARTS):
            lines = enumerate(table[name], start=_FIRST_LINE)
            line, part = next((line, part) for line, part in lines if part in unknown)
            raise _damaged(path, f"line {line}: {name} is {reprlib.repr(part)}, not {_either(PARTS)}")
        if missing := [part for part in PARTS if part not in table[name]]:
            raise _damaged(path, f"{name} has no {_either(missing)} images")
    return table


def images_in(splits: Mapping[str, Sequence[str]], split: int, part: str) -> np.ndarray:
    """Return the numbers of the images of `part` in split number `split`, ascending, int64.

    Raises:
        StageError: there is no such split.
    """
    if f"split_{split}" not in splits:
        raise StageError(
            f"{SPLITS_FILE} has no split {split}: it was made with fewer data.splits; run preprocess again"
        )
    return np.flatnonzero(np.asarray(splits[f"split_{split}"]) == part)


def write_checksums(folder: Path, names: Sequence[str] = PREPROCESSED) -> None:
    """Write the SHA-256 of the files `names` in `folder` there, in the format of `sha256sum`.

    Raises:
        OSError: a file cannot be read, or the checksums not written.
        StageError: the disk is full.
    """
    write_text(folder / CHECKSUMS_FILE, "".join(f"{file_digest(folder / name)}  {name}\n" for name in names))


def verify(folder: Path, names: Sequence[str] = PREPROCESSED) -> None:
    """Check that files in `folder` are, to the bit, those that `preprocess` wrote: a disk may lose some unnoticed.

    It takes the time to read them once.

    Raises:
        OSError: a file is there, and cannot be read.
        StageError: a file is missing or damaged.
    """
    for name in (CHECKSUMS_FILE, *names):
        if not (folder / name).exists():
            raise StageError(f"{folder / name} is missing; make it again: {_MAKE}")
    listed = re.findall(rb"^([0-9a-f]{64})  (.+)$", (folder / CHECKSUMS_FILE).read_bytes(), re.MULTILINE)
    digests = {name: digest.decode() for digest, name in listed}
    for name in names:
        if name.encode() not in digests:
            raise _not_as_written(folder / CHECKSUMS_FILE, f"it has no SHA-256 of {name}")
        if file_digest(folder / name) != digests[name.encode()]:
            raise _not_as_written(folder / name, f"its SHA-256 is not that in {CHECKSUMS_FILE}")


def _not_as_written(path: Path, how: str) -> StageError:
    # DVC takes a file to be whole while its time and mode are those it knows, and its cache may hold the same bytes by
    # a hard link: without both commands, even `dvc repro --force` ends with the damaged file.
    return StageError(f"{path} is damaged: {how}; make it again: chmod u+w {path}; touch {path}; {_MAKE}")


def _damaged(path: Path, how: str) -> StageError:
    return StageError(f"{path} is damaged: {how}; run preprocess again")


def _require_equal(path: Path, table: Mapping[str, list[str]], name: str, expected: Sequence[int]) -> None:
    """Check a column against the numbers that it must hold."""
    if table[name] == (texts := list(map(str, expected))):
        return
    rows = enumerate(zip(table[name], texts, strict=True), start=_FIRST_LINE)
    line, found, text = next((line, found, text) for line, (found, text) in rows if found != text)
    raise _damaged(path, f"line {line}: {name} is {reprlib.repr(found)}, not {text}")


def _whole_numbers(path: Path, table: Mapping[str, list[str]], name: str, least: int = 0) -> list[int]:
    """Return a column that must hold whole numbers."""
    for line, text in enumerate(table[name], start=_FIRST_LINE):
        if not _WHOLE_NUMBER.fullmatch(text) or int(text) < least:
            raise _damaged(path, f"line {line}: {name} is {reprlib.repr(text)}, not a whole number of {least} or more")
    return list(map(int, table[name]))


def _categories_by_label(path: Path, labels: Sequence[int], categories: Sequence[str]) -> tuple[str, ...]:
    """Return the one category of each label."""
    names: dict[int, str] = {}
    for line, (label, category) in enumerate(zip(labels, categories, strict=True), start=_FIRST_LINE):
        if names.setdefault(label, category) != category:
            found, before = reprlib.repr(category), reprlib.repr(names[label])
            raise _damaged(path, f"line {line}: label {label} is {found}, and {before} before")
    if missing := set(range(len(names))).difference(names):
        raise _damaged(path, f"no image has label {min(missing)}, and one has label {max(names)}")
    if len(set(names.values())) < len(names):
        raise _damaged(path, "a category has two labels")
    return tuple(names[label] for label in range(len(names)))


def _either(names: Sequence[str]) -> str:
    return " or ".join(names)
