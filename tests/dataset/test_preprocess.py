"""The images as `preprocess` packs them twice: at the fixed scale, and as large as any other needs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from vgg_ablation.dataset.pack import decode
from vgg_ablation.dataset.preprocess import preprocess
from vgg_ablation.images.index import EXCLUDED_FILE, INDEX_FILE, LARGE_FOLDER, PACKED, PIXELS_FILE, verify
from vgg_ablation.runtime.console import Stage
from vgg_ablation.runtime.settings import DataSettings, ScalesSettings

Draw = Callable[..., Image.Image]
Encode = Callable[..., bytes]

SCALES = ScalesSettings.model_validate(
    {
        "fixed": {"train": 36, "test": [32, 36, 40]},
        "large": {"train": 54, "test": [50, 54, 58]},
        "jitter": {"train": [36, 64], "test": [36, 54, 72]},
    }
)
SETTINGS = DataSettings(
    source="x", categories="all", clutter=False, train_per_class=3, validation_fraction=0.4, splits=2, seed=0
)


@pytest.fixture
def files(picture: Draw, encoded: Encode) -> dict[str, bytes]:
    """Ten pictures of two categories, some smaller than they are packed, and three files that are left out."""
    pictures = {
        f"{1 + seed % 2:03d}.x/{seed}.png": encoded(picture(30 + 9 * seed, 90 - 5 * seed, seed)) for seed in range(10)
    }
    return pictures | {
        "001.x/0-again.png": pictures["001.x/0.png"],
        "001.x/4-cut.png": pictures["001.x/4.png"][:200],
        "002.x/README": b"no image",
    }


@pytest.fixture
def processed(tmp_path: Path, tar: Callable[..., Path], files: dict[str, bytes], stage: Stage) -> Path:
    folder = tmp_path / "processed"
    archive = tar({f"256_ObjectCategories/{path}": content for path, content in files.items()})
    preprocess(archive, SETTINGS, SCALES, folder, stage)
    return folder


def index(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / INDEX_FILE)


def test_both_packs_hold_the_same_images_in_the_same_order(processed: Path) -> None:
    columns = ["image", "path", "category", "label", "sha256"]
    fixed, large = (index(folder)[columns] for folder in (processed, processed / LARGE_FOLDER))
    assert len(fixed) == 10
    pd.testing.assert_frame_equal(fixed, large)


def test_the_smallest_sides_are_the_fixed_scale_and_the_largest_of_all(processed: Path) -> None:
    for folder, side in ((processed, 36), (processed / LARGE_FOLDER, 72)):
        assert set(index(folder)[["height", "width"]].min(axis=1)) == {side}


def test_the_larger_images_are_decoded_from_the_files_and_not_from_the_smaller_ones(
    processed: Path, files: dict[str, bytes]
) -> None:
    values = np.fromfile(processed / LARGE_FOLDER / PIXELS_FILE, np.uint8)
    for row in index(processed / LARGE_FOLDER).to_dict("records"):
        expected = decode(files[row["path"]], 72).pixels
        np.testing.assert_array_equal(values[row["offset"] :][: expected.size].reshape(expected.shape), expected)


def test_what_is_left_out_is_listed_once(processed: Path) -> None:
    excluded = pd.read_csv(processed / EXCLUDED_FILE)
    assert list(excluded["path"]) == ["001.x/0.png", "001.x/4-cut.png", "002.x/README"]


def test_both_packs_have_checksums_that_hold(processed: Path) -> None:
    verify(processed)
    verify(processed / LARGE_FOLDER, PACKED)
