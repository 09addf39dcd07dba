import io
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import imagehash
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from vgg_ablation.dataset import near_duplicates
from vgg_ablation.dataset.archive import list_archive
from vgg_ablation.dataset.decode import decode
from vgg_ablation.dataset.near_duplicates import (
    COLUMNS,
    LEAST_CONTRAST,
    WORDS,
    NearDuplicates,
    close_pairs,
    find_near_duplicates,
    perceptual_hashes,
)
from vgg_ablation.dataset.pack import choose, pack
from vgg_ablation.files import read_table
from vgg_ablation.images.index import PIXELS_FILE
from vgg_ablation.runtime.console import Console

PackArrays = Callable[[Path, Sequence[np.ndarray]], None]
Find = Callable[[Sequence[np.ndarray]], NearDuplicates]

SIDE = 72
SCRIPT = Path(__file__).parents[2] / "stages" / "near_duplicates.py"


@pytest.fixture
def find(tmp_path: Path, pack_arrays: PackArrays, console: Console) -> Find:
    """Return what packs arrays and finds the near-duplicates among them."""

    def run(arrays: Sequence[np.ndarray]) -> NearDuplicates:
        pack_arrays(tmp_path / "processed", arrays)
        return find_near_duplicates(tmp_path / "processed", console)

    return run


def as_packed(image: Image.Image, kind: str = "PNG", **options: object) -> np.ndarray:
    """Return the pixels that `preprocess` packs of an image file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return decode(file.getvalue(), SIDE).pixels


def rescaled(image: Image.Image, factor: float) -> Image.Image:
    return image.resize((round(factor * image.width), round(factor * image.height)), Image.Resampling.BICUBIC)


def numbers(found: NearDuplicates) -> list[tuple[object, object]]:
    return [(row["image"], row["other"]) for row in found.pairs]


# Hashes.


def test_hashes_are_the_librarys(scenes: list[Image.Image]) -> None:
    """That of the mirror image but for a few bits of coefficients at the median: it was rescaled before."""
    for scene in scenes:
        found = perceptual_hashes(np.asarray(scene))
        assert found is not None
        assert (found.shape, found.dtype) == ((2, WORDS), np.uint64)
        plain, mirrored = np.unpackbits(found.view(np.uint8), axis=1).astype(bool)
        assert plain.tolist() == imagehash.phash(scene, hash_size=16).hash.ravel().tolist()
        assert np.sum(mirrored != imagehash.phash(ImageOps.mirror(scene), hash_size=16).hash.ravel()) <= 4


def halves(deviation: float) -> np.ndarray:
    """Return an image of two halves whose shades have this standard deviation."""
    pixels = np.full((64, 64, 3), 128 - deviation)
    pixels[:, 32:] += 2 * deviation
    return pixels.astype(np.uint8)


def test_an_image_below_the_least_contrast_has_no_hash() -> None:
    noise = np.random.default_rng(0).normal(128, 2, (72, 90, 3)).round().astype(np.uint8)
    for faint in (np.full((72, 90, 3), 255, np.uint8), noise, halves(LEAST_CONTRAST - 1)):
        assert perceptual_hashes(faint) is None
    assert perceptual_hashes(halves(LEAST_CONTRAST + 1)) is not None


# Pairs of hashes.


def found_in(hashes: np.ndarray, mirrored: np.ndarray, most: int) -> list[tuple[int, ...]]:
    return [tuple(row) for block in close_pairs(hashes, mirrored, most) for row in block.tolist()]


def one_by_one(hashes: np.ndarray, mirrored: np.ndarray, most: int) -> list[tuple[int, ...]]:
    """Return what `close_pairs` finds, by Python's integers."""

    def bits(words: np.ndarray) -> int:
        return int.from_bytes(words.tobytes())

    close = []
    for i in range(len(hashes)):
        for j in range(i + 1, len(hashes)):
            distance = min((bits(hashes[i]) ^ bits(other)).bit_count() for other in (hashes[j], mirrored[j]))
            if distance <= most:
                close.append((i, j, distance))
    return close


@settings(max_examples=30)
@given(
    count=st.integers(0, 40), flipped=st.integers(0, 12), most=st.integers(0, 24), rows=st.integers(1, 9),
    seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_block_by_block_is_as_one_by_one(count: int, flipped: int, most: int, rows: int, seed: int) -> None:
    """All hashes are variations of three, so that many pairs are close, some at exactly `most` bits."""
    rng = np.random.default_rng(seed)
    models = rng.integers(0, 2**64, (3, 4), np.uint64)

    def varied() -> np.ndarray:
        bits = rng.permuted(np.arange(256) < flipped + np.zeros((count, 1)), axis=1)
        return models[rng.integers(0, 3, count)] ^ np.packbits(bits, axis=1).view(np.uint64)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_duplicates, "ROWS", rows)
        hashes, mirrored = varied(), varied()
        assert found_in(hashes, mirrored, most) == one_by_one(hashes, mirrored, most)


# Pairs of images.


@pytest.mark.parametrize(
    "copied",
    [
        lambda image: as_packed(image),
        lambda image: as_packed(image, "JPEG", quality=60),
        lambda image: as_packed(rescaled(image, 0.9)),
        lambda image: as_packed(rescaled(image, 1.5)),
        lambda image: as_packed(ImageOps.mirror(image)),
        lambda image: as_packed(ImageEnhance.Brightness(image).enhance(1.05)),
        lambda image: as_packed(image.convert("L")),
        lambda image: as_packed(ImageOps.mirror(rescaled(image, 0.8)), "JPEG", quality=75),
    ],
    ids=["exact", "encoded", "smaller", "larger", "mirrored", "brighter", "greyscale", "mirrored, smaller, encoded"],
)
def test_exactly_the_copies_are_found(
    find: Find, scenes: list[Image.Image], copied: Callable[[Image.Image], np.ndarray]
) -> None:
    arrays = [as_packed(scene) for scene in scenes]
    assert numbers(find([*arrays, *map(copied, scenes)])) == [(n, n + len(scenes)) for n in range(len(scenes))]


def test_images_of_one_shade_are_counted_and_compared_with_none(find: Find, scenes: list[Image.Image]) -> None:
    """Their hashes would be the same, though one is black and another is white."""
    black, grey, white = (np.full((SIDE, 90, 3), shade, np.uint8) for shade in (0, 100, 255))
    scene = as_packed(scenes[0])
    found = find([black, scene, grey, white, white, scene])
    assert (numbers(found), found.images, found.faint) == ([(1, 5)], 6, 4)
    assert find([black, white] * 2).pairs == []


def test_of_photographs_the_copies_that_one_sees_are_found(photographs: Path, tmp_path: Path, console: Console) -> None:
    """Three mice and two bicycles are in the official archive twice, most of them mirrored."""
    names = ("computer-mouse", "touring-bike", "backpack")
    pack(photographs, list(choose(list_archive(photographs), names, clutter=False).members), SIDE, tmp_path, console)
    found = find_near_duplicates(tmp_path, console)
    assert [(str(row["path"])[-12:-4], str(row["other_path"])[-12:-4]) for row in found.pairs] == [
        ("047_0003", "047_0084"),
        ("047_0005", "047_0085"),
        ("047_0007", "047_0086"),
        ("224_0011", "224_0098"),
        ("224_0044", "224_0088"),
    ]


# The stage.


def test_the_stage_writes_pairs_and_cost_or_refuses_damaged_pixels_in_one_line(
    tmp_path: Path, scenes: list[Image.Image], pack_arrays: PackArrays
) -> None:
    def run() -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DVC")}
        return subprocess.run(
            [sys.executable, str(SCRIPT)], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    arrays = [*map(np.asarray, [*scenes, scenes[4], ImageOps.mirror(scenes[2])]), np.zeros((72, 72, 3), np.uint8)]
    pack_arrays(tmp_path / "data" / "processed", arrays)
    done = run()
    assert done.returncode == 0, done.stderr
    assert "2 pairs among 9 images (1 with too little contrast to compare)" in done.stdout
    folder = tmp_path / "data" / "near-duplicates"
    table = read_table(folder / "near-duplicates.csv")
    assert list(table) == COLUMNS
    assert list(zip(*list(table.values())[:6], strict=True)) == [
        ("2", "7", "2.jpg", "7.jpg", "003.cone", "008.octahedron"),
        ("4", "6", "4.jpg", "6.jpg", "005.cube", "007.dumbbell"),
    ]
    (cost,) = set(folder.iterdir()) - {folder / "near-duplicates.csv"}
    columns = read_table(cost)
    assert [columns[name] for name in ("stage", "images", "threads")] == [["near_duplicates"], ["9"], ["1"]]

    pixels = tmp_path / "data" / "processed" / PIXELS_FILE
    content = bytearray(pixels.read_bytes())
    content[1000] ^= 1
    pixels.write_bytes(content)
    done = run()
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("near_duplicates: data/processed/pixels.uint8 is damaged")
