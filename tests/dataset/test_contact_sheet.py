from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vgg_ablation.dataset.contact_sheet import write_contact_sheet
from vgg_ablation.images.pixels import Pixels


def sheet(tmp_path: Path, pixels: Pixels) -> np.ndarray:
    images = {
        name: [pixels.image(number).numpy() for number in torch.nonzero(pixels.labels == label).flatten().tolist()]
        for label, name in enumerate(pixels.categories)
    }
    write_contact_sheet(tmp_path / "sheet.jpg", images)
    return np.asarray(Image.open(tmp_path / "sheet.jpg")).astype(int)


def plain(*shades: int) -> list[np.ndarray]:
    return [np.full((20, 30, 3), shade, np.uint8) for shade in shades]


def test_a_category_is_a_row_of_its_images(tmp_path: Path, packed: Callable[..., Pixels]) -> None:
    found = sheet(tmp_path, packed(plain(10, 60, 110, 160, 210), [0, 0, 1, 1, 1]))
    height = found.shape[0] // 2
    shades = [[found[row * height + height - 48, 96 * column + 48, 0] for column in range(4)] for row in range(2)]
    assert np.abs(np.array(shades) - [[10, 60, 255, 255], [110, 160, 210, 255]]).max() <= 3


def test_a_category_shows_no_more_images_than_fit_in_its_row(tmp_path: Path, packed: Callable[..., Pixels]) -> None:
    one, two = (sheet(tmp_path, packed(plain(*[50] * count, 200), [0] * count + [1])) for count in (8, 30))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(("categories", "rows"), [(2, 2), (64, 64), (65, 33), (257, 52)])
def test_more_categories_than_a_page_holds_are_thinned_out(
    tmp_path: Path, packed: Callable[..., Pixels], categories: int, rows: int
) -> None:
    found = sheet(tmp_path, packed(plain(*[50] * categories), list(range(categories))))
    assert found.shape[0] // (96 + 18) == rows
