"""What `preprocess` leaves for the other stages, read back: the index of the packed images, and the splits.

Every stage of every net reads these, so nothing here imports pandas or torch, which take seconds to import.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vgg_ablation.pipeline.errors import StageError
from vgg_ablation.pipeline.files import read_table
from vgg_ablation.pipeline.state import file_digest

PIXELS_FILE = "pixels.uint8"
INDEX_FILE = "index.csv"
EXCLUDED_FILE = "excluded.csv"
SPLITS_FILE = "splits.csv"

INDEX_COLUMNS = ["image", "path", "category", "label", "height", "width", "offset", "sha256"]
TRAIN, VALIDATION, TEST = PARTS = ("train", "validation", "test")


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
    digest: str
    """SHA-256 of the index, which holds the digest of each image's file: what data this is."""

    @classmethod
    def read(cls, folder: Path) -> "Index":
        """Read the index that `preprocess` wrote to `folder`."""
        table = read_table(folder / INDEX_FILE)
        column = {name: np.array(table[name], np.int64) for name in ("offset", "height", "width", "label")}
        names = dict(zip(table["label"], table["category"], strict=True))
        return cls(
            column["offset"], column["height"], column["width"], column["label"],
            tuple(names[label] for label in sorted(names, key=int)), file_digest(folder / INDEX_FILE),
        )  # fmt: skip

    def image(self, pixels: np.ndarray, number: int) -> np.ndarray:
        """Return one whole image out of the file's `pixels`, (height, width, 3) uint8, a view."""
        height, width, offset = (int(part[number]) for part in (self.heights, self.widths, self.offsets))
        return pixels[offset : offset + 3 * height * width].reshape(height, width, 3)


def read_splits(folder: Path) -> dict[str, list[str]]:
    """Read the table of splits that `preprocess` wrote to `folder`."""
    return read_table(folder / SPLITS_FILE)


def images_in(splits: Mapping[str, Sequence[str]], split: int, part: str) -> np.ndarray:
    """Return the numbers of the images of `part` in split number `split`, ascending, int64.

    Raises:
        StageError: there is no such split.
    """
    if f"split_{split}" not in splits:
        raise StageError(
            f"{SPLITS_FILE} has no split {split}: it was made with fewer data.splits; run preprocess again"
        )
    return np.asarray(splits["image"]).astype(np.int64)[np.asarray(splits[f"split_{split}"]) == part]
