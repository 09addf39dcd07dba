"""Which folders are categories, and which a ready-made split, in trees as people have them."""

from collections.abc import Sequence

import pytest

from vgg_ablation.dataset.layout import FOLDER, Entry, Listing, arrange, is_image, named_as_image


def listing(*names: str) -> Listing:
    return arrange(
        [
            Entry(name.rstrip("/"), 0, number, FOLDER if name.endswith("/") else "", named_as_image(name))
            for number, name in enumerate(names)
        ]
    )


def members(*names: str) -> list[tuple[str, str, str]]:
    return [(member.path, member.category, member.part) for member in listing(*names).members]


def strays(*names: str) -> list[tuple[str, str]]:
    return [(stray.path, stray.reason) for stray in listing(*names).strays]


@pytest.mark.parametrize("above", ["", "photos/", "a/101_ObjectCategories/"])
def test_a_category_is_the_folder_of_its_images_at_any_depth(above: str) -> None:
    assert members(f"{above}cat/1.jpg", f"{above}dog/2.PNG") == [("cat/1.jpg", "cat", ""), ("dog/2.PNG", "dog", "")]


def test_categories_at_different_depths_are_found() -> None:
    found = members("pets/cat/1.jpg", "pets/dog/1.jpg", "car/1.jpg")
    assert found == [("car/1.jpg", "car", ""), ("pets/cat/1.jpg", "cat", ""), ("pets/dog/1.jpg", "dog", "")]


def test_numbers_of_any_length_are_parts_of_names() -> None:
    found = members("256/3.backpack/1.jpg", "256/27.mug/1.jpg", "256/101.bat/1.jpg")
    assert [category for _, category, _ in found] == ["101.bat", "27.mug", "3.backpack"]


def test_folders_of_other_files_are_no_categories() -> None:
    """Caltech-101 has its annotations beside its images."""
    names = ("101/cat/1.jpg", "101/dog/1.jpg", "Annotations/cat/1.mat", "Annotations/Faces_2/1.mat")
    assert [path for path, _, _ in members(*names)] == ["cat/1.jpg", "dog/1.jpg"]
    assert {reason for _, reason in strays(*names)} == {"not in a category's folder"}


def test_a_preview_beside_the_categories_is_left_out() -> None:
    names = ("set/preview.jpg", "set/cat/1.jpg", "set/dog/1.jpg")
    assert strays(*names) == [("preview.jpg", "not in a category's folder")]


def test_a_folder_in_a_category_is_left_out() -> None:
    names = ("cat/1.jpg", "cat/2.jpg", "cat/more/1.jpg", "dog/1.jpg")
    assert strays(*names) == [("cat/more/1.jpg", "not directly in its category's folder")]


@pytest.mark.parametrize("name", ["cat/.ipynb_checkpoints/1.jpg", "__MACOSX/cat/._1.jpg", ".git/x/1.jpg", "cat/._1"])
def test_hidden_files_are_left_out(name: str) -> None:
    assert [reason for _, reason in strays("cat/1.jpg", "dog/1.jpg", name)] == ["a hidden file"]


@pytest.mark.parametrize(
    ("folders", "parts"),
    [
        (("train", "val", "test"), ["train", "validation", "test"]),
        (("Training", "Validation", "Testing"), ["train", "validation", "test"]),
        (("train", "test"), ["train", "test"]),
        (("train", "valid"), ["train", "validation"]),
    ],
)
def test_folders_of_a_split_are_its_parts(folders: Sequence[str], parts: list[str]) -> None:
    found = members(*(f"set/{folder}/{name}/1.jpg" for folder in folders for name in ("cat", "dog")))
    assert sorted(found) == sorted(
        (f"{folder}/{name}/1.jpg", name, part)
        for folder, part in zip(folders, parts, strict=True)
        for name in ("cat", "dog")
    )


def test_one_folder_alone_is_no_split() -> None:
    assert members("train/cat/1.jpg", "train/dog/1.jpg") == [("cat/1.jpg", "cat", ""), ("dog/1.jpg", "dog", "")]


def test_a_category_may_be_called_train() -> None:
    assert [category for _, category, _ in members("set/train/1.jpg", "set/car/1.jpg")] == ["car", "train"]


def test_test_images_without_a_category_are_left_out() -> None:
    """As in contests, whose test images have no labels."""
    names = ("set/train/cat/1.jpg", "set/train/dog/1.jpg", "set/test/1.jpg", "set/test/2.jpg")
    assert [category for _, category, _ in members(*names)] == ["cat", "dog"]
    assert {reason for _, reason in strays(*names)} == {"in the folder test, and in no category"}


def test_images_beside_the_folders_of_a_split_are_left_out() -> None:
    names = ("train/cat/1.jpg", "test/cat/2.jpg", "extra/cat/3.jpg")
    assert strays(*names) == [("extra/cat/3.jpg", "in none of the folders train, val, test, which other images are in")]


def test_nothing_vanishes() -> None:
    names = ("a/cat/1.jpg", "a/dog/1.jpg", "a/cat/x/", "a/mug/", "notes/", "a/x.txt", "b/y.txt", "1.jpg", "a/dog/.z")
    found = listing(*names)
    assert len(found.members) + len(found.strays) == len(names)
    assert [stray.path for stray in found.strays if stray.reason.startswith("an empty")] == ["cat/x/", "mug/", "notes/"]


def test_an_image_is_known_by_its_name_or_its_first_bytes() -> None:
    assert is_image("x.jpeg", b"") == is_image("x", b"\xff\xd8\xff\xe0") is True
    assert is_image("x.mat", b"MATLAB 5.0") is False
