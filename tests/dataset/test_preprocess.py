"""The images as `preprocess` packs them twice: at the fixed scale, and as large as any other needs."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vgg_ablation.dataset.decode import decode
from vgg_ablation.dataset.preprocess import largest_side, preprocess
from vgg_ablation.files import read_json, read_table
from vgg_ablation.images.index import EXCLUDED_FILE, INDEX_FILE, LARGE_FOLDER, PACKED, PIXELS_FILE, read_splits, verify
from vgg_ablation.runtime.console import Console
from vgg_ablation.runtime.settings import DataSettings, ScalesSettings

SCALES = {
    "fixed": {"train": 36, "test": [32, 36, 40]},
    "large": {"train": 54, "test": [50, 54, 58]},
    "jitter": {"train": [36, 64], "test": [36, 54, 72]},
}
SETTINGS = DataSettings(
    source="http://me:secret@host/x", categories="all", clutter=False, train_per_class=3, validation_fraction=0.4,
    splits=2, seed=0,
)  # fmt: skip


@pytest.fixture
def files(picture: Callable[..., Image.Image], encoded: Callable[..., bytes]) -> dict[str, bytes]:
    """Ten pictures of two categories, some smaller than they are packed, and four files that are left out."""
    pictures = {
        f"{1 + seed % 2:03d}.x/{seed}.png": encoded(picture(30 + 9 * seed, 90 - 5 * seed, seed)) for seed in range(10)
    }
    return pictures | {
        "001.x/0-again.png": pictures["001.x/0.png"],
        "001.x/4-cut.png": pictures["001.x/4.png"][:200],
        "002.x/README": b"no image",
        "002.x/greg/1.png": pictures["001.x/4.png"],
    }


@pytest.fixture
def processed(tmp_path: Path, tar: Callable[..., Path], files: dict[str, bytes], console: Console) -> Path:
    folder = tmp_path / "processed"
    archive = tar({f"256_ObjectCategories/{path}": content for path, content in files.items()})
    preprocess(archive, SETTINGS, ScalesSettings.model_validate(SCALES), folder, console)
    return folder


def test_both_packs_hold_the_same_images_and_checksums_that_match(processed: Path) -> None:
    fixed, large = (read_table(folder / INDEX_FILE) for folder in (processed, processed / LARGE_FOLDER))
    assert len(fixed["image"]) == 10
    for name in ("image", "path", "category", "label", "sha256"):
        assert fixed[name] == large[name]
    for side, table in ((36, fixed), (72, large)):
        assert set(map(min, map(int, table["height"]), map(int, table["width"]))) == {side}
    verify(processed)
    verify(processed / LARGE_FOLDER, PACKED)


def test_the_larger_images_are_decoded_from_the_files_and_not_from_the_smaller_ones(
    processed: Path, files: dict[str, bytes]
) -> None:
    values = np.fromfile(processed / LARGE_FOLDER / PIXELS_FILE, np.uint8)
    table = read_table(processed / LARGE_FOLDER / INDEX_FILE)
    for path, offset in zip(table["path"], map(int, table["offset"]), strict=True):
        expected = decode(files[path], 72).pixels
        np.testing.assert_array_equal(values[offset:][: expected.size].reshape(expected.shape), expected)


def test_the_summary_counts_what_the_tables_hold(processed: Path) -> None:
    summary, excluded = read_json(processed / "summary.json"), read_table(processed / EXCLUDED_FILE)
    assert excluded["path"] == ["001.x/0.png", "001.x/4-cut.png", "002.x/README", "002.x/greg/1.png"]
    reasons = [reason.partition(":")[0].partition(" of ")[0] for reason in excluded["reason"]]
    assert (summary["images"], summary["excluded"], summary["excluded_reasons"]) == (10, 4, Counter(reasons))
    assert {part: summary[part] for part in ("train", "validation", "test")} == Counter(
        read_splits(processed)["split_1"]
    )
    assert summary["source"] == "http://***@host/x"


@pytest.mark.parametrize("name", SCALES)
@pytest.mark.parametrize("key", ["train", "test"])
def test_the_largest_side_is_that_of_any_training_or_test_scale(name: str, key: str) -> None:
    value = SCALES[name][key]
    larger = [*value[:-1], 99] if isinstance(value, list) else 99
    scales = ScalesSettings.model_validate(SCALES | {name: SCALES[name] | {key: larger}})
    assert largest_side(scales) == 99
