"""Decoding: an image is packed as a viewer would show it, or is unusable for a reason that is named."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import EpsImagePlugin, ExifTags, Image, ImageCms, ImageOps, PngImagePlugin, features

from benchmarks.speed import peak_memory
from vgg_ablation.dataset.archive import members
from vgg_ablation.dataset.decode import LARGEST_ASPECT, UnusableError, decode

Draw = Callable[..., Image.Image]
Encode = Callable[..., bytes]

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


# Transparency, colour profiles and rare modes: the colours that a viewer shows on a white page.

RED = (220, 30, 30)


def colour(content: bytes) -> tuple[int, ...]:
    """Return the one colour of an image."""
    pixels = decode(content, SIDE).pixels
    assert np.ptp(pixels, axis=(0, 1)).max() == 0
    return tuple(pixels[0, 0].tolist())


def plain(mode: str, value: object) -> Image.Image:
    return Image.new(mode, (40, 36), value)  # pyright: ignore[reportArgumentType]


def palette(transparency: int | bytes) -> Image.Image:
    """Return an image of index 1, red, whose palette begins with black."""
    image = plain("P", 1)
    image.putpalette([0, 0, 0, *RED])
    image.info["transparency"] = transparency
    return image


@pytest.mark.parametrize(
    ("image", "kind", "expected"),
    [
        (plain("RGBA", (*RED, 0)), "PNG", (255, 255, 255)),
        (plain("RGBA", (*RED, 255)), "PNG", RED),
        (plain("RGBA", (0, 0, 0, 51)), "PNG", (204, 204, 204)),
        (plain("RGBA", (0, 0, 0, 51)), "TIFF", (204, 204, 204)),
        (plain("LA", (0, 51)), "PNG", (204, 204, 204)),
        (palette(1), "GIF", (255, 255, 255)),
        (palette(0), "GIF", RED),
        (palette(1), "PNG", (255, 255, 255)),
        (palette(bytes([255, 0])), "PNG", (255, 255, 255)),
        (palette(bytes([0, 255])), "PNG", RED),
        *([(plain("RGBA", (0, 0, 0, 0)), "WEBP", (255, 255, 255))] if features.check("webp") else []),
        (plain("RGBA", (0, 0, 0, 0)), "JPEG2000", (255, 255, 255)),
        (plain("RGBA", (0, 0, 0, 0)), "ICO", (255, 255, 255)),
        (plain("RGBA", (0, 0, 0, 0)), "TGA", (255, 255, 255)),
    ],
)
def test_what_is_transparent_shows_white(encoded: Encode, image: Image.Image, kind: str, expected: object) -> None:
    given = image.info.get("transparency")
    assert colour(encoded(image, kind, **({} if given is None else {"transparency": given}))) == expected


@pytest.mark.parametrize(("mode", "value"), [("1", 0), ("L", 7), ("RGB", RED), ("I;16", 7000)])
def test_the_colour_that_a_png_names_as_transparent_shows_white(encoded: Encode, mode: str, value: object) -> None:
    assert colour(encoded(plain(mode, value), transparency=value)) == (255, 255, 255)
    other = {"1": 1, "L": 8, "RGB": (1, 2, 3), "I;16": 0x0800}[mode]
    assert max(colour(encoded(plain(mode, other), transparency=value))) < 255 or mode == "1"


def test_the_transparent_colour_of_sixteen_bits_is_compared_with_the_pixels_it_names() -> None:
    """Pillow writes no such PNG."""
    row = b"\0" + struct.pack(">HHH", 0xDC00, 0x1E00, 0x1E00) * 40
    content = png(40, 36, 16, zlib.compress(row * 36), (b"tRNS", struct.pack(">HHH", 0xDC00, 0x1E00, 0x1E00)))
    assert colour(content) == (255, 255, 255)


def icc(space: bytes, tags: dict[bytes, bytes], connection: bytes = b"XYZ ") -> bytes:
    """Return a colour profile of version 2 (ICC.1:2001-04) for a colour space."""
    start, table, body = 132 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        table += struct.pack(">4sII", name, start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    header = struct.pack(
        ">I4sI4s4s4s12s4s", start + len(body), b"", 0x02400000, b"mntr", space, connection, b"", b"acsp"
    )
    return header.ljust(68, b"\0") + struct.pack(">iii", 63190, 65536, 54061) + bytes(48) + table + body


def curve(gamma: float) -> bytes:
    return struct.pack(">4sIIH", b"curv", 0, 1, round(256 * gamma))


def xyz(*values: float) -> bytes:
    return struct.pack(">4sIiii", b"XYZ ", 0, *(round(65536 * value) for value in values))


WHITE = {b"wtpt": xyz(0.9642, 1.0, 0.8249)}
PRIMARIES = [(0.4360, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141)]  # sRGB's, adapted to D50
GREY_LINEAR = icc(b"GRAY", WHITE | {b"kTRC": curve(1)})
BLUE_RED = icc(
    b"RGB ",
    WHITE
    | {name + b"XYZ": xyz(*values) for name, values in zip([b"b", b"g", b"r"], PRIMARIES, strict=True)}
    | {name + b"TRC": curve(2.2) for name in [b"r", b"g", b"b"]},
)
"""Red and blue exchanged; otherwise nearly sRGB."""


def lut(lightness: list[int]) -> bytes:
    """Return a table from CMYK to Lab (lut8Type): greys of these 16 lightnesses (0 to 255), black fastest."""
    identity = struct.pack(">9i", *(65536 * (n % 4 == 0) for n in range(9)))
    ramp = bytes(range(256))
    grid = b"".join(bytes([value, 128, 128]) for value in lightness)
    return struct.pack(">4sIBBBx", b"mft1", 0, 4, 3, 2) + identity + 4 * ramp + grid + 3 * ramp


INK = icc(b"CMYK", WHITE | {b"A2B0": lut([255, 0] + [255] * 14)}, b"Lab ")
"""Paper is white, black ink is black, and any coloured ink is invisible."""


def test_colours_are_converted_to_srgb_by_a_profile_for_rgb(encoded: Encode) -> None:
    content = encoded(plain("RGB", RED), icc_profile=BLUE_RED)
    np.testing.assert_allclose(colour(content), RED[::-1], atol=8)
    assert decode(content, SIDE).profile == "converted"


def test_a_profile_for_rgb_applies_to_palettes_and_below_transparency(encoded: Encode) -> None:
    np.testing.assert_allclose(
        colour(encoded(palette(bytes([0, 255])), transparency=bytes([0, 255]), icc_profile=BLUE_RED)), RED[::-1], atol=8
    )
    assert colour(encoded(plain("RGBA", (*RED, 0)), icc_profile=BLUE_RED)) == (255, 255, 255)


@pytest.mark.parametrize(("mode", "value"), [("L", 55), ("LA", (55, 255))])
def test_grey_is_converted_by_a_profile_for_grey(encoded: Encode, mode: str, value: object) -> None:
    linear = 55 / 255
    expected = round(255 * (1.055 * linear ** (1 / 2.4) - 0.055))  # IEC 61966-2-1
    content = encoded(plain(mode, value), icc_profile=GREY_LINEAR)
    np.testing.assert_allclose(colour(content), expected, atol=2)
    assert decode(content, SIDE).greyscale


def test_grey_with_a_profile_for_rgb_is_taken_as_equal_red_green_and_blue(encoded: Encode) -> None:
    content = encoded(plain("L", 100), icc_profile=BLUE_RED)
    np.testing.assert_allclose(colour(content), 100, atol=4)
    assert decode(content, SIDE).profile == "converted"


def test_cmyk_is_converted_by_its_profile(encoded: Encode) -> None:
    invisible = encoded(plain("CMYK", (0, 0, 255, 0)), "TIFF", icc_profile=INK)
    assert min(colour(invisible)) >= 254
    assert max(colour(encoded(plain("CMYK", (0, 0, 255, 0)), "TIFF"))) - min(colour(invisible)) < 255
    assert max(colour(encoded(plain("CMYK", (0, 0, 0, 255)), "TIFF", icc_profile=INK))) <= 1


@pytest.mark.parametrize("profile", [b"x", b"\xff" * 500, BLUE_RED[:200], GREY_LINEAR, INK])
def test_a_profile_that_is_broken_or_of_another_colour_space_is_ignored(encoded: Encode, profile: bytes) -> None:
    content = encoded(plain("RGB", RED), icc_profile=profile)
    assert (colour(content), decode(content, SIDE).profile) == (RED, "ignored")


def test_official_photographs_with_adobes_profile_are_converted(photographs: Path) -> None:
    """224_0013 is in Adobe RGB: without conversion its colours are duller."""
    member = next(one for one in members(photographs) if one.path.endswith("/224_0013.jpg"))
    content = photographs.read_bytes()[member.offset :][: member.size]
    image = Image.open(io.BytesIO(content))
    given = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
    assert "Adobe RGB" in ImageCms.getProfileDescription(given)
    converted = ImageCms.profileToProfile(image, given, ImageCms.createProfile("sRGB"))
    assert converted is not None
    found = decode(content, SIDE).pixels
    from_converted, from_ignored = (np.abs(found - as_pillow_does(one)).mean() for one in (converted, image))
    assert from_converted < 1 < from_ignored


@pytest.mark.parametrize(("mode", "said"), [("I", "integers"), ("F", "floating-point")])
def test_values_of_32_bits_are_excluded_by_name(encoded: Encode, mode: str, said: str) -> None:
    assert reason(encoded(plain(mode, 1), "TIFF")).startswith("32-bit ")
    assert said in reason(encoded(plain(mode, 1), "TIFF"))


def grey_tiff(bits: int, photometric: int, row: bytes, order: str = "<") -> bytes:
    """Return a TIFF of 40 x 36 pixels in rows of these bytes: Pillow writes none whose least value is white."""
    data = row * 36
    tags = {256: 40, 257: 36, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: 36, 279: len(data)}
    entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in tags.items())
    mark = b"II*\0" if order == "<" else b"MM\0*"
    directory = struct.pack(f"{order}H", len(tags)) + entries + bytes(4)
    return mark + struct.pack(f"{order}I", 8 + len(data)) + data + directory


@pytest.mark.parametrize(
    ("order", "bits", "photometric", "value", "expected"),
    [
        ("<", 16, 1, 0xC800, 200),
        (">", 16, 1, 0xC800, 200),
        ("<", 16, 0, 0xC800, 55),
        ("<", 12, 1, 0xC80, 200),
        ("<", 8, 1, 200, 200),
        (">", 8, 0, 200, 55),
    ],
)
def test_grey_of_any_depth_is_light_where_the_file_says_so(
    order: str, bits: int, photometric: int, value: int, expected: int
) -> None:
    if bits == 12:
        row = (value << 12 | value).to_bytes(3, "big") * 20
    else:
        row = value.to_bytes(bits // 8, "little" if order == "<" else "big") * 40
    assert colour(grey_tiff(bits, photometric, row, order)) == (expected,) * 3


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [
        ("CMYK", (0, 255, 255, 0), (255, 0, 0)),
        ("YCbCr", (76, 85, 255), (254, 0, 0)),  # ITU-R BT.601
        ("LAB", (137, 208, 195), (255, 0, 0)),  # red in CIELAB: L 53.2, a 80.1, b 67.2
    ],
)
def test_other_colour_spaces_of_tiff_are_converted(
    encoded: Encode, mode: str, value: object, expected: tuple[int, ...]
) -> None:
    np.testing.assert_allclose(colour(encoded(plain(mode, value), "TIFF")), expected, atol=12)


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


NOT_READ = "unsupported image format, or damaged header"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\xff\xd8\xff\xc0\0\x0b\x0c\0\x24\0\x28\1\1\x11\0", "JPEG"),  # of 12 bits
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        (b"\xff\x0a\xfa\x7f", "JPEG XL"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
    ],
)
def test_an_image_of_a_kind_that_is_not_read_is_called_so(content: bytes, kind: str) -> None:
    assert reason(content) == f"{NOT_READ}: {kind}"


@pytest.mark.parametrize("kind", ["AVIF", "JPEG2000", "TIFF", "TGA", "PCX", "PPM", "DDS", "QOI"])
def test_formats_beyond_the_common_ones_are_read(picture: Draw, encoded: Encode, kind: str) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    image = picture(40, 36)
    found = decode(encoded(image, kind), SIDE)
    assert (np.abs(found.pixels - as_pillow_does(image)).mean() < 10, found.format) == (True, kind)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@given(share=st.floats(0, 0.95))
@settings(max_examples=10)
def test_an_image_cut_short_is_unusable(picture: Draw, encoded: Encode, kind: str, share: float) -> None:
    whole = encoded(picture(40, 36), kind)
    assert reason(whole[: int(share * len(whole))])


def png(width: int, height: int, bits: int, data: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """Return a PNG in RGB that claims this size."""
    header = struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0)
    every = ((b"IHDR", header), *chunks, (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in every
    )


@pytest.mark.parametrize("size", [(12_000, 12_000), (30_000, 30_000), (2**31 - 1, 2**31 - 1)])
@AS_PACK_DOES
def test_an_image_said_to_be_huge_is_never_decoded(size: tuple[int, int]) -> None:
    known = peak_memory.reset()
    before = peak_memory.peak_mib()
    assert reason(png(*size, 8, zlib.compress(bytes(1000)))).startswith("too large: ")
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
    assert reason(encoded(picture(40, 40), "EPS")) == f"{NOT_READ}: PostScript"


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
