"""Files that are no sound photograph: each is packed as a viewer would show it, or listed with the reason."""

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
import pandas as pd
import pytest
from PIL import ExifTags, Image, ImageOps, PngImagePlugin, features

from benchmarks.speed import peak_memory
from vgg_ablation.dataset import pack as pack_module
from vgg_ablation.dataset.archive import list_archive
from vgg_ablation.dataset.pack import LARGEST_ASPECT, UnusableError, decode, pack
from vgg_ablation.errors import StageError
from vgg_ablation.images.index import EXCLUDED_FILE, INDEX_FILE
from vgg_ablation.runtime.console import Stage

Draw = Callable[..., Image.Image]
Encode = Callable[..., bytes]
WriteTar = Callable[..., Path]
Packing = Callable[[dict[str, bytes]], dict[str, object]]

SIDE = 32


def rescaled(image: Image.Image) -> np.ndarray:
    """Return an image as RGB with smallest side `SIDE`, as float."""
    scale = SIDE / min(image.size)
    size = (round(image.width * scale), round(image.height * scale))
    return np.asarray(image.convert("RGB").resize(size, Image.Resampling.BILINEAR)).astype(float)


def reason(content: bytes) -> str:
    with pytest.raises(UnusableError) as error:
        decode(content, SIDE)
    return str(error.value)


@pytest.fixture
def packing(tar: WriteTar, tmp_path: Path, stage: Stage) -> Packing:
    """Return what packs files by their path into the folder `processed`, and returns the counts."""

    def run(files: dict[str, bytes]) -> dict[str, object]:
        archive = tar({f"256_ObjectCategories/{path}": content for path, content in files.items()})
        listing = list_archive(archive)
        return pack(archive, list(listing.members), SIDE, tmp_path / "processed", stage, listing.strays)

    return run


@pytest.fixture
def sound(picture: Draw, encoded: Encode) -> dict[str, bytes]:
    return {f"{1 + seed % 2:03d}.x{seed % 2}/{seed}.png": encoded(picture(40, 36, seed)) for seed in range(100)}


# What is no image.


@pytest.mark.parametrize("content", [b"", b"\0", b"mv a b\n" * 100, b"<html>not found</html>", b"%PDF-1.4\n"])
def test_what_is_no_image_is_said_to_be_none(content: bytes) -> None:
    assert reason(content) == "not an image"


def test_hostile_files_are_listed_by_name_beside_the_images_that_are_packed(
    packing: Packing, sound: dict[str, bytes], picture: Draw, encoded: Encode, tmp_path: Path
) -> None:
    cut = encoded(picture(60, 50), "JPEG")[:-200]
    hostile = {"001.x0/empty.jpg": b"", "001.x0/text.jpg": b"mv a b", "002.x1/cut.jpg": cut, "002.x1/line.png": b""}
    hostile["002.x1/line.png"] = encoded(picture(1, 5000))
    packing(sound | hostile)
    excluded = pd.read_csv(tmp_path / "processed" / EXCLUDED_FILE)
    assert [(path, said.split(":")[0]) for path, said in zip(excluded["path"], excluded["reason"], strict=True)] == [
        ("001.x0/empty.jpg", "not an image"),
        ("001.x0/text.jpg", "not an image"),
        ("002.x1/cut.jpg", "undecodable"),
        ("002.x1/line.png", "too elongated"),
    ]


FAILURES = [struct.error, KeyError, EOFError, OverflowError, zlib.error, RecursionError, AssertionError]


@pytest.mark.parametrize("failure", FAILURES)
def test_whatever_a_decoder_fails_with_makes_the_file_unusable(
    picture: Draw, encoded: Encode, monkeypatch: pytest.MonkeyPatch, failure: type[Exception]
) -> None:
    monkeypatch.setattr(Image.Image, "convert", Mock(side_effect=failure))
    assert reason(encoded(picture(40, 36))) == f"undecodable: {failure.__name__}"


@pytest.mark.parametrize("reason", [KeyboardInterrupt, MemoryError])
def test_an_interruption_or_too_little_memory_is_no_fault_of_the_file(
    picture: Draw, encoded: Encode, monkeypatch: pytest.MonkeyPatch, reason: type[BaseException]
) -> None:
    monkeypatch.setattr(Image.Image, "convert", Mock(side_effect=reason))
    with pytest.raises(reason):
        decode(encoded(picture(40, 36)), SIDE)


def test_a_decoders_message_becomes_one_short_line(
    picture: Draw, encoded: Encode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image.Image, "convert", Mock(side_effect=OSError("\x1b[2J\n" * 1000)))
    said = reason(encoded(picture(40, 36)))
    assert said.isprintable()
    assert len(said) < 250


# Sizes.


def png_header(width: int, height: int) -> bytes:
    """Return a PNG that says it has this size, with pixels for one line at most."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(12_000, 12_000), (30_000, 30_000), (2**31 - 1, 2**31 - 1)])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")  # as `pack` does
def test_an_image_said_to_be_huge_is_never_decoded(size: tuple[int, int]) -> None:
    known = peak_memory.reset()
    before = peak_memory.peak_mib()
    assert reason(png_header(*size)).startswith("too large: ")
    after = peak_memory.peak_mib()
    assert not known or before is None or after is None or after - before < 20  # MiB; the least takes 400


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (2, 2 * LARGEST_ASPECT + 1)])
def test_a_line_is_too_elongated(picture: Draw, encoded: Encode, size: tuple[int, int]) -> None:
    assert reason(encoded(picture(*size))) == f"too elongated: {size[0]} x {size[1]} pixels"


def test_one_pixel_becomes_a_square_of_its_colour(encoded: Encode) -> None:
    pixels = decode(encoded(Image.new("RGB", (1, 1), (1, 2, 3))), SIDE).pixels
    np.testing.assert_array_equal(pixels, np.broadcast_to([1, 2, 3], (SIDE, SIDE, 3)))


@pytest.mark.parametrize(("threshold", "together"), [(100, False), (10_000, True)])
def test_large_images_are_decoded_one_at_a_time(
    packing: Packing, sound: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, threshold: int, together: bool
) -> None:
    """And others not: the cores' work is not done in turn."""
    monkeypatch.setattr(pack_module, "_ONE_AT_A_TIME", threshold)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    resize, inside, most = Image.Image.resize, [], []

    def watched(*arguments: object, **options: object) -> Image.Image:
        inside.append(None)
        most.append(len(inside))
        time.sleep(0.001)
        inside.pop()
        return resize(*arguments, **options)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(Image.Image, "resize", watched)
    packing(sound)
    assert (max(most) > 1) is together


# Kinds of files.


def test_what_a_file_is_called_does_not_matter(
    packing: Packing, sound: dict[str, bytes], picture: Draw, encoded: Encode, tmp_path: Path
) -> None:
    named = {
        "001.x0/palette.jpg": encoded(picture(40, 36, 200).convert("P")),
        "001.x0/photo.txt": encoded(picture(40, 36, 201), "JPEG"),
        "002.x1/no-suffix": encoded(picture(40, 36, 202), "GIF"),
    }
    packing(sound | named)
    assert named.keys() <= set(pd.read_csv(tmp_path / "processed" / INDEX_FILE)["path"])


@pytest.mark.parametrize("kind", ["GIF", "TIFF", *(["WEBP"] if features.check("webp") else [])])
def test_of_an_animation_the_first_frame_is_taken(picture: Draw, encoded: Encode, kind: str) -> None:
    frames = [picture(40, 36, seed).quantize(8).convert("RGB") for seed in range(3)]
    options: dict[str, object] = {"lossless": True} if kind == "WEBP" else {}
    moving = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    with Image.open(io.BytesIO(moving)) as image:
        assert getattr(image, "n_frames", 1) == 3
    np.testing.assert_allclose(decode(moving, SIDE).pixels, rescaled(frames[0]), atol=1)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF"])
def test_bytes_after_an_images_end_change_nothing(picture: Draw, encoded: Encode, kind: str) -> None:
    content = encoded(picture(40, 36), kind)
    np.testing.assert_array_equal(decode(content + b"garbage" * 1000, SIDE).pixels, decode(content, SIDE).pixels)


# Orientation.


def oriented(picture: Image.Image, encoded: Encode, kind: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return encoded(picture, kind, exif=exif, **({"quality": 95} if kind == "JPEG" else {}))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_upright_as_viewers_show_it(picture: Draw, encoded: Encode, kind: str, orientation: int) -> None:
    """A JPEG of this size is decoded at a fraction of it."""
    content = oriented(picture(700, 450), encoded, kind, orientation)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    found = decode(content, SIDE).pixels
    assert found.shape[:2] == rescaled(upright).shape[:2]
    assert np.abs(found - rescaled(upright)).max() <= 6


def test_the_index_has_the_size_of_the_upright_image(
    packing: Packing, sound: dict[str, bytes], picture: Draw, encoded: Encode, tmp_path: Path
) -> None:
    packing(sound | {"001.x0/turned.jpg": oriented(picture(80, 40), encoded, "JPEG", 6)})
    index = pd.read_csv(tmp_path / "processed" / INDEX_FILE).set_index("path")
    assert tuple(index.loc["001.x0/turned.jpg", ["height", "width"]]) == (2 * SIDE, SIDE)


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0garbage", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"\xff" * 100])
@pytest.mark.filterwarnings("ignore")  # as `pack` does
def test_metadata_that_cannot_be_read_turn_nothing(picture: Draw, encoded: Encode, exif: bytes) -> None:
    image = picture(80, 40)
    np.testing.assert_array_equal(
        decode(encoded(image, "JPEG", exif=exif), SIDE).pixels, decode(encoded(image, "JPEG"), SIDE).pixels
    )


def test_a_profile_that_is_no_profile_turns_nothing(picture: Draw, encoded: Encode) -> None:
    """Pillow reads metadata out of such a text, and fails with the error of what it tries."""
    text, image = PngImagePlugin.PngInfo(), picture(80, 40)
    text.add_text("Raw profile type exif", "\nexif\n       4\nno digits")
    np.testing.assert_array_equal(
        decode(encoded(image, pnginfo=text), SIDE).pixels, decode(encoded(image), SIDE).pixels
    )


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_unknown_orientation_turns_nothing(picture: Draw, encoded: Encode, orientation: int) -> None:
    image = picture(80, 40)
    np.testing.assert_array_equal(
        decode(oriented(image, encoded, "PNG", orientation), SIDE).pixels, decode(encoded(image), SIDE).pixels
    )


def test_the_official_photograph_taken_on_end_is_packed_upright(photographs: Path) -> None:
    """041_0006 is stored 365 wide and 388 high, to be turned by a quarter."""
    member = next(one for one in list_archive(photographs).members if one.path == "041.coffee-mug/041_0006.jpg")
    content = photographs.read_bytes()[member.offset : member.offset + member.size]
    height, width, _ = decode(content, 365).pixels.shape
    assert (height, width) == (365, 388)


# Before the work, and when it ends early.


def test_an_interrupted_packing_does_not_wait_for_what_is_not_begun(
    packing: Packing, sound: dict[str, bytes], stage: Stage, monkeypatch: pytest.MonkeyPatch
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
        packing(sound)
    assert set(threading.enumerate()) == before, interruption
    assert len(decoded) < 30  # of the 64 that were handed out


def test_an_interrupted_packing_leaves_no_file(
    packing: Packing, sound: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vgg_ablation.runtime.console.Task.advance", Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        packing(sound)
    assert list((tmp_path / "processed").iterdir()) == []


def test_a_disk_that_cannot_hold_the_pixels_is_told_before_the_first_is_decoded(
    packing: Packing, sound: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: Mock(free=100 * SIDE * SIDE * 3 - 1))
    monkeypatch.setattr(pack_module, "decode", lambda *_: pytest.fail("an image was decoded"))
    with pytest.raises(StageError, match="the disk is full"):
        packing(sound)
