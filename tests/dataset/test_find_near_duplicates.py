import io
from collections.abc import Callable, Sequence
from pathlib import Path

import imagehash
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from vgg_ablation.dataset.archive import list_archive
from vgg_ablation.dataset.near_duplicates import COLUMNS, Found, find_near_duplicates
from vgg_ablation.dataset.pack import choose, decode, pack
from vgg_ablation.images.index import PIXELS_FILE, Index
from vgg_ablation.runtime.console import Stage

PackArrays = Callable[[Path, Sequence[np.ndarray]], None]
Find = Callable[[Sequence[np.ndarray]], Found]

OFFICIAL = Path(__file__).parents[3] / "shared" / "data" / "caltech256-14.tar"
SIDE = 72


@pytest.fixture
def find(tmp_path: Path, pack_arrays: PackArrays, stage: Stage) -> Find:
    """Return what packs arrays and finds the near-duplicates among them."""

    def run(arrays: Sequence[np.ndarray]) -> Found:
        pack_arrays(tmp_path / "processed", arrays)
        return find_near_duplicates(tmp_path / "processed", stage)

    return run


def as_packed(image: Image.Image, kind: str = "PNG", **options: object) -> np.ndarray:
    """Return the pixels that `preprocess` packs of an image file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return decode(file.getvalue(), SIDE).pixels


def rescaled(image: Image.Image, factor: float) -> Image.Image:
    return image.resize((round(factor * image.width), round(factor * image.height)), Image.Resampling.BICUBIC)


def packed_photographs(categories: tuple[str, ...], folder: Path, stage: Stage) -> None:
    """Pack these categories of the official archive, where it lies beside the repository."""
    if not OFFICIAL.exists():
        pytest.skip(f"no {OFFICIAL}: 14 categories of the official archive")
    chosen = choose(list_archive(OFFICIAL), categories, clutter=False).members
    pack(OFFICIAL, list(chosen), SIDE, folder, stage)


def numbers(found: Found) -> list[tuple[object, object]]:
    return [(row["image"], row["other"]) for row in found.pairs]


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


def test_unrelated_images_are_no_pairs(find: Find, scenes: list[Image.Image]) -> None:
    assert find([as_packed(scene) for scene in scenes]).pairs == []


def test_a_copy_upside_down_is_no_pair(find: Find, scenes: list[Image.Image]) -> None:
    """No net is trained on such."""
    assert find([as_packed(scenes[0]), as_packed(ImageOps.flip(scenes[0]))]).pairs == []


def test_a_pair_says_what_it_is(find: Find, scenes: list[Image.Image]) -> None:
    arrays = [as_packed(scene) for scene in scenes[:2]]
    assert find([*arrays, arrays[1]]).pairs == [
        dict(zip(COLUMNS, (1, 2, "1.jpg", "2.jpg", "002.bowl", "003.cone", 0), strict=True))
    ]


def test_distances_are_the_librarys(find: Find, scenes: list[Image.Image]) -> None:
    arrays = [as_packed(scene, "JPEG", quality=quality) for scene in scenes[:3] for quality in (95, 50, 20)]
    hashes = [imagehash.phash(Image.fromarray(array), hash_size=16) for array in arrays]
    expected = [(i, j, hashes[i] - hashes[j]) for i in range(9) for j in range(i + 1, 9) if i // 3 == j // 3]
    assert [(row["image"], row["other"], row["distance"]) for row in find(arrays).pairs] == expected


def test_of_three_copies_each_two_are_a_pair_in_order(find: Find, scenes: list[Image.Image]) -> None:
    first, second = as_packed(scenes[0]), as_packed(scenes[1])
    assert numbers(find([first, second, first, second, first])) == [(0, 2), (0, 4), (1, 3), (2, 4)]


def test_images_of_one_shade_are_counted_and_compared_with_none(find: Find, scenes: list[Image.Image]) -> None:
    """Their hashes would be the same, though one is black and another is white; the numbers of others stay theirs."""
    black, grey, white = (np.full((SIDE, 90, 3), shade, np.uint8) for shade in (0, 100, 255))
    scene = as_packed(scenes[0])
    found = find([black, scene, grey, white, white, scene])
    assert (numbers(found), found.images, found.faint) == ([(1, 5)], 6, 4)


def test_images_that_are_all_faint_make_no_pairs(find: Find) -> None:
    assert find([np.zeros((SIDE, SIDE, 3), np.uint8)] * 2 + [np.ones((SIDE, SIDE, 3), np.uint8)] * 8).pairs == []


def test_of_photographs_the_copies_that_one_sees_are_found(tmp_path: Path, stage: Stage) -> None:
    """Three mice and two bicycles are in the official archive twice, most of them mirrored."""
    packed_photographs(("computer-mouse", "touring-bike", "backpack"), tmp_path / "processed", stage)
    found = find_near_duplicates(tmp_path / "processed", stage)
    assert [(str(row["path"])[-12:-4], str(row["other_path"])[-12:-4]) for row in found.pairs] == [
        ("047_0003", "047_0084"),
        ("047_0005", "047_0085"),
        ("047_0007", "047_0086"),
        ("224_0011", "224_0098"),
        ("224_0044", "224_0088"),
    ]


def test_copies_of_photographs_are_found_and_nothing_else(find: Find, tmp_path: Path, stage: Stage) -> None:
    """Projectors, mostly black or white boxes on white, each rescaled and encoded anew."""
    folder = tmp_path / "photographs"
    packed_photographs(("video-projector", "backpack"), folder, stage)
    index, pixels = Index.read(folder), np.fromfile(folder / PIXELS_FILE, np.uint8)
    arrays = [index.image(pixels, number) for number in np.flatnonzero(index.labels == 1).tolist()]
    copies = [as_packed(rescaled(Image.fromarray(array), 0.9), "JPEG", quality=75) for array in arrays]
    assert numbers(find([*arrays, *copies])) == [(n, n + len(arrays)) for n in range(len(arrays))]
