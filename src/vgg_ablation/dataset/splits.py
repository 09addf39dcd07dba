"""Random splits of each category into training, validation and test images (appendix B)."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from vgg_ablation.errors import StageError
from vgg_ablation.images.index import PARTS, TEST, TRAIN, VALIDATION
from vgg_ablation.runtime.settings import DataSettings


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


def draw_splits(index: pd.DataFrame, settings: DataSettings) -> pd.DataFrame:
    """Return the table of splits: columns `image`, `path`, and `split_0` ... with the part each image falls in.

    A category's draw depends on the seed, the split's number, the category's official number and its number of usable
    images alone, so that a study of other categories or more splits keeps it.

    Raises:
        StageError: as `require_enough`.
    """
    require_enough({str(name): len(rows) for name, rows in index.groupby("category")}, settings.train_per_class)
    table = index[["image", "path"]].copy()
    for split in range(settings.splits):
        parts = pd.Series(TEST, index=index.index)
        for category, rows in index.groupby("category", sort=True).groups.items():
            number = int(str(category).split(".")[0])
            drawn = np.random.default_rng([settings.seed, split, number]).permutation(len(rows))
            parts.loc[rows[drawn[: settings.train_per_class]]] = TRAIN
            parts.loc[rows[drawn[: settings.validation_per_class]]] = VALIDATION
        table[f"split_{split}"] = parts
    return table


def count_parts(splits: pd.DataFrame) -> dict[str, int]:
    """Return how many images each part has, the same in every split."""
    counts = splits["split_0"].value_counts()
    return {part: int(counts[part]) for part in PARTS}
