"""One image file decoded as a viewer shows it: upright, in sRGB, over white; rescaled to the size that is packed."""

import io
import threading
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import ExifTags, Image, ImageCms

from vgg_ablation.dataset.signatures import HEAD, image_format
from vgg_ablation.text import printable

LARGEST_IMAGE = 100_000_000  # pixels; the largest of Caltech-256 has about 40 million
LARGEST_ASPECT = 20  # longer side over shorter; bounds the packed size of an image at so many times side x side pixels
_ONE_AT_A_TIME = 16_000_000  # pixels; larger images wait for each other, so that memory does not grow with the cores
_LONGEST_REASON = 200  # characters
_PHOTOMETRIC, _BITS = 262, 258  # tags of TIFF
_MIN_IS_WHITE = 0

_NOT_READ = {
    "EPS",  # Pillow runs Ghostscript, which runs the file
    "IPTC",  # holds a file of any kind, which Pillow opens without limits
    "BUFR", "GRIB", "HDF5", "MPEG", "WMF",  # recognised by Pillow, and not decoded
}  # fmt: skip

_larger = threading.Lock()
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Operation that turns an image upright, by the orientation in its EXIF metadata."""


@dataclass(frozen=True)
class Decoded:
    """An image as it is packed."""

    pixels: np.ndarray
    """(height, width, 3) uint8, sRGB, smallest side S."""
    greyscale: bool
    """True if the file had one channel."""
    profile: str
    """The fate of the file's colour profile: `converted`, `ignored`; empty without one."""
    format: str
    """Pillow's name of the file's format: `JPEG`."""
    size: tuple[int, int]
    """Width and height of the file's image in pixels, before it is turned."""


class UnusableError(Exception):
    """This file is not a usable image; the message says why, and begins with the kind of reason."""


@cache
def formats() -> tuple[str, ...]:
    """Return Pillow's names of the formats that are read: all that Pillow decodes by itself."""
    Image.init()
    return tuple(name for name in Image.ID if name not in _NOT_READ)


@cache
def suffixes() -> frozenset[str]:
    """Return the endings of file names that Pillow registers for these formats: `.jpg`."""
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in formats())


def decode(content: bytes, side: int) -> Decoded:
    """Decode an image file to sRGB, turn it upright, and rescale it isotropically to a smallest side (section 3.1).

    Of an animation it is the first frame. What is transparent shows white. A colour profile that is broken, or of
    another colour space than the image, is ignored.

    Raises:
        UnusableError: it is no image, of an unsupported format, damaged or cut short, larger than `LARGEST_IMAGE`, or
            more elongated than `LARGEST_ASPECT`, or its values are of 32 bits.
    """
    try:
        with Image.open(io.BytesIO(content), formats=formats()) as image:
            _require_usable(image)
            with _larger if image.width * image.height > _ONE_AT_A_TIME else nullcontext():
                return _decode_open(image, side)
    except (UnusableError, MemoryError):  # what is decoded is bounded: no fault of the file
        raise
    except Image.UnidentifiedImageError:
        raise UnusableError(_unidentified(content[:HEAD])) from None
    except Image.DecompressionBombError as error:
        raise UnusableError(f"too large: {error}") from None
    except Exception as error:  # Pillow's decoders raise errors of many kinds on hostile bytes
        said = printable(str(error) or type(error).__name__)
        raise UnusableError(f"undecodable: {said[:_LONGEST_REASON]}") from None


def _unidentified(head: bytes) -> str:
    name = image_format(head)
    return f"unsupported image format, or damaged header: {name}" if name else "not an image"


def _require_usable(image: Image.Image) -> None:
    if image.width * image.height > LARGEST_IMAGE:
        raise UnusableError(f"too large: {image.width} x {image.height} pixels")
    if max(image.size) > LARGEST_ASPECT * min(image.size):
        raise UnusableError(f"too elongated: {image.width} x {image.height} pixels")
    if image.mode in ("I", "F"):
        kind = "integers" if image.mode == "I" else "floating-point numbers"
        raise UnusableError(f"32-bit {kind} (mode {image.mode}): the range of brightness is unknown")


def _decode_open(image: Image.Image, side: int) -> Decoded:
    scale, size = side / min(image.size), image.size
    width, height = (max(side, round(length * scale)) for length in size)
    greyscale = image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I;16")
    # A JPEG decodes straight to a half, quarter or eighth; twice the size wanted leaves the filter enough.
    image.draft(None, (2 * width, 2 * height))
    colours, alpha = _split(image)
    rgb, profile = _to_srgb(colours, image.info.get("icc_profile"))
    if alpha:
        white = Image.new("RGB", rgb.size, "white")
        white.paste(rgb, mask=alpha)
        rgb = white
    rgb = rgb.resize((width, height), Image.Resampling.BILINEAR)
    try:
        turn = _UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # unreadable metadata make no photograph unusable; of many kinds too
        turn = None
    pixels = np.asarray(rgb if turn is None else rgb.transpose(turn))
    return Decoded(pixels, greyscale, profile, image.format or "", size)


def _split(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Return an image's colours in mode L, RGB or CMYK, and its opacity in mode L; None if all is opaque."""
    if image.mode.startswith("I;16"):
        return _from_16_bits(image)
    key = image.info.get("transparency")
    if image.mode == "RGB" and isinstance(key, tuple) and ";16" in str(getattr(image, "tile", "")):
        image.info["transparency"] = tuple(value >> 8 for value in key)  # Pillow reduces the pixels and not the key
    if image.has_transparency_data:
        both = image.convert("LA").convert("RGBA") if image.mode == "La" else image.convert("RGBA")
        grey = image.mode in ("1", "L", "LA", "La")
        return (both.getchannel("R") if grey else both.convert("RGB")), both.getchannel("A")
    if image.mode in ("L", "RGB", "CMYK"):
        image.load()
        return image, None
    return image.convert("L" if image.mode in ("1", "LA") else "RGB"), None


def _from_16_bits(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    values, bits, inverted = np.asarray(image).astype(np.uint16), 16, False
    if image.format == "TIFF":  # Pillow keeps the values of 12 bits, and those whose least is white, as they are
        tags = image.tag_v2  # pyright: ignore[reportAttributeAccessIssue]
        bits, inverted = min(tags.get(_BITS, (16,))[0], 16), tags.get(_PHOTOMETRIC) == _MIN_IS_WHITE
    eight = (values >> (bits - 8)).astype(np.uint8)
    key = image.info.get("transparency")
    alpha = Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8)) if isinstance(key, int) else None
    return Image.fromarray(255 - eight if inverted else eight), alpha


def _to_srgb(colours: Image.Image, profile: bytes | None) -> tuple[Image.Image, str]:
    """Return colours as sRGB, and what became of their ICC profile."""
    if not profile:
        return colours.convert("RGB"), ""
    try:
        given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if getattr(given.profile, "xcolor_space", "").strip() == "RGB" and colours.mode == "L":
            colours = colours.convert("RGB")
        converted = ImageCms.profileToProfile(colours, given, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except Exception:  # of a profile, hostile bytes too; viewers then show the colours as they are
        return colours.convert("RGB"), "ignored"
    assert converted is not None  # noqa: S101 - as it was not asked to be done in place
    return converted, "converted"
