"""Rendered images, and what packs them as the pipeline does."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from vgg_ablation.dataset.sample import CATEGORIES, render_image
from vgg_ablation.images.index import INDEX_COLUMNS, INDEX_FILE, PIXELS_FILE, SPLITS_FILE, write_checksums


@pytest.fixture(scope="session")
def scenes() -> list[Image.Image]:
    """Six images of different solids, of the sizes and shapes of the sample's."""
    return [render_image(category, number=1, seed=0).convert("RGB") for category in range(6)]


@pytest.fixture(scope="session")
def pack_arrays() -> Callable[[Path, Sequence[np.ndarray]], None]:
    """Return what writes (height, width, 3) uint8 arrays, in turn of ten categories, into a folder as `preprocess`."""

    def write(folder: Path, arrays: Sequence[np.ndarray]) -> None:
        folder.mkdir(parents=True)
        (folder / PIXELS_FILE).write_bytes(b"".join(array.tobytes() for array in arrays))
        offsets = np.cumsum([0, *(array.size for array in arrays)]).tolist()
        rows = [
            (n, f"{n}.jpg", CATEGORIES[n % 10], n % 10, *array.shape[:2], offsets[n], str(n))
            for n, array in enumerate(arrays)
        ]
        pd.DataFrame(rows, columns=INDEX_COLUMNS).to_csv(folder / INDEX_FILE, index=False)
        parts = [["train", "validation", "test"][n % 3] for n in range(len(arrays))]
        table = pd.DataFrame({"image": range(len(arrays)), "path": [row[1] for row in rows], "split_0": parts})
        table.to_csv(folder / SPLITS_FILE, index=False)
        write_checksums(folder)

    return write
