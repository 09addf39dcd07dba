"""Rendered images, and what packs them as the pipeline does."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vgg_ablation.dataset.sample import CATEGORIES, render_image
from vgg_ablation.files import write_table
from vgg_ablation.images.index import INDEX_COLUMNS, INDEX_FILE, PIXELS_FILE, SPLITS_FILE, write_checksums


@pytest.fixture(scope="session")
def scenes() -> list[Image.Image]:
    """Six images of different solids, of the sizes and shapes of the sample's."""
    return [render_image(category, number=1, seed=0).convert("RGB") for category in range(6)]


@pytest.fixture(scope="session")
def pack_arrays() -> Callable[[Path, Sequence[np.ndarray]], None]:
    """Return what writes (height, width, 3) uint8 arrays, in turn of ten categories, into a folder as `preprocess`."""

    def write(folder: Path, arrays: Sequence[np.ndarray]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / PIXELS_FILE).write_bytes(b"".join(array.tobytes() for array in arrays))
        offsets = np.cumsum([0, *(array.size for array in arrays)]).tolist()
        index, splits = [], []
        for n, array in enumerate(arrays):
            row = (n, f"{n}.jpg", CATEGORIES[n % 10], n % 10, *array.shape[:2], offsets[n], str(n))
            index.append(dict(zip(INDEX_COLUMNS, row, strict=True)))
            splits.append({"image": n, "path": f"{n}.jpg", "split_0": ("train", "validation", "test")[n % 3]})
        write_table(folder / INDEX_FILE, INDEX_COLUMNS, index)
        write_table(folder / SPLITS_FILE, list(splits[0]), splits)
        write_checksums(folder)

    return write
