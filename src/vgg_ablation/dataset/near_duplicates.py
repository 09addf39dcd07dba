"""Pairs of images that are nearly the same: copies that another size, encoding or a mirror hides from a checksum."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import imagehash
import numpy as np
from PIL import Image, ImageOps

from vgg_ablation.files import read_table
from vgg_ablation.images.index import INDEX_FILE, PIXELS_FILE, Index
from vgg_ablation.runtime.console import Stage

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


ROWS = 64
"""Hashes that are compared with all others at once: with 30,000 hashes, 15 MB of differences."""


def close_pairs(hashes: np.ndarray, mirrored: np.ndarray, most: int) -> Iterator[np.ndarray]:
    """Yield the pairs of images at most `most` bits apart, block by block of `ROWS` first images.

    The distance of images i < j is that of hash i from hash j or from mirrored hash j, whichever is smaller.

    Args:
        hashes: of N images, (N, words) uint64.
        mirrored: of their mirror images, (N, words) uint64.
        most: bits.

    Yields:
        (pairs, 3) int64, ascending: i, j and their distance in bits.
    """
    for start in range(0, len(hashes), ROWS):
        rows, later = hashes[start : start + ROWS], (hashes[start:], mirrored[start:])
        # A part of two hashes differs in no more bits than the whole, and in most pairs in too many already.
        near = [np.bitwise_count(rows[:, None, 0] ^ others[None, :, 0]) <= most for others in later]
        first, second = np.nonzero(np.triu(near[0] | near[1], k=1))
        whole = [np.bitwise_count(rows[first] ^ others[second]).sum(axis=1, dtype=np.int64) for others in later]
        distance = np.minimum(*whole)
        yield np.stack([start + first, start + second, distance], axis=1)[distance <= most]


# Chosen by looking at the close pairs of 1,545 photographs, 14 categories of Caltech-256 with 72 pixels a side:
#
#   bits    pairs   what they show
#   0-6     5       the same photograph, in four of them mirrored
#   8-20    2       motorbikes of one series, alike but for paint and lettering, from one studio
#   22-40   28      motorbikes of like form, of one maker or one series; once, a projector from two sides
#   42-66   241     nine in ten are motorbikes whose frames are alike
#   68      23      the first pair of two categories
#
# Copies made of the same photographs lie within 10 bits in 99 of 100 when encoded as JPEG at quality 50 (at most 16),
# 4 when rescaled by 90 % (at most 6), 14 when halved and encoded (at most 24), 20 when brightened by a tenth (at most
# 30). A copy cropped by 2 % a side is some 30 bits away, where motorbikes cannot be told from it: it is not found.
# Of the 1,000 rendered images of the sample no two are closer than 56 bits.
NEAR = 20
"""Bits, of 256, in which the perceptual hashes of near-duplicates differ at most."""

COLUMNS = ["image", "other", "path", "other_path", "category", "other_category", "distance"]


@dataclass(frozen=True)
class Found:
    """What was found among the packed images."""

    pairs: list[dict[str, object]]
    """The pairs of near-duplicates, by `COLUMNS`; ascending in `image` and `other`, which is the larger one."""
    images: int
    """How many images there are."""
    faint: int
    """Those of them that show too little to be compared; see `hashes.LEAST_CONTRAST`."""


def find_near_duplicates(folder: Path, stage: Stage) -> Found:
    """Compare all images that `preprocess` packed into `folder`, and their mirror images, with one another.

    Raises:
        OSError: a file cannot be read.
        StageError: the index is damaged, or does not describe the pixels.
    """
    index = Index.read(folder)
    pixels = np.memmap(folder / PIXELS_FILE, np.uint8, mode="r")
    images = len(index.labels)
    hashed = []
    with stage.task("hashing", images, quiet=10.0) as task:
        for number in range(images):
            hashed.append(perceptual_hashes(index.image(pixels, number)))
            task.advance()
    numbers = [number for number, of_one in enumerate(hashed) if of_one is not None]
    plain, mirrored = (
        np.array([part for of_one in hashed if of_one for part in getattr(of_one, name)], np.uint64).reshape(-1, WORDS)
        for name in ("image", "mirrored")
    )
    paths = read_table(folder / INDEX_FILE)["path"]
    pairs: list[dict[str, object]] = []
    with stage.task("comparing", -(-len(numbers) // ROWS), quiet=10.0) as task:
        for block in close_pairs(plain, mirrored, NEAR):
            for first, second, distance in block.tolist():
                image, other = numbers[first], numbers[second]
                category, other_category = (index.categories[index.labels[number]] for number in (image, other))
                row = (image, other, paths[image], paths[other], category, other_category, distance)
                pairs.append(dict(zip(COLUMNS, row, strict=True)))
            task.advance()
    return Found(pairs, images, images - len(numbers))
