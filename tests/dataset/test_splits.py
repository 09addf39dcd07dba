from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from vgg_ablation.dataset.splits import count_parts, draw_splits
from vgg_ablation.errors import StageError
from vgg_ablation.images.index import PARTS, TEST, TRAIN, VALIDATION, images_in, read_splits
from vgg_ablation.runtime.settings import DataSettings

SPARE = st.lists(st.integers(1, 9), min_size=2, max_size=4)  # a category's images beyond `train_per_class`
SEEDS = st.integers(0, 2**32)


def index_of(sizes: dict[str, int]) -> pd.DataFrame:
    """Return an index of as many images a category, as `pack` writes it."""
    rows = [(f"{category}/{number}.jpg", category) for category, size in sizes.items() for number in range(size)]
    table = pd.DataFrame(rows, columns=["path", "category"])
    return table.assign(image=range(len(rows)))


def columns(table: pd.DataFrame) -> dict[str, list[str]]:
    """The table as a stage reads it from its file."""
    return {str(name): [str(value) for value in values] for name, values in table.items()}


def named(sizes: list[int]) -> dict[str, int]:
    return {f"{3 * number + 1:03d}.thing-{number}": size for number, size in enumerate(sizes)}


def settings(train_per_class: int = 5, fraction: float = 0.2, splits: int = 3, seed: int = 0) -> DataSettings:
    return DataSettings(
        source="sample", categories="all", clutter=False, train_per_class=train_per_class,
        validation_fraction=fraction, splits=splits, seed=seed,
    )  # fmt: skip


def parts_of(table: pd.DataFrame, split: int, images: pd.Series) -> dict[str, set[int]]:
    return {part: set(images_in(columns(table), split, part)) & set(images) for part in PARTS}


@examples(max_examples=30)
@given(spare=SPARE, train_per_class=st.integers(2, 12), fraction=st.floats(0.01, 0.99), seed=SEEDS)
def test_each_image_falls_in_one_part(spare: list[int], train_per_class: int, fraction: float, seed: int) -> None:
    index = index_of(named([train_per_class + more for more in spare]))
    table = draw_splits(index, settings(train_per_class, fraction, 2, seed))
    for split in range(2):
        numbers = np.concatenate([images_in(columns(table), split, part) for part in PARTS])
        assert sorted(numbers) == list(index["image"])


@examples(max_examples=30)
@given(spare=SPARE, train_per_class=st.integers(2, 12), fraction=st.floats(0.01, 0.99), seed=SEEDS)
def test_each_category_gives_as_many_images_to_training_and_validation(
    spare: list[int], train_per_class: int, fraction: float, seed: int
) -> None:
    index = index_of(named([train_per_class + more for more in spare]))
    table = draw_splits(index, settings(train_per_class, fraction, 1, seed))
    held_out = min(max(1, round(fraction * train_per_class)), train_per_class - 1)
    for more, (_, rows) in zip(spare, index.groupby("category"), strict=True):
        sizes = {part: len(images) for part, images in parts_of(table, 0, rows["image"]).items()}
        assert sizes == {TRAIN: train_per_class - held_out, VALIDATION: held_out, TEST: more}


def test_the_papers_protocol_holds_out_a_fifth_of_sixty() -> None:
    table = draw_splits(index_of(named([80, 100])), settings(60, 0.2))
    assert count_parts(table) == {"train": 96, "validation": 24, "test": 60}


@examples(max_examples=30)
@given(seed=SEEDS)
def test_the_same_seed_draws_the_same_splits(seed: int) -> None:
    index = index_of(named([7, 9]))
    pd.testing.assert_frame_equal(draw_splits(index, settings(seed=seed)), draw_splits(index, settings(seed=seed)))


@examples(max_examples=30)
@given(seed=SEEDS)
def test_more_splits_keep_those_drawn_before(seed: int) -> None:
    index = index_of(named([7, 9]))
    more, fewer = (draw_splits(index, settings(splits=splits, seed=seed)) for splits in (4, 2))
    pd.testing.assert_frame_equal(more[fewer.columns], fewer)


@examples(max_examples=30)
@given(spare=SPARE, seed=SEEDS, data=st.data())
def test_fewer_categories_keep_their_draws(spare: list[int], seed: int, data: st.DataObject) -> None:
    sizes = named([5 + more for more in spare])
    kept = data.draw(st.lists(st.sampled_from(list(sizes)), min_size=1, unique=True).map(sorted))
    whole = draw_splits(index_of(sizes), settings(seed=seed))
    part = draw_splits(index_of({name: sizes[name] for name in kept}), settings(seed=seed))
    columns = ["path", "split_0", "split_1", "split_2"]
    expected = whole[whole["path"].isin(part["path"])]
    assert part[columns].to_numpy().tolist() == expected[columns].to_numpy().tolist()


@pytest.mark.parametrize("what", ["seed", "split", "category"])
def test_another_seed_split_or_category_has_a_draw_of_its_own(what: str) -> None:
    index = index_of({"001.a": 40, "002.b": 40})
    one, other = draw_splits(index, settings(20, seed=0)), draw_splits(index, settings(20, seed=1))
    first = one["split_0"][:40]
    second = {"seed": other["split_0"][:40], "split": one["split_1"][:40], "category": one["split_0"][40:]}[what]
    assert list(first) != list(second)


def test_every_image_is_as_likely_to_be_tested_on() -> None:
    table = draw_splits(index_of(named([10, 10])), settings(5, splits=100))
    tested = (table.filter(like="split_") == TEST).sum(axis=1)
    assert tested.between(50 - 5 * 5, 50 + 5 * 5).all()  # five standard deviations of a binomial (100, 1/2)
    assert tested.nunique() > 3


def test_a_category_with_too_few_images_is_named_with_what_it_needs() -> None:
    with pytest.raises(StageError, match=r"^category 004\.thing-1 has 5 usable images; .* needs at least 6"):
        draw_splits(index_of(named([9, 5])), settings(5))


def test_one_image_to_test_on_is_enough() -> None:
    assert count_parts(draw_splits(index_of(named([6, 6])), settings(5)))["test"] == 2


def test_the_table_names_each_image_by_number_and_path() -> None:
    index = index_of(named([6, 7]))
    pd.testing.assert_frame_equal(draw_splits(index, settings())[["image", "path"]], index[["image", "path"]])


def test_the_numbers_of_a_part_ascend() -> None:
    table = draw_splits(index_of(named([20, 20])), settings(10))
    assert (np.diff(images_in(columns(table), 0, TRAIN)) > 0).all()


def test_the_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    table = draw_splits(index_of(named([6, 7])), settings())
    table.to_csv(tmp_path / "splits.csv", index=False)
    assert read_splits(tmp_path) == columns(table)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    """Return what writes the text of a table of splits and returns its folder."""

    def run(text: str) -> Path:
        (tmp_path / "splits.csv").write_text(text)
        return tmp_path

    return run


WHOLE = "image,path,split_0,split_1\n0,a,train,test\n1,b,validation,train\n2,c,test,validation\n"


@pytest.mark.parametrize(
    ("found", "instead", "message"),
    [
        ("1,b,valid", "2,b,valid", "line 3: image is '2', not 1"),
        ("1,b,valid", "x,b,valid", "line 3: image is 'x', not 1"),
        ("2,c,test", "2,c,tests", "line 4: split_0 is 'tests', not train or validation or test"),
        ("2,c,test", "2,c,train", "split_0 has no test images"),
        ("split_0", "split_2", "its columns are not image, path, split_0 and so on"),
        ("image,path", "path,image", "its columns are not image, path, split_0 and so on"),
        ("split_1", "x", "its columns are not image, path, split_0 and so on"),
    ],
)
def test_a_table_that_was_not_so_written_is_refused(
    write: Callable[[str], Path], found: str, instead: str, message: str
) -> None:
    with pytest.raises(StageError, match=rf"splits\.csv is damaged: {message}; run preprocess again$"):
        read_splits(write(WHOLE.replace(found, instead)))


def test_a_table_without_splits_is_refused(write: Callable[[str], Path]) -> None:
    with pytest.raises(StageError, match="its columns are not image, path, split_0"):
        read_splits(write("image,path\n0,a\n"))


def test_splits_of_as_many_images_as_the_index_has_are_read(write: Callable[[str], Path]) -> None:
    assert read_splits(write(WHOLE), images=3)["image"] == ["0", "1", "2"]


@pytest.mark.parametrize("images", [0, 2, 4])
def test_splits_of_more_or_fewer_images_than_the_index_are_refused(write: Callable[[str], Path], images: int) -> None:
    with pytest.raises(StageError, match=rf"it has 3 images, and index\.csv has {images}; run preprocess again$"):
        read_splits(write(WHOLE), images=images)


def test_a_split_that_was_not_drawn_is_asked_for_in_words() -> None:
    table = pd.DataFrame({"image": [0], "split_0": [TRAIN]})
    with pytest.raises(StageError, match="has no split 1"):
        images_in(columns(table), 1, TRAIN)
