"""The picture of a training batch, of images whose colours are known."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from trained_fixtures import CATEGORIES, Trained
from vgg_ablation.device import Compute
from vgg_ablation.images.batches import Batches, Colour
from vgg_ablation.images.pixels import Pixels
from vgg_ablation.runtime.checkpoints import BackgroundCheckpoints
from vgg_ablation.runtime.cost import Meter
from vgg_ablation.runtime.params import read_params
from vgg_ablation.runtime.settings import StudySettings
from vgg_ablation.train import first_batch as command
from vgg_ablation.train.experiment import Experiment
from vgg_ablation.train.net import images_of_run
from vgg_ablation.train.run import Point, Recipe

CAPTION = 18


def tiles(path: Path, side: int) -> list[np.ndarray]:
    """The crops in a picture, in order, at their own size."""
    sheet = np.asarray(Image.open(path))
    tile = side * -(-96 // side)
    corners = [
        (top, left) for top in range(CAPTION, sheet.shape[0], tile + CAPTION) for left in range(0, sheet.shape[1], tile)
    ]
    enlarged = [sheet[top : top + tile, left : left + tile] for top, left in corners]
    for each in enlarged:
        whole = each.reshape(side, tile // side, side, tile // side, 3)
        assert (whole == whole[:, :1, :, :1]).all(), "each pixel of a crop is a square"
    return [each[:: tile // side, :: tile // side] for each in enlarged]


def test_without_a_colour_shift_a_tile_is_a_part_of_its_image_or_of_the_mirror_image(
    packed: Callable[..., Pixels], tmp_path: Path
) -> None:
    arrays = [np.random.default_rng(seed).integers(0, 256, (34, 36, 3), dtype=np.uint8) for seed in range(10)]
    pixels, numbers = packed(arrays, [number % 2 for number in range(10)]), torch.arange(10)
    batches = Batches(pixels, Colour.measure(pixels, numbers), 32, torch.device("cpu"))
    inputs, _ = next(batches.training(numbers, 10, 0.0, torch.Generator().manual_seed(0)))
    command.draw_batch(tmp_path / "batch.png", command.as_seen(batches, inputs), ["name"] * 10)
    parts = {
        view[top : top + 32, left : left + 32].tobytes(): (number, flipped)
        for number, array in enumerate(arrays)
        for flipped, view in enumerate((array, array[:, ::-1]))
        for top in range(3)
        for left in range(5)
    }
    *found, _, _, _, _, _, _ = (parts.get(tile.tobytes()) for tile in tiles(tmp_path / "batch.png", 32))
    shown = [each for each in found if each]
    assert len(shown) == 10
    assert {number for number, _ in shown} == set(range(10))
    assert {flipped for _, flipped in shown} == {0, 1}


def test_colour_shifts_show(packed: Callable[..., Pixels], tmp_path: Path) -> None:
    arrays = [np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8) for seed in range(4)]
    pixels, numbers = packed(arrays), torch.arange(4)
    batches = Batches(pixels, Colour.measure(pixels, numbers), 32, torch.device("cpu"))
    pictures = []
    for strength in (0.0, 2.0):
        inputs, _ = next(batches.training(numbers, 4, strength, torch.Generator().manual_seed(0)))
        pictures.append(command.as_seen(batches, inputs).astype(float))
    means = np.abs(pictures[1] - pictures[0]).mean((1, 2, 3))
    assert (means > 2).all()


@pytest.mark.parametrize("scale", ["fixed", "large"])
def test_the_command_draws_what_a_run_trains_on(
    trained: Trained, tmp_path: Path, scale: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches have four images; run 0 has 15."""
    seen: list[tuple[np.ndarray, torch.Tensor]] = []
    original = Batches.training

    def recorded(batches: Batches, *arguments: Any) -> Any:
        for inputs, labels in original(batches, *arguments):
            seen.append((command.as_seen(batches, inputs), labels))
            yield inputs, labels

    with monkeypatch.context() as patched:
        patched.setattr(Batches, "training", recorded)
        patched.setenv("DVC_ROOT", str(tmp_path))  # no checkpoints there
        study = read_params().whole(StudySettings)
        compute = Compute(torch.device("cpu"), torch.float32)
        images = images_of_run(0, scale, study.scales, study.model, compute, refit=study.train.refit)
        plan = Experiment("A", 0, images, study.model, compute, print, Meter(), scale=scale)
        with BackgroundCheckpoints(tmp_path / "file", print) as checkpoints:
            list(plan.train(Recipe.of(study.train, Point(0.01, 5e-4, 4), 1), checkpoints)[1])
    capsys.readouterr()
    drawn: list[str] = []
    draw = command.draw_batch

    def recorded_draw(path: Path, crops: np.ndarray, names: list[str]) -> None:
        drawn.extend(names)
        draw(path, crops, names)

    monkeypatch.setattr(command, "draw_batch", recorded_draw)
    command.main([str(tmp_path / "batch.png"), "--scale", scale])
    output = capsys.readouterr().out
    assert output == f"{tmp_path}/batch.png: the first 15 images of run 0, epoch 1, scale {scale}\n"
    trained_on = np.concatenate([inputs for inputs, _ in seen])
    assert len(trained_on) == 12
    np.testing.assert_array_equal(tiles(tmp_path / "batch.png", 32)[:12], trained_on)
    assert drawn[:12] == [CATEGORIES[label] for _, labels in seen for label in labels]


def test_without_images_the_command_that_makes_them_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "params.yaml").write_bytes(Path("params.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        command.main([])
    errors = capsys.readouterr().err
    assert errors.startswith("first_batch: data/processed/SHA256SUMS is missing; make it again: dvc repro")
    assert not (tmp_path / "training-batch.png").exists()
