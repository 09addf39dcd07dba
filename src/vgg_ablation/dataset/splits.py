"""Random splits of each category into training, validation and test images (appendix B)."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from vgg_ablation.errors import StageError
from vgg_ablation.files import read_table, write_table
from vgg_ablation.images.index import INDEX_FILE, PARTS, SPLITS_FILE, TEST, TRAIN, VALIDATION
from vgg_ablation.runtime.settings import DataSettings


def validation_per_class(settings: DataSettings) -> int:
    """Return the validation images a category: at least one, and at least one is left to train on."""
    return min(max(1, round(settings.train_per_class * settings.validation_fraction)), settings.train_per_class - 1)


def require_enough(images: Mapping[str, int], train_per_class: int) -> None:
    """Check the number of images of each category.

    Raises:
        StageError: a category has too few to leave one for the test.
    """
    for category, count in images.items():
        if count <= train_per_class:
            raise StageError(
                f"category {category} has {count} usable images; data.train_per_class = {train_per_class} needs at "
                f"least {train_per_class + 1}, one of them to test on"
            )


def draw_splits(categories: Sequence[str], settings: DataSettings) -> list[list[str]]:
    """Return for each split the part (`PARTS`) of each image, whose official category names are given.

    A category's draw depends on the seed, the split's number, the category's official number and its number of images
    alone: a study of other categories or more splits has the same.

    Raises:
        StageError: as `require_enough`.
    """
    require_enough(Counter(categories), settings.train_per_class)
    held_out = validation_per_class(settings)
    names = np.array(categories)
    splits = []
    for split in range(settings.splits):
        parts = np.full(len(names), TEST, object)
        for category in dict.fromkeys(categories):
            images = np.flatnonzero(names == category)
            number = int(category.split(".")[0])
            drawn = images[np.random.default_rng([settings.seed, split, number]).permutation(len(images))]
            parts[drawn[: settings.train_per_class]] = TRAIN
            parts[drawn[:held_out]] = VALIDATION
        splits.append(parts.tolist())
    return splits


def write_splits(folder: Path, settings: DataSettings) -> dict[str, int]:
    """Draw the splits of the images packed in `folder`, write their table there; return the images of each part.

    The table has the columns `image`, `path`, `split_0`, ...; every split has as many images of a part.

    Raises:
        StageError: as `require_enough`.
    """
    index = read_table(folder / INDEX_FILE)
    splits = draw_splits(index["category"], settings)
    table = {"image": index["image"], "path": index["path"]}
    table |= {f"split_{number}": parts for number, parts in enumerate(splits)}
    rows = (dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True))
    write_table(folder / SPLITS_FILE, list(table), rows)
    return {part: splits[0].count(part) for part in PARTS}
