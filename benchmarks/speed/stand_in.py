"""A stand-in for the official archive: as many files and categories, and about as many bytes, drawn from a seed.

A few dozen noise pictures are encoded once; each file is one of them with its own number in a JPEG comment. So no two
files are equal, and a gigabyte is written in seconds.
"""

import io
import tarfile
from pathlib import Path
from statistics import NormalDist

import numpy as np
from PIL import Image

FILES = 30_607
"""Files of Caltech-256, clutter included."""
CATEGORIES = 257
_SIDE = 300  # geometric mean of width and height in pixels: median, and standard deviation of its logarithm
_SPREAD = 0.45
_ASPECT = 1.26  # 340 x 270
_ORDINARY = 40  # pictures at the quantiles of that distribution, all equally frequent
_LARGE = ((1600, 1200, 0.01), (2592, 1944, 0.0025), (4000, 3000, 0.0003))  # width, height, share of the files
_GREYSCALE_EVERY = 14  # pictures
_GRAINS = (64, 16, 4, 1)  # of the noise, in pixels
_QUALITY = 87  # makes files of 38 kB on average, as in the official archive
_COMMENT = b"\xff\xfe"  # marker of a JPEG comment


def listing(step: int = 1) -> list[str]:
    """Return the paths in the tar, in the official layout: each `step`-th of all files."""
    return [_path(number) for number in range(0, FILES, step)]


def write(archive: Path, step: int = 1) -> None:
    """Write the stand-in, or each `step`-th file of it, as an uncompressed tar: the same bytes each time."""
    jpegs, shares = pictures()
    drawn = np.random.default_rng(0).choice(len(jpegs), FILES, p=shares)
    with tarfile.open(archive, "w", format=tarfile.USTAR_FORMAT) as tar:
        for number in range(0, FILES, step):
            content = _numbered(jpegs[drawn[number]], number)
            info = tarfile.TarInfo(_path(number))
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def pictures() -> tuple[list[bytes], list[float]]:
    """Return JPEGs, and the share of the files that each makes up."""
    logarithm = NormalDist(np.log(_SIDE), _SPREAD)
    sizes: list[tuple[int, int, float]] = []
    for place in range(_ORDINARY):
        side = np.exp(logarithm.inv_cdf((place + 0.5) / _ORDINARY))
        size = round(side * _ASPECT**0.5), round(side / _ASPECT**0.5)
        sizes.append((*(size if place % 3 else size[::-1]), (1 - sum(share for *_, share in _LARGE)) / _ORDINARY))
    sizes += _LARGE
    jpegs = [
        _encoded(width, height, seed, greyscale=seed % _GREYSCALE_EVERY == 0)
        for seed, (width, height, _) in enumerate(sizes)
    ]
    return jpegs, [share for *_, share in sizes]


def _path(number: int) -> str:
    category, place = divmod(number * CATEGORIES, FILES)
    return f"256_ObjectCategories/{category + 1:03d}.noise/{category + 1:03d}_{place // CATEGORIES + 1:04d}.jpg"


def _numbered(jpeg: bytes, number: int) -> bytes:
    """Return the JPEG with a comment after its start marker."""
    text = f"{number:06d}".encode()
    return jpeg[:2] + _COMMENT + (len(text) + 2).to_bytes(2) + text + jpeg[2:]


def _encoded(width: int, height: int, seed: int, *, greyscale: bool) -> bytes:
    """Return noise of several grain sizes, with a spectrum like a photograph's, as a JPEG."""
    rng = np.random.default_rng(seed)
    weights = np.sqrt(_GRAINS) / np.sqrt(_GRAINS).sum()
    mean = np.zeros((height, width, 3), np.float32)
    for grain, weight in zip(_GRAINS, weights, strict=True):
        coarse = rng.integers(0, 256, (-(-height // grain), -(-width // grain), 3), dtype=np.uint8)
        mean += weight * np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    image = Image.fromarray(mean.astype(np.uint8))
    buffer = io.BytesIO()
    (image.convert("L") if greyscale else image).save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()
