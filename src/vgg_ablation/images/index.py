"""Packed images read back: their index, the splits, the checksums, and the format that `preprocess` writes them in.

Every stage of every net reads these, so nothing here imports pandas or torch, which take seconds to import. A damaged
table, or one edited by hand, is refused in one line: what these functions return is inside the file of pixels.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np

from vgg_ablation.errors import StageError
from vgg_ablation.files import file_digest, read_table, write_text

PIXELS_FILE = "pixels.uint8"
INDEX_FILE = "index.csv"
EXCLUDED_FILE = "excluded.csv"
SPLITS_FILE = "splits.csv"
CHECKSUMS_FILE = "SHA256SUMS"
LARGE_FOLDER = "large"
"""In the folder of the images at the fixed scale: the same images, large enough for all other scales."""

PACKED = (PIXELS_FILE, INDEX_FILE)
"""The files of the folder of the larger images."""
PREPROCESSED = (*PACKED, SPLITS_FILE)
"""The files that other stages read of the folder of the images at the fixed scale."""

INDEX_COLUMNS = ["image", "path", "category", "label", "height", "width", "offset", "sha256"]
TRAIN, VALIDATION, TEST = PARTS = ("train", "validation", "test")

_MAKE = "dvc repro (without DVC: python stages/preprocess.py)"


@dataclass(frozen=True)
class Index:
    """Positions of N images of different sizes in the file of pixels; the arrays are (N,) int64."""

    offsets: np.ndarray
    """First byte of each image: height x width x 3 values, uint8, RGB."""
    heights: np.ndarray
    widths: np.ndarray
    labels: np.ndarray
    categories: tuple[str, ...]
    """Official names by label."""
    digest: str
    """SHA-256 of the index, which holds the digest of each image's file: identifies the data."""

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
        try:  # Python's numbers: those of numpy overflow
            columns = [list(map(int, table[name])) for name in ("image", "label", "height", "width", "offset")]
        except ValueError:
            raise _damaged(path, "it has text in place of numbers") from None
        images, labels, heights, widths, offsets = columns
        *starts, size = accumulate(
            (3 * height * width for height, width in zip(heights, widths, strict=True)), initial=0
        )
        named = set(zip(labels, table["category"], strict=True))
        names = dict(named)
        if not images or images != list(range(len(images))) or min(heights + widths) < 1 or offsets != starts:
            raise _damaged(path, "its images do not follow one another")
        if sorted(names) != list(range(len(named))) or len(set(names.values())) < len(names):
            raise _damaged(path, "its labels do not number the categories")
        if (found := pixels.stat().st_size) != size:
            raise _damaged(pixels, f"it has {found:,} bytes, not as many as {INDEX_FILE} describes")
        first, high, wide, label = (np.array(column, np.int64) for column in (starts, heights, widths, labels))
        return cls(first, high, wide, label, tuple(names[label] for label in sorted(names)), file_digest(path))

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
    if images not in (None, found) or table["image"] != list(map(str, range(found))):
        raise _damaged(path, f"its rows are not the images of {INDEX_FILE}")
    for name in names:
        if set(table[name]) != set(PARTS):
            raise _damaged(path, f"{name} does not put the images in {', '.join(PARTS)}")
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
    """Check that files in `folder` are unchanged since `preprocess` wrote them: disks lose bits unnoticed.

    It reads them once.

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
            raise _checksum_mismatch(folder / CHECKSUMS_FILE, f"it has no SHA-256 of {name}")
        if file_digest(folder / name) != digests[name.encode()]:
            raise _checksum_mismatch(folder / name, f"its SHA-256 is not that in {CHECKSUMS_FILE}")


def _checksum_mismatch(path: Path, how: str) -> StageError:
    # DVC trusts a file while its time and mode are those it knows, and its cache may hold the same bytes by a hard
    # link: without both commands, even `dvc repro --force` ends with the damaged file.
    return StageError(f"{path} is damaged: {how}; make it again: chmod u+w {path}; touch {path}; {_MAKE}")


def _damaged(path: Path, how: str) -> StageError:
    return StageError(f"{path} is damaged: {how}; run preprocess again")
