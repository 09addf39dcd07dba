"""Splits against closed forms: sizes of parts, and draws that depend on their own category alone."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from vgg_ablation.dataset.splits import draw_splits, write_splits
from vgg_ablation.errors import StageError
from vgg_ablation.files import write_table
from vgg_ablation.images.index import INDEX_COLUMNS, INDEX_FILE, TEST, TRAIN, VALIDATION, read_splits
from vgg_ablation.runtime.settings import DataSettings

SPARE = st.lists(st.integers(1, 9), min_size=2, max_size=4)  # a category's images beyond `train_per_class`
SEEDS = st.integers(0, 2**32)


def categories(sizes: dict[str, int]) -> list[str]:
    return [category for category, size in sizes.items() for _ in range(size)]


def named(*sizes: int) -> dict[str, int]:
    return {f"{3 * number + 1:03d}.thing-{number}": size for number, size in enumerate(sizes)}


def settings(train_per_class: int = 5, fraction: float = 0.2, splits: int = 3, seed: int = 0) -> DataSettings:
    return DataSettings(
        source="sample", categories="all", clutter=False, train_per_class=train_per_class,
        validation_fraction=fraction, splits=splits, seed=seed,
    )  # fmt: skip


@examples(max_examples=30)
@given(spare=SPARE, train_per_class=st.integers(2, 12), fraction=st.floats(0.01, 0.99), seed=SEEDS)
def test_each_category_gives_as_many_images_to_training_and_validation(
    spare: list[int], train_per_class: int, fraction: float, seed: int
) -> None:
    sizes = named(*(train_per_class + more for more in spare))
    held_out = min(max(1, round(fraction * train_per_class)), train_per_class - 1)
    expected = {TRAIN: train_per_class - held_out, VALIDATION: held_out}
    names = np.array(categories(sizes))
    for parts in draw_splits(names.tolist(), settings(train_per_class, fraction, 2, seed)):
        for more, category in zip(spare, sizes, strict=True):
            part, count = np.unique(np.array(parts)[names == category], return_counts=True)
            assert dict(zip(part, count, strict=True)) == expected | {TEST: more}


@examples(max_examples=30)
@given(spare=SPARE, seed=SEEDS, data=st.data())
def test_a_draw_depends_on_seed_split_category_and_its_images_alone(
    spare: list[int], seed: int, data: st.DataObject
) -> None:
    """A study of fewer categories or splits has the same splits."""
    sizes = named(*(5 + more for more in spare))
    some = data.draw(st.lists(st.sampled_from(list(sizes)), min_size=1, unique=True).map(sorted))
    names = categories(sizes)
    every = draw_splits(names, settings(splits=3, seed=seed))
    fewer = draw_splits(categories({name: sizes[name] for name in some}), settings(splits=2, seed=seed))
    assert fewer == [[part for name, part in zip(names, parts, strict=True) if name in some] for parts in every[:2]]


def test_every_image_is_as_likely_to_be_tested_on() -> None:
    drawn = np.array(draw_splits(categories(named(10, 10)), settings(5, splits=100)))
    tested = (drawn == TEST).sum(axis=0)
    assert np.abs(tested - 50).max() <= 5 * 5  # five standard deviations of a binomial (100, 1/2)
    assert len(np.unique(tested)) > 3


def test_a_category_with_too_few_images_is_named_with_what_it_needs() -> None:
    with pytest.raises(StageError, match=r"^category 004\.thing-1 has 5 usable images; .* needs at least 6"):
        draw_splits(categories(named(9, 5)), settings(5))


def test_the_table_names_each_image_by_number_and_path_and_is_read_as_it_was_written(tmp_path: Path) -> None:
    """The paper's protocol: 60 images a category, a fifth of them for validation."""
    names = categories(named(61, 63))
    rows = [(n, f"{name}/{n}.jpg", name, 0, 9, 9, 0, "") for n, name in enumerate(names)]
    write_table(tmp_path / INDEX_FILE, INDEX_COLUMNS, (dict(zip(INDEX_COLUMNS, row, strict=True)) for row in rows))
    assert write_splits(tmp_path, settings(60)) == {"train": 96, "validation": 24, "test": 4}
    table = read_splits(tmp_path, images=124)
    assert (table["image"], table["path"]) == (list(map(str, range(124))), [row[1] for row in rows])
    assert [table[f"split_{number}"] for number in range(3)] == draw_splits(names, settings(60))
