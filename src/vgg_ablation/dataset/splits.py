"""Splits of each category into training, validation and test images: random (appendix B), or those of folders."""

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from vgg_ablation.errors import StageError
from vgg_ablation.files import read_table, write_table
from vgg_ablation.images.index import INDEX_FILE, PARTS, SPLITS_FILE, TEST, TRAIN, VALIDATION
from vgg_ablation.runtime.settings import DataSettings

FOLDERS = "folders"
"""Value of `data.train_per_class`: the source's folders give the split."""


def validation_images(number: int, fraction: float) -> int:
    """Return how many of `number` images are for validation: at least one, and at least one is left to train on."""
    return min(max(1, round(number * fraction)), number - 1)


def least_images(given: Collection[str]) -> dict[str, int]:
    """Return how many images a category needs in the folder for each part, if folders give these parts of a split."""
    trained, tested = (1, TEST) if len(given) == len(PARTS) else (2, TEST if TEST in given else VALIDATION)
    return {TRAIN: trained, tested: 1}


def require_split(parts: Mapping[str, str], categories: Mapping[str, str], settings: DataSettings) -> None:
    """Check that the source gives as many images, or the split, as `settings` ask for.

    Args:
        parts: part of each image by path, empty where folders give none.
        categories: category of each image by path.
        settings: settings of the images.

    Raises:
        StageError: it does not.
    """
    given = sorted(set(parts.values()) - {""})
    if settings.train_per_class != FOLDERS:
        if given:
            raise StageError(
                f"data.train_per_class = {settings.train_per_class}: the source has a split of its own, in folders for "
                f"{', '.join(given)}; use it with data.train_per_class = {FOLDERS}, or name a source without it"
            )
        require_enough(Counter(categories.values()), settings.train_per_class)
        return
    if not given:
        raise StageError(
            f"data.train_per_class = {FOLDERS}: the source has no folders train and test, or train and val, that hold "
            "its categories; give a number of images"
        )
    counts = Counter((categories[path], part) for path, part in parts.items())
    for category in sorted(set(categories.values())):
        for part, least in least_images(given).items():
            if counts[category, part] < least:
                raise StageError(
                    f"category {category} has {counts[category, part]} usable images in the folder for {part}; at "
                    f"least {least} are needed; leave it out of data.categories"
                )


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


def draw_splits(
    categories: Sequence[str], settings: DataSettings, given: Sequence[str] | None = None
) -> list[list[str]]:
    """Return for each split the part (`PARTS`) of each image.

    A category's draw depends on the seed, the split's number, the category's number, or name if it has none, and its
    number of images alone: a study of other categories or more splits has the same.

    Args:
        categories: name of the category of each image.
        settings: settings of the images.
        given: part of each image by the source's folders, if these are the split; only validation images are drawn,
            and only if the folders have none besides the test images.

    Raises:
        StageError: as `require_enough`.
    """
    names = np.array(categories)
    if settings.train_per_class != FOLDERS:
        require_enough(Counter(categories), settings.train_per_class)
    if given and TEST not in given:
        given = [TEST if part == VALIDATION else part for part in given]
    if given and VALIDATION in given:
        return [list(given)] * settings.splits
    splits = []
    for split in range(settings.splits):
        parts = np.full(len(names), TEST, object) if given is None else np.array(given, object)
        for category in dict.fromkeys(categories):
            images = np.flatnonzero((names == category) & ((given is None) | (parts == TRAIN)))
            drawn = images[np.random.default_rng([settings.seed, split, _number(category)]).permutation(len(images))]
            training = len(images) if settings.train_per_class == FOLDERS else settings.train_per_class
            parts[drawn[:training]] = TRAIN
            parts[drawn[: validation_images(training, settings.validation_fraction)]] = VALIDATION
        splits.append(parts.tolist())
    return splits


def _number(category: str) -> int:
    """Return the number in a category's name, `003.backpack`; else one made of the name."""
    if found := re.match(r"([0-9]+)\.", category):
        return int(found[1])
    return int.from_bytes(hashlib.sha256(category.encode()).digest()[:8])


def write_splits(folder: Path, settings: DataSettings, parts: Mapping[str, str]) -> dict[str, int]:
    """Split the images packed in `folder`, write the table of splits there; return the images of each part.

    The table has the columns `image`, `path`, `split_0`, ...; every split has as many images of a part.

    Args:
        folder: with the index.
        settings: settings of the images.
        parts: part of each image by path, empty where the source's folders give none.

    Raises:
        StageError: as `require_split`.
    """
    index = read_table(folder / INDEX_FILE)
    used = {path: parts[path] for path in index["path"]}
    require_split(used, dict(zip(index["path"], index["category"], strict=True)), settings)
    given = list(used.values()) if settings.train_per_class == FOLDERS else None
    splits = draw_splits(index["category"], settings, given)
    table = {"image": index["image"], "path": index["path"]}
    table |= {f"split_{number}": parts for number, parts in enumerate(splits)}
    rows = (dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True))
    write_table(folder / SPLITS_FILE, list(table), rows)
    return {part: splits[0].count(part) for part in PARTS}
