"""Kinds of files, recognised by their first bytes; names do not matter."""

from typing import Literal

HEAD = 512
"""First bytes of a file that `recognise` needs."""

Kind = Literal["image", "zip", "compressed", "other"]

_IMAGES = (
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"GIF8", "GIF"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"II+\0", "TIFF"),
    (0, b"MM\0+", "TIFF"),
    (8, b"WEBP", "WebP"),
    (4, b"ftypavi", "AVIF"),
    (4, b"ftyphei", "HEIC"),
    (4, b"ftyphev", "HEIC"),
    (4, b"ftypmif1", "HEIC"),
    (4, b"ftypcrx ", "camera raw"),
    (0, b"FUJIFILMCCD-RAW", "camera raw"),
    (0, b"\xff\x0a", "JPEG XL"),
    (4, b"JXL \r\n\x87\n", "JPEG XL"),
    (4, b"jP  \r\n\x87\n", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"8BPS\0", "Photoshop"),
    (0, b"qoif", "QOI"),
    (0, b"DDS ", "DDS"),
    (0, b"%!PS", "PostScript"),
    (0, b"\xc5\xd0\xd3\xc6", "PostScript"),
    (0, b"\xd7\xcd\xc6\x9a", "Windows Metafile"),
    (0, b"<svg", "SVG"),
    (0, b"AT&TFORM", "DjVu"),
    (0, b"\x76\x2f\x31\x01", "OpenEXR"),
    (0, b"#?RADIANCE", "Radiance HDR"),
)
"""Offset and bytes of image formats. Weaker marks, such as the `BM` of BMP, also begin texts."""

_COMPRESSED = ((b"\x1f\x8b", "gzip"), (b"BZh", "bzip2"), (b"\xfd7zXZ\0", "xz"))
"""Compressions whose content may be a tar."""

_OTHERS = (
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\x28\xb5\x2f\xfd", "a file compressed with Zstandard"),
    (b"\x1f\x9d", "a file compressed with compress"),
    (b"\x04\x22\x4d\x18", "a file compressed with LZ4"),
    (b"version https://git-lfs", "a pointer of Git LFS, not the file itself (git lfs pull)"),
    (b"%PDF", "a PDF document"),
    (b"PAR1", "a Parquet table"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x93NUMPY", "a NumPy array"),
)
_WEB_PAGE = (b"<!doctype html", b"<html", b"<?xml", b"<head", b"<body")


def image_format(head: bytes) -> str | None:
    """Return the name of the image format that the first bytes of a file are of; None where they are of none."""
    return next((name for offset, mark, name in _IMAGES if head.startswith(mark, offset)), None)


def recognise(head: bytes) -> tuple[Kind, str] | None:
    """Return the kind of file that begins with `head`, and its name in words; None for a tar or what is unknown."""
    if not head:
        return "other", "an empty file"
    if head[257:262] == b"ustar":
        return None
    if name := image_format(head):
        return "image", f"a single image ({name})"
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip", "a zip archive"
    for mark, name in _COMPRESSED:
        if head.startswith(mark):
            return "compressed", name
    if head.lstrip(b"\xef\xbb\xbf \t\r\n")[:20].lower().startswith(_WEB_PAGE):
        return "other", "a web page, not an archive: such an address is that of a page about the file, or of a log-in"
    return next((("other", name) for mark, name in _OTHERS if head.startswith(mark)), None)
