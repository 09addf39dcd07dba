from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vgg_ablation.dataset.contact_sheet import write_contact_sheet


def sheet(tmp_path: Path, *rows: list[int]) -> np.ndarray:
    """Return the sheet of categories whose images each have one shade."""
    images = {f"{n}.x": [np.full((20, 30, 3), shade, np.uint8) for shade in row] for n, row in enumerate(rows)}
    write_contact_sheet(tmp_path / "sheet.jpg", images)
    return np.asarray(Image.open(tmp_path / "sheet.jpg")).astype(int)


def test_a_category_is_a_row_of_its_first_images(tmp_path: Path) -> None:
    found = sheet(tmp_path, [10, 60], [110, 160, 210])
    height = found.shape[0] // 2
    shades = [[found[row * height + height - 48, 96 * column + 48, 0] for column in range(4)] for row in range(2)]
    assert np.abs(np.array(shades) - [[10, 60, 255, 255], [110, 160, 210, 255]]).max() <= 3
    np.testing.assert_array_equal(sheet(tmp_path, [50] * 8, [200]), sheet(tmp_path, [50] * 30, [200]))


@pytest.mark.parametrize(("categories", "rows"), [(64, 64), (65, 33)])
def test_more_categories_than_a_page_holds_are_thinned_out(tmp_path: Path, categories: int, rows: int) -> None:
    assert sheet(tmp_path, *[[50]] * categories).shape[0] // (96 + 18) == rows
