"""Near-duplicates among the packed images, and how near is near."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vgg_ablation.data.packed import INDEX_FILE, PIXELS_FILE, Index
from vgg_ablation.near_duplicates.hashes import WORDS, perceptual_hashes
from vgg_ablation.near_duplicates.pairs import ROWS, close_pairs
from vgg_ablation.pipeline.console import Stage
from vgg_ablation.pipeline.files import read_table

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
