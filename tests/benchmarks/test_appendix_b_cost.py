"""The page about the cost of appendix B, and its predictions from costs that are given."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.appendix_b import DATA, PAGE, image_gmacs, made_up, measure, page, predict
from vgg_ablation.errors import StageError
from vgg_ablation.files import read_json
from vgg_ablation.runtime.console import Console
from vgg_ablation.runtime.params import read_params

ROOT = Path(__file__).parents[2]


def test_the_page_is_that_of_its_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert PAGE.read_text(encoding="utf-8") == page(read_json(DATA), read_params().of_appendix_b())


def test_costs_are_counted_up_to_all_images_nets_descriptors_and_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    """At 1 GMAC a second, and 1 s a step of 4,096 dimensions."""
    monkeypatch.chdir(ROOT)
    settings = read_params().of_appendix_b()
    features = [
        {"net": net, "scale": scale, "images": 1, "work": image_gmacs(net, scale)}
        for net in "AD"
        for scale in settings.scales
    ]
    measured = {"features": features, "timed": [{"dimensions": 4096, "steps": [10], "work": [10.0]}]}
    predicted = predict(measured | {"grid": {"steps": [3, 7, 5]}}, settings)
    assert predicted["E"][0] == pytest.approx(30_607 * sum(image_gmacs("E", scale) for scale in (256, 384, 512)))
    steps, dimensions, splits = 3 + 7 + 5 + 7, 3 + 1 + 3, 3  # three scales alone, averaged, stacked
    assert predicted["E"][1] == pytest.approx(steps * dimensions * splits)
    assert predicted["D+E"] == (0, pytest.approx(2 * steps * dimensions * splits))


def test_a_split_by_folders_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    settings = read_params().of_appendix_b()
    folders = settings.data.model_copy(update={"train_per_class": "folders"})
    with pytest.raises(StageError, match=r"^appendix_b\.data\.train_per_class = folders: .*$"):
        measure(settings.model_copy(update={"data": folders}), Console("test"))


def test_an_image_costs_two_passes_of_its_area_and_of_its_windows() -> None:
    """Net D at 224 pixels: 15.47 GMAC, of which 0.12 are fully connected; 16 x 21 cells have 10 x 15 windows."""
    expected = 2 * (15.35 * (512 * 683) / 224**2 + 0.12 * 10 * 15)
    assert image_gmacs("D", 512) == pytest.approx(expected, rel=0.01)


def test_made_up_descriptors_have_unit_length_and_all_classes() -> None:
    descriptors, labels = made_up(257, 64, 600)
    np.testing.assert_allclose(descriptors.norm(dim=1), 1, rtol=1e-5)
    assert len(labels.unique()) == 257
