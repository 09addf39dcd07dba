"""What an image looks like, in 256 bits: the perceptual hashes of an image and of its mirror image."""

from dataclasses import dataclass

import imagehash
import numpy as np
from PIL import Image, ImageOps

# 64 bits, the library's default, are too few for photographs of products on white: among 14 categories of Caltech-256
# they take two unlike motorbikes for the same (distance 0), and a mouse almost for a keyboard (distance 6).
_SIDE = 16  # frequencies along each side that are compared, one bit each
_DECODED = 4 * _SIDE  # pixels along each side of what `phash` computes them from
WORDS = _SIDE * _SIDE // 64
"""Of 64 bits, in a hash."""

LEAST_CONTRAST = 5.0
"""Standard deviation, of 255 shades, below which an image has no hash.

Fainter patterns drown in the noise of encoding: of real photographs whose contrast was lowered to 5 shades, JPEG at
quality 90 moves more than 20 bits in 1 of 100, and at 3 shades more than 28; and all images of one shade have the same
bits, whatever the shade. Of the 1,545 photographs of 14 categories of Caltech-256 the faintest has 5.7 shades, of the
1,000 rendered ones of the sample 6.0.
"""


@dataclass(frozen=True)
class Hashes:
    """Perceptual hashes of one image; they differ in as many bits as the images differ in coarse structure."""

    image: np.ndarray
    """(`WORDS`,) uint64."""
    mirrored: np.ndarray
    """Of the image flipped left to right, as training shows it half of the time; (`WORDS`,) uint64."""


def perceptual_hashes(pixels: np.ndarray) -> Hashes | None:
    """Return the hashes of an image, which heed neither colour nor proportions; None below `LEAST_CONTRAST`.

    Args:
        pixels: (height, width, 3) uint8, RGB.
    """
    grey = Image.fromarray(pixels).convert("L")
    # As `phash` would do, which then leaves it as it is: once is enough for an image and its mirror image.
    small = grey.resize((_DECODED, _DECODED), Image.Resampling.LANCZOS)
    if np.asarray(small).std() < LEAST_CONTRAST:
        return None
    return Hashes(_packed(small), _packed(ImageOps.mirror(small)))


def _packed(small: Image.Image) -> np.ndarray:
    return np.packbits(imagehash.phash(small, hash_size=_SIDE).hash).view(np.uint64)
