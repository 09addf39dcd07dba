"""Decoding and packing: files are packed as a viewer would show them, or listed by name with the reason."""

import hashlib
import io
import itertools
import os
import struct
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import EpsImagePlugin, ExifTags, Image, ImageOps, PngImagePlugin, features

from benchmarks.speed import peak_memory
from vgg_ablation.dataset import pack as pack_module
from vgg_ablation.dataset.archive import Listing, Member, Stray, list_archive
from vgg_ablation.dataset.pack import LARGEST_ASPECT, UnusableError, choose, decode, pack
from vgg_ablation.errors import StageError
from vgg_ablation.files import read_table
from vgg_ablation.images.index import EXCLUDED_FILE, INDEX_COLUMNS, INDEX_FILE, PIXELS_FILE
from vgg_ablation.images.pixels import Pixels
from vgg_ablation.runtime.console import Console

Draw = Callable[..., Image.Image]
Encode = Callable[..., bytes]
Packing = Callable[..., dict[str, object]]

SIDE = 32
AS_PACK_DOES = pytest.mark.filterwarnings("ignore")  # Pillow's of odd metadata


def as_pillow_does(image: Image.Image, side: int = SIDE) -> np.ndarray:
    """Return an image as RGB with smallest side `side`, by Pillow's own way of keeping proportions."""
    rgb = image.convert("RGB")
    scale = side / min(rgb.size)
    size = tuple(side if length == min(rgb.size) else round(length * scale) for length in rgb.size)
    return np.asarray(rgb.resize((size[0], size[1]), Image.Resampling.BILINEAR)).astype(float)


def reason(content: bytes) -> str:
    with pytest.raises(UnusableError) as error:
        decode(content, SIDE)
    return str(error.value)


# One image.


@pytest.mark.parametrize(("mode", "greyscale"), [("1", 1), ("L", 1), ("LA", 1), ("P", 0), ("RGB", 0), ("RGBA", 0)])
def test_a_png_of_any_mode_is_the_rgb_that_pillow_makes_of_it(
    picture: Draw, encoded: Encode, mode: str, greyscale: bool
) -> None:
    content = encoded(picture(90, 50).convert(mode))
    found = decode(content, SIDE)
    np.testing.assert_array_equal(found.pixels, as_pillow_does(Image.open(io.BytesIO(content))))
    assert (found.pixels.dtype, found.greyscale) == (np.uint8, greyscale)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_jpeg_is_within_the_noise_of_one_decoded_in_full(picture: Draw, encoded: Encode, mode: str) -> None:
    content = encoded(picture(700, 450).convert(mode), "JPEG", quality=95)
    assert np.abs(decode(content, SIDE).pixels - as_pillow_does(Image.open(io.BytesIO(content)))).max() <= 6


def test_greyscale_of_sixteen_bits_keeps_its_shades(encoded: Encode) -> None:
    shades = np.linspace(0, 65535, 64, dtype=np.uint16) * np.ones((48, 1), np.uint16)
    eight = Image.fromarray((shades >> 8).astype(np.uint8))
    assert np.abs(decode(encoded(Image.fromarray(shades)), SIDE).pixels - as_pillow_does(eight)).max() <= 1


@given(width=st.integers(7, 130), height=st.integers(7, 130), side=st.sampled_from([32, 33, 72]))
@example(1, 1, 33)
@settings(max_examples=20)
def test_the_smallest_side_is_exact_and_the_proportions_are_kept(
    picture: Draw, encoded: Encode, width: int, height: int, side: int
) -> None:
    found_height, found_width, _ = decode(encoded(picture(width, height)), side).pixels.shape
    assert min(found_height, found_width) == side
    assert abs(found_width - side * width / min(width, height)) <= 0.5
    assert abs(found_height - side * height / min(width, height)) <= 0.5


@pytest.mark.parametrize("kind", ["GIF", "TIFF", *(["WEBP"] if features.check("webp") else [])])
def test_of_an_animation_the_first_frame_is_taken(picture: Draw, encoded: Encode, kind: str) -> None:
    frames = [picture(40, 36, seed).quantize(8).convert("RGB") for seed in range(3)]
    options: dict[str, object] = {"lossless": True} if kind == "WEBP" else {}
    moving = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    np.testing.assert_allclose(decode(moving, SIDE).pixels, as_pillow_does(frames[0]), atol=1)


def oriented(picture: Image.Image, encoded: Encode, kind: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return encoded(picture, kind, exif=exif, **({"quality": 95} if kind == "JPEG" else {}))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", [*range(1, 9), 65535])
def test_an_image_is_upright_as_viewers_show_it(picture: Draw, encoded: Encode, kind: str, orientation: int) -> None:
    """A JPEG of this size is decoded at a fraction of it."""
    content = oriented(picture(700, 450), encoded, kind, orientation)
    upright = as_pillow_does(ImageOps.exif_transpose(Image.open(io.BytesIO(content))))
    found = decode(content, SIDE).pixels
    assert found.shape == upright.shape
    assert np.abs(found - upright).max() <= 6


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"\xff" * 100, None])
@AS_PACK_DOES
def test_metadata_that_cannot_be_read_turn_nothing(picture: Draw, encoded: Encode, exif: bytes | None) -> None:
    image, text = picture(80, 40), PngImagePlugin.PngInfo()
    text.add_text(
        "Raw profile type exif", "\nexif\n       4\nno digits"
    )  # Pillow fails with whatever reading it raises
    kind, options = ("PNG", {"pnginfo": text}) if exif is None else ("JPEG", {"exif": exif})
    found = decode(encoded(image, kind, **options), SIDE).pixels
    np.testing.assert_array_equal(found, decode(encoded(image, kind), SIDE).pixels)


# Files that are no images, or too large.


@pytest.mark.parametrize("content", [b"", b"\0", b"mv a b\n" * 100, b"<html>not found</html>", b"%PDF-1.4\n"])
def test_what_is_no_image_is_unusable(content: bytes) -> None:
    assert reason(content) == "not an image"


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@given(share=st.floats(0, 0.95))
@settings(max_examples=10)
def test_an_image_cut_short_is_unusable(picture: Draw, encoded: Encode, kind: str, share: float) -> None:
    whole = encoded(picture(40, 36), kind)
    assert reason(whole[: int(share * len(whole))])


def png_header(width: int, height: int) -> bytes:
    """Return a PNG that claims this size, with pixels for one line at most."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(12_000, 12_000), (30_000, 30_000), (2**31 - 1, 2**31 - 1)])
@AS_PACK_DOES
def test_an_image_said_to_be_huge_is_never_decoded(size: tuple[int, int]) -> None:
    known = peak_memory.reset()
    before = peak_memory.peak_mib()
    assert reason(png_header(*size)).startswith("too large: ")
    after = peak_memory.peak_mib()
    assert not known or before is None or after is None or after - before < 20  # MiB; the least takes 400


@pytest.mark.parametrize("size", [(LARGEST_ASPECT, 1), (1, LARGEST_ASPECT)])
def test_an_image_is_too_elongated_beyond_the_largest_aspect(
    picture: Draw, encoded: Encode, size: tuple[int, int]
) -> None:
    assert max(decode(encoded(picture(*size)), SIDE).pixels.shape) == LARGEST_ASPECT * SIDE
    longer = [length + (length > 1) for length in size]
    assert reason(encoded(picture(*longer))) == f"too elongated: {longer[0]} x {longer[1]} pixels"


def test_postscript_is_never_run(picture: Draw, encoded: Encode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("Ghostscript was called"))
    assert reason(encoded(picture(40, 40), "EPS")) == "not an image"


def is_usable_or_unusable(content: bytes) -> bool:
    """Return that decoding ended in one of its two ways: any other error is let through."""
    try:
        return decode(content, SIDE).pixels.shape[2] == 3
    except UnusableError:
        return True


@AS_PACK_DOES
@settings(max_examples=60)
@given(st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0", b"RIFF"]), st.binary())
def test_no_bytes_crash_the_decoder(magic: bytes, content: bytes) -> None:
    assert is_usable_or_unusable(magic + content)


FORMATS = ["JPEG", "PNG", "GIF", "BMP", "TIFF", "JPEG2000", "ICO", "TGA", "PCX", "PPM", "SPIDER", "BLP"]
FORMATS += [name for name in ("WEBP", "AVIF") if features.check(name.lower())]


@AS_PACK_DOES
@pytest.mark.parametrize("kind", FORMATS)
def test_no_damaged_image_crashes_the_decoder(picture: Draw, encoded: Encode, kind: str) -> None:
    mode = {"SPIDER": "F", "BLP": "P", "GIF": "P"}.get(kind, "RGB")
    whole = encoded(picture(40, 36).convert(mode), kind)
    rng = np.random.default_rng(0)
    for _ in range(60):
        damaged = np.frombuffer(whole, np.uint8).copy()
        near = rng.choice([32, 300, damaged.size])  # most formats say at their beginning how the rest is to be read
        places = rng.integers(0, min(near, damaged.size), rng.integers(1, 5))
        damaged[places] = rng.integers(0, 256, len(places))
        assert is_usable_or_unusable(damaged.tobytes()[: rng.integers(1, 2 * damaged.size)])


@pytest.mark.parametrize("failure", [struct.error, RecursionError, OSError])
def test_whatever_a_decoder_fails_with_makes_the_file_unusable(
    picture: Draw, encoded: Encode, monkeypatch: pytest.MonkeyPatch, failure: type[Exception]
) -> None:
    content = encoded(picture(40, 36))
    monkeypatch.setattr(Image.Image, "convert", Mock(side_effect=failure))
    assert reason(content) == f"undecodable: {failure.__name__}"
    monkeypatch.setattr(Image.Image, "convert", Mock(side_effect=failure("\x1b[2J\n" * 1000)))
    said = reason(content)
    assert (said.isprintable(), len(said) < 250) == (True, True)


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
    grey = {"001.ak47/2.jpg": encoded(picture(40, 40).convert("L"), "JPEG")}
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
    interrupted, numbers, decoded = threading.Event(), itertools.count(), []

    def slow(content: bytes, side: int) -> pack_module.Decoded:
        decoded.append(content)
        if next(numbers):  # the first alone comes at once, however the threads meet
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
