from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vgg_ablation.dataset.archive import members
from vgg_ablation.dataset.decode import decode
from vgg_ablation.dataset.pack import pack
from vgg_ablation.images.index import INDEX_COLUMNS
from vgg_ablation.images.pixels import Pixels
from vgg_ablation.runtime.console import Console

Pack = Callable[..., Pixels]
Encode = Callable[..., bytes]
Files = dict[str, np.ndarray]


def noise(height: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@settings(max_examples=30)
@given(
    sizes=st.lists(st.tuples(st.integers(4, 9), st.integers(4, 9)), min_size=1, max_size=5),
    side=st.integers(1, 4),
    data=st.data(),
)
def test_images_and_crops_are_slices_of_the_arrays(
    packed: Pack, sizes: list[tuple[int, int]], side: int, data: st.DataObject
) -> None:
    arrays = [noise(height, width, seed) for seed, (height, width) in enumerate(sizes)]
    numbers = data.draw(st.lists(st.integers(0, len(sizes) - 1), min_size=1, max_size=6))
    top = [data.draw(st.integers(0, sizes[number][0] - side)) for number in numbers]
    left = [data.draw(st.integers(0, sizes[number][1] - side)) for number in numbers]
    crops = packed(arrays).crop(torch.tensor(numbers), torch.tensor(top), torch.tensor(left), side)
    slices = [arrays[n][t : t + side, f : f + side] for n, t, f in zip(numbers, top, left, strict=True)]
    np.testing.assert_array_equal(crops.numpy(), np.stack(slices))
    np.testing.assert_array_equal(packed(arrays).image(numbers[0]).numpy(), arrays[numbers[0]])


@pytest.fixture
def opened(tmp_path: Path, tar: Callable[..., Path], encoded: Encode, console: Console) -> Callable[[Files], Pixels]:
    """Return what packs PNG files by their path, and opens what was written."""

    def run(files: Files) -> Pixels:
        archive = tar({path: encoded(Image.fromarray(array)) for path, array in files.items()})
        pack(archive, members(archive), 32, tmp_path / "processed", console)
        return Pixels.open(tmp_path / "processed")

    return run


FILES = {"001.ak47/1.png": noise(40, 36, 0), "001.ak47/2.png": noise(36, 50, 1), "003.7/1.png": noise(32, 32, 2)}


def test_opened_images_are_those_packed(opened: Callable[[Files], Pixels], encoded: Encode) -> None:
    pixels = opened(FILES)
    for number, array in enumerate(FILES.values()):
        expected = decode(encoded(Image.fromarray(array)), 32).pixels
        np.testing.assert_array_equal(pixels.image(number).numpy(), expected)
    assert [pixels.categories[label] for label in pixels.labels] == ["001.ak47", "001.ak47", "003.7"]


def test_pixels_need_not_fit_in_memory(tmp_path: Path) -> None:
    """The larger images of all of Caltech-256 take some 30 GB; whether they are in memory is for the system to say."""
    height, last = 50_000, np.array([7, 8, 9], np.uint8)
    width = 2 * (psutil.virtual_memory().total + psutil.swap_memory().total) // (3 * height)
    row = ["0", "001.ak47/1.jpg", "001.ak47", "0", str(height), str(width), "0", "9f" * 32]
    (tmp_path / "index.csv").write_text(",".join(INDEX_COLUMNS) + "\n" + ",".join(row) + "\n")
    with (tmp_path / "pixels.uint8").open("wb") as file:  # a sparse file: it takes a block of the disk
        file.seek(3 * height * width - 3)
        file.write(last.tobytes())
    pixels = Pixels.open(tmp_path)
    corner = pixels.crop(torch.tensor([0]), torch.tensor([height - 2]), torch.tensor([width - 2]), 2)
    np.testing.assert_array_equal(corner[0, -1, -1].numpy(), last)
    assert corner.sum() == last.sum()


@pytest.mark.parametrize("change", ["none", "pixel", "name", "number"])
def test_the_digest_identifies_the_images(opened: Callable[[Files], Pixels], change: str) -> None:
    other = {path: array.copy() for path, array in reversed(FILES.items())}
    if change == "pixel":
        other["001.ak47/1.png"][0, 0, 0] ^= 1
    elif change == "name":
        other["003.7/2.png"] = other.pop("003.7/1.png")
    elif change == "number":
        del other["001.ak47/2.png"]
    assert (opened(FILES).digest == opened(other).digest) is (change == "none")
