"""Packing: images in the order of their paths, and what is left out listed by name with the reason."""

import hashlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image

from vgg_ablation.dataset import pack as pack_module
from vgg_ablation.dataset.archive import list_archive
from vgg_ablation.dataset.decode import Decoded, decode
from vgg_ablation.dataset.layout import Listing, Member, Stray
from vgg_ablation.dataset.pack import choose, pack
from vgg_ablation.errors import StageError
from vgg_ablation.files import read_table
from vgg_ablation.images.index import EXCLUDED_FILE, INDEX_COLUMNS, INDEX_FILE, PIXELS_FILE
from vgg_ablation.images.pixels import Pixels
from vgg_ablation.runtime.console import Console

Draw = Callable[..., Image.Image]
Encode = Callable[..., bytes]
Packing = Callable[..., dict[str, object]]

SIDE = 32


# Choosing.


def listing(*paths: str) -> Listing:
    return Listing(tuple(Member(path, path.split("/", maxsplit=1)[0], 0, 0) for path in paths), ())


STRAYS = tuple(
    Stray(path, path.partition("/")[0] if "/" in path else "", "a link")
    for path in ("003.backpack/x", "005.empty/", "257.clutter/x", "README")
)
CHOICE = Listing(
    listing("001.ak47/1.jpg", "003.backpack/1.jpg", "003.backpack/2.jpg", "257.clutter/1.jpg").members, STRAYS
)


@pytest.mark.parametrize(
    ("names", "clutter", "members", "strays"),
    [
        ("all", True, CHOICE.members, ["003.backpack/x", "005.empty/", "257.clutter/x", "README"]),
        ("all", False, CHOICE.members[:3], ["003.backpack/x", "005.empty/", "README"]),
        (("backpack", "ak47"), False, CHOICE.members[:3], ["003.backpack/x", "README"]),
        (("ak47", "003.backpack"), False, CHOICE.members[:3], ["003.backpack/x", "README"]),
        (("001.ak47", "clutter"), False, CHOICE.members[::3], ["257.clutter/x", "README"]),
    ],
)
def test_categories_are_chosen_by_name_with_or_without_number(
    names: str | tuple[str, ...], clutter: bool, members: tuple[Member, ...], strays: list[str]
) -> None:
    chosen = choose(CHOICE, names, clutter=clutter)
    assert chosen.members == members
    assert [stray.path for stray in chosen.strays] == strays


MANY = listing(*(f"{number:03d}.thing/1.jpg" for number in range(257)), "300.dog/1.jpg")


@pytest.mark.parametrize(
    ("archive", "names", "message"),
    [
        (CHOICE, ("ak47", "bag"), r"'bag' is not in the archive; it holds 3: 001\.ak47, 003\.backpack, 257\.clutter"),
        (MANY, ("dog", "bag"), r"it holds 258: 000\.thing, .*, \.\.\.$"),
        (MANY, ("dog", "thing"), r"'thing' may be 000\.thing or 001\.thing"),
        (CHOICE, ("backpack", "003.backpack"), r"'backpack' and '003\.backpack' are one category, 003\.backpack$"),
        (CHOICE, ("ak47", "empty"), r"005\.empty is empty in the archive"),
    ],
)
def test_a_category_that_is_unknown_ambiguous_twice_or_empty_is_refused(
    archive: Listing, names: tuple[str, ...], message: str
) -> None:
    with pytest.raises(StageError, match=message):
        choose(archive, names, clutter=False)


# Packing.


@pytest.fixture
def packing(tar: Callable[..., Path], tmp_path: Path, console: Console) -> Packing:
    """Return what packs files by their path into the folder `processed`, and returns the counts."""

    def run(files: dict[str, bytes], categories: str | tuple[str, ...] = "all") -> dict[str, object]:
        archive = tar({f"256_ObjectCategories/{path}": content for path, content in files.items()})
        chosen = choose(list_archive(archive), categories, clutter=False)
        return pack(archive, list(chosen.members), SIDE, tmp_path / "processed", console, chosen.strays)

    return run


@pytest.fixture
def files(picture: Draw, encoded: Encode) -> dict[str, bytes]:
    """Five files of three categories, all of them pictures."""
    paths = ["001.ak47/1.jpg", "003.backpack/1.jpg", "003.backpack/2.jpg", "010.beer-mug/1.jpg", "010.beer-mug/2.jpg"]
    return {path: encoded(picture(50 + 3 * seed, 40, seed), "JPEG") for seed, path in enumerate(paths)}


@pytest.fixture
def many(picture: Draw, encoded: Encode) -> dict[str, bytes]:
    """A hundred pictures of two categories."""
    return {f"{1 + seed % 2:03d}.x{seed % 2}/{seed}.png": encoded(picture(40, 36, seed)) for seed in range(100)}


def excluded(tmp_path: Path) -> list[tuple[str, str]]:
    table = read_table(tmp_path / "processed" / EXCLUDED_FILE)
    return list(zip(table["path"], table["reason"], strict=True))


def images(tmp_path: Path) -> dict[str, np.ndarray]:
    """Return the packed images by path, read by the table's columns."""
    values = np.fromfile(tmp_path / "processed" / PIXELS_FILE, np.uint8)
    table = read_table(tmp_path / "processed" / INDEX_FILE)
    found = {}
    for path, *numbers in zip(*(table[name] for name in ("path", "height", "width", "offset")), strict=True):
        height, width, offset = map(int, numbers)
        found[path] = values[offset : offset + 3 * height * width].reshape(height, width, 3)
    assert sum(image.size for image in found.values()) == values.size
    return found


def test_images_are_packed_in_the_order_of_their_paths(
    packing: Packing, files: dict[str, bytes], tmp_path: Path
) -> None:
    packing(dict(reversed(files.items())))
    table, found = read_table(tmp_path / "processed" / INDEX_FILE), images(tmp_path)
    assert (list(table), table["image"], list(found)) == (INDEX_COLUMNS, list("01234"), sorted(files))
    assert table["sha256"] == [hashlib.sha256(files[path]).hexdigest() for path in found]
    assert table["label"] == list("01122")
    for path, image in found.items():
        np.testing.assert_array_equal(image, decode(files[path], SIDE).pixels)


def test_what_is_left_out_is_listed_by_name_with_the_reason_and_counted(
    packing: Packing, files: dict[str, bytes], picture: Draw, encoded: Encode, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """With strays as in the official archive: 198.spider/RENAME2 and 056.dog/greg."""
    monkeypatch.setattr(pack_module, "LARGEST_MEMBER", 50_000)
    same, wide = files["003.backpack/1.jpg"], encoded(picture(1, 5000))
    hostile = {
        "001.ak47/cut.jpg": same[:-200], "001.ak47/empty.jpg": b"", "001.ak47/large.jpg": bytes(50_001),
        "003.backpack/9.jpg": same, "003.backpack/RENAME2": b"mv a b", "003.backpack/greg/1.jpg": same,
        "010.beer-mug/0.jpg": same, "010.beer-mug/line.png": wide,
    }  # fmt: skip
    grey = {"001.ak47/2.jpg": encoded(picture(40, 40).convert("L"), "JPEG", icc_profile=b"broken")}
    counts = packing(files | hostile | grey)
    assert [(path, reason.partition(":")[0]) for path, reason in excluded(tmp_path)] == [
        ("001.ak47/cut.jpg", "undecodable"),
        ("001.ak47/empty.jpg", "not an image"),
        ("001.ak47/large.jpg", "too large"),
        ("003.backpack/9.jpg", "duplicate of 003.backpack/1.jpg"),
        ("003.backpack/RENAME2", "not an image"),
        ("003.backpack/greg/1.jpg", "not directly in its category's folder"),
        ("010.beer-mug/0.jpg", "duplicate of 003.backpack/1.jpg"),
        ("010.beer-mug/line.png", "too elongated"),
    ]
    reasons = {"duplicate": 2, "not an image": 2, "not directly in its category's folder": 1, "too elongated": 1}
    assert counts == {
        "images": 6,
        "categories": ["001.ak47", "003.backpack", "010.beer-mug"],
        "greyscale": 1,
        "profiles_converted": 0,
        "profiles_ignored": 1,
        "excluded": 8,
        "excluded_reasons": {**reasons, "too large": 1, "undecodable": 1},
        "duplicates": 2,
    }
    assert images(tmp_path).keys() == files.keys() | grey.keys()


def test_what_a_file_is_called_does_not_matter(
    packing: Packing, files: dict[str, bytes], picture: Draw, encoded: Encode, tmp_path: Path
) -> None:
    named = {
        "001.ak47/palette.jpg": encoded(picture(40, 36, 200).convert("P"), transparency=bytes(range(100))),
        "001.ak47/photo.txt": encoded(picture(40, 36, 201), "JPEG"),
        '003.backpack/a"b,c <script>=1+1': encoded(picture(40, 36, 202), "GIF"),
    }
    packing(files | named)  # Pillow warns of the transparency: a warning is an error here
    assert images(tmp_path).keys() == files.keys() | named.keys()


@pytest.mark.parametrize("chosen", ["all", ("backpack",)])
def test_fewer_than_two_categories_are_refused(
    packing: Packing, files: dict[str, bytes], chosen: str | tuple[str, ...]
) -> None:
    some = {path: content for path, content in files.items() if path.startswith("003")} if chosen == "all" else files
    with pytest.raises(StageError, match="at least two"):
        packing(some, chosen)


def test_a_category_without_a_usable_image_is_refused_by_name(packing: Packing, files: dict[str, bytes]) -> None:
    """Its label would be left out, and those after it be beyond the net's last output."""
    with pytest.raises(StageError, match=r"002\.bat"):
        packing(files | {"002.bat/1.jpg": b"no image"})


def test_official_photographs_are_all_packed_but_for_a_known_duplicate(
    photographs: Path, tmp_path: Path, console: Console
) -> None:
    """Of these, 252.car-side-101 is greyscale, and 224_0004 and 224_0095 are the same bytes."""
    chosen = list(choose(list_archive(photographs), ("touring-bike", "car-side-101"), clutter=False).members)
    counts = pack(photographs, chosen, SIDE, tmp_path / "processed", console)
    assert excluded(tmp_path) == [("224.touring-bike/224_0095.jpg", "duplicate of 224.touring-bike/224_0004.jpg")]
    assert (counts["images"], counts["greyscale"]) == (len(chosen) - 1, 116)
    assert Pixels.open(tmp_path / "processed").categories == ("224.touring-bike", "252.car-side-101")


def test_an_interrupted_packing_ends_at_once_and_leaves_no_file(
    packing: Packing, many: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted, first, decoded = threading.Event(), many[min(many)], []

    def slow(content: bytes, side: int) -> Decoded:
        decoded.append(content)
        if content != first:  # which alone comes at once, however the threads meet
            interrupted.wait(20)
            time.sleep(0.01)
        return decode(content, side)

    def interrupt(*_: object) -> None:
        interrupted.set()
        raise KeyboardInterrupt

    monkeypatch.setattr(pack_module, "decode", slow)
    monkeypatch.setattr("vgg_ablation.runtime.console.Task.advance", interrupt)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    before = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt) as interruption:  # its traceback keeps the frames, as that of a stage does
        packing(many)
    assert set(threading.enumerate()) == before, interruption
    assert len(decoded) < 30  # of the 64 that were handed out
    assert list((tmp_path / "processed").iterdir()) == []


def test_a_disk_that_cannot_hold_the_pixels_is_named_before_the_first_is_decoded(
    packing: Packing, many: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: Mock(free=100 * SIDE * SIDE * 3 - 1))
    monkeypatch.setattr(pack_module, "decode", lambda *_: pytest.fail("an image was decoded"))
    with pytest.raises(StageError, match="the disk is full"):
        packing(many)
