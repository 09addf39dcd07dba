"""Near-duplicates: pairs of images that are the same photograph in another size, encoding or mirrored.

A checksum does not find them; perceptual hashes do. Each image has one of 256 bits, and one of its mirror image.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import imagehash
import numpy as np
from PIL import Image, ImageOps

from vgg_ablation.files import read_table
from vgg_ablation.images.index import INDEX_FILE, PIXELS_FILE, Index
from vgg_ablation.runtime import messages
from vgg_ablation.runtime.console import Console

PAIRS_FILE = "near-duplicates.csv"
COLUMNS = ["image", "other", "path", "other_path", "category", "other_category", "distance"]

# 64 bits, the library's default, are too few for photographs of products on white: among 14 categories of Caltech-256
# they give two unlike motorbikes the same hash (distance 0), and a mouse almost that of a keyboard (distance 6).
_SIDE = 16  # frequencies along each side that are compared, one bit each
_DECODED = 4 * _SIDE  # pixels along each side of what `phash` computes them from
WORDS = _SIDE * _SIDE // 64
"""Words of 64 bits in a hash."""

# Chosen by looking at the close pairs of 1,545 photographs, 14 categories of Caltech-256 with 72 pixels a side:
#
#   bits    pairs   what they show
#   0-6     5       the same photograph, in four of them mirrored
#   8-20    2       motorbikes of one series, alike but for paint and lettering, from one studio
#   22-40   28      motorbikes of like form, of one maker or one series; once, a projector from two sides
#   42-66   241     nine in ten are motorbikes whose frames are alike
#   68      23      the first pair of two categories
#
# Copies made of the same photographs are within 10 bits in 99 of 100 when encoded as JPEG at quality 50 (at most 16),
# 4 when rescaled by 90 % (at most 6), 14 when halved and encoded (at most 24), 20 when brightened by a tenth (at most
# 30). A copy cropped by 2 % a side is some 30 bits away, as far as motorbikes of one series: it is not found.
# Of the 1,000 rendered images of the sample no two are closer than 56 bits.
NEAR = 20
"""Bits, of 256, in which the hashes of near-duplicates differ at most."""

LEAST_CONTRAST = 5.0
"""Standard deviation, of 255 shades, below which an image has no hash.

The noise of encoding hides fainter patterns: of real photographs whose contrast was lowered to 5 shades, JPEG at
quality 90 moves more than 20 bits in 1 of 100, and at 3 shades more than 28; and all images of one shade have the same
bits, whatever the shade. Of the 1,545 photographs of 14 categories of Caltech-256 the faintest has 5.7 shades, of the
1,000 rendered ones of the sample 6.0.
"""

ROWS = 64
"""Hashes that are compared with all others at once: with 30,000 hashes, 15 MB of differences."""


@dataclass(frozen=True)
class NearDuplicates:
    """The near-duplicates among packed images."""

    pairs: list[dict[str, object]]
    """By `COLUMNS`; ascending in `image` and `other`, which is the larger number."""
    images: int
    """Number of images."""
    faint: int
    """Those below `LEAST_CONTRAST`, which are compared with none."""


def find_near_duplicates(folder: Path, console: Console) -> NearDuplicates:
    """Compare all images that `preprocess` packed into `folder`, and their mirror images, with one another.

    Raises:
        OSError: a file cannot be read.
        StageError: the index is damaged, or does not describe the pixels.
    """
    index = Index.read(folder)
    pixels = np.memmap(folder / PIXELS_FILE, np.uint8, mode="r")
    images = len(index.labels)
    hashes: dict[int, np.ndarray] = {}
    with console.task(messages.HASHING, images, quiet=10.0) as task:
        for number in range(images):
            if (of_image := perceptual_hashes(index.image(pixels, number))) is not None:
                hashes[number] = of_image
            task.advance()
    numbers = list(hashes)
    plain, mirrored = np.array(list(hashes.values()), np.uint64).reshape(-1, 2, WORDS).swapaxes(0, 1)
    paths = read_table(folder / INDEX_FILE)["path"]
    pairs: list[dict[str, object]] = []
    with console.task(messages.COMPARING, -(-len(numbers) // ROWS), quiet=10.0) as task:
        for block in close_pairs(plain, mirrored, NEAR):
            for first, second, distance in block.tolist():
                image, other = numbers[first], numbers[second]
                category, other_category = (index.categories[index.labels[number]] for number in (image, other))
                row = (image, other, paths[image], paths[other], category, other_category, distance)
                pairs.append(dict(zip(COLUMNS, row, strict=True)))
            task.advance()
    return NearDuplicates(pairs, images, images - len(numbers))


def perceptual_hashes(pixels: np.ndarray) -> np.ndarray | None:
    """Return the hashes of an image and of its mirror image, (2, `WORDS`) uint64; None below `LEAST_CONTRAST`.

    Hashes differ in as many bits as images differ in coarse structure, whatever their colours and proportions.

    Args:
        pixels: (height, width, 3) uint8, RGB.
    """
    grey = Image.fromarray(pixels).convert("L")
    # As `phash` would do, which then leaves it as it is: once is enough for an image and its mirror image.
    small = grey.resize((_DECODED, _DECODED), Image.Resampling.LANCZOS)
    if np.asarray(small).std() < LEAST_CONTRAST:
        return None
    bits = [imagehash.phash(image, hash_size=_SIDE).hash.ravel() for image in (small, ImageOps.mirror(small))]
    return np.packbits(bits, axis=1).view(np.uint64)


def close_pairs(hashes: np.ndarray, mirrored: np.ndarray, most: int) -> Iterator[np.ndarray]:
    """Yield the pairs of images at most `most` bits apart, block by block of `ROWS` first images.

    The distance of images i < j is that of hash i from hash j or from mirrored hash j, whichever is smaller.

    Args:
        hashes: hashes of N images, (N, words) uint64.
        mirrored: hashes of their mirror images, (N, words) uint64.
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
