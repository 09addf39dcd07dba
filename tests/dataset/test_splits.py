"""Splits against closed forms: sizes of parts, and draws that depend on their own category alone."""

from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from vgg_ablation.dataset.splits import FOLDERS, draw_splits, require_split, write_splits
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


def settings(
    train_per_class: int | Literal["folders"] = 5, fraction: float = 0.2, splits: int = 3, seed: int = 0
) -> DataSettings:
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
    none = dict.fromkeys((row[1] for row in rows), "")
    assert write_splits(tmp_path, settings(60), none) == {
        "train": 96,
        "validation": 24,
        "test": 4,
    }
    table = read_splits(tmp_path, images=124)
    assert (table["image"], table["path"]) == (list(map(str, range(124))), [row[1] for row in rows])
    assert [table[f"split_{number}"] for number in range(3)] == draw_splits(names, settings(60))


# Splits that the source's folders give.


@pytest.mark.parametrize("test", [TEST, VALIDATION])
def test_with_two_folders_the_other_one_is_the_test_and_validation_images_are_drawn_from_the_training_images(
    test: str,
) -> None:
    names = categories({"cat": 15, "dog": 15})
    given = ([TRAIN] * 10 + [test] * 5) * 2
    splits = draw_splits(names, settings(FOLDERS, 0.2), given)
    for parts in splits:
        assert [n for n, part in enumerate(parts) if part == TEST] == [
            n for n, part in enumerate(given) if part == test
        ]
        assert Counter(zip(names, parts, strict=True)) == {
            (name, part): number for name in ("cat", "dog") for part, number in ((TRAIN, 8), (VALIDATION, 2), (TEST, 5))
        }
    assert splits[0] != splits[1]


def test_with_three_folders_all_splits_are_theirs() -> None:
    given = [TRAIN, VALIDATION, TEST] * 2
    assert draw_splits(categories({"cat": 3, "dog": 3}), settings(FOLDERS), given) == [given] * 3


@pytest.mark.parametrize(
    ("train_per_class", "given", "message"),
    [
        (2, [TRAIN, TRAIN, TEST], r"^data\.train_per_class = 2: the source has a split of its own, .* test, train"),
        (FOLDERS, ["", "", ""], r"^data\.train_per_class = folders: the source has no folders train and test"),
        (FOLDERS, [TRAIN, TEST, TEST], "^category cat has 1 usable images in the folder for train; at least 2"),
        (FOLDERS, [TRAIN, TRAIN, TRAIN, VALIDATION], None),
    ],
)
def test_a_split_that_the_source_cannot_give_is_refused(
    train_per_class: int | Literal["folders"], given: list[str], message: str | None
) -> None:
    parts = {str(number): part for number, part in enumerate(given)}
    with pytest.raises(StageError, match=message) if message else nullcontext():
        require_split(parts, dict.fromkeys(parts, "cat"), settings(train_per_class))


def test_a_category_without_a_number_is_drawn_by_its_name_alone() -> None:
    alone = draw_splits(categories({"dog": 9, "zebra": 9}), settings())
    more = draw_splits(categories({"cat": 9, "dog": 9, "zebra": 9}), settings())
    assert alone == [parts[9:] for parts in more]
    assert alone[0][:9] != alone[0][9:]
