from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import binomtest, chisquare
from torch import Tensor
from torchvision.transforms.functional import center_crop

from vgg_ablation.dataset.archive import members
from vgg_ablation.dataset.pack import pack
from vgg_ablation.dataset.splits import draw_splits
from vgg_ablation.errors import StageError
from vgg_ablation.images.batches import Batches, Colour, RunImages
from vgg_ablation.images.index import INDEX_FILE, LARGE_FOLDER, SPLITS_FILE
from vgg_ablation.images.pixels import Pixels
from vgg_ablation.runtime.console import Stage
from vgg_ablation.runtime.settings import DataSettings

Pack = Callable[..., Pixels]
CPU = torch.device("cpu")
AS_THEY_ARE = Colour(torch.zeros(3), torch.full((3,), 1 / 255), torch.zeros(3, 3))
"""Colour statistics that leave values at 0 to 255."""


def noise(height: int, width: int, seed: int) -> np.ndarray:
    """Return an image whose channels differ in mean and spread, and are correlated."""
    normal = np.random.default_rng(seed).normal(size=(height, width, 3))
    values = np.array([90, 120, 150]) + normal @ [[30, 20, 10], [0, 25, 15], [0, 0, 5]]
    return values.round().clip(0, 255).astype(np.uint8)


def numbered(count: int) -> list[np.ndarray]:
    """Return images of 2 x 3 pixels that are all of one value, their number."""
    return [np.full((2, 3, 3), number, np.uint8) for number in range(count)]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def epoch(
    pixels: Pixels, side: int, batch_size: int, colour: Colour = AS_THEY_ARE, *, shift: float = 0.0, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Return one epoch's training crops and labels, its batches joined."""
    images = torch.arange(len(pixels.labels))
    found = list(Batches(pixels, colour, side, CPU).training(images, batch_size, shift, generator(seed)))
    return torch.cat([crops for crops, _ in found]), torch.cat([labels for _, labels in found])


# Colour statistics.


ARRAYS = [noise(9, 14, 0), noise(20, 7, 1), noise(8, 8, 2)]
VALUES = np.concatenate([array.reshape(-1, 3) for array in ARRAYS]) / 255


@pytest.fixture
def colour(packed: Pack) -> Colour:
    return Colour.measure(packed(ARRAYS), torch.arange(3))


def test_the_mean_is_numpys(colour: Colour) -> None:
    np.testing.assert_allclose(colour.mean, VALUES.mean(0), rtol=1e-6)


def test_the_deviation_is_numpys(colour: Colour) -> None:
    np.testing.assert_allclose(colour.deviation, VALUES.std(0), rtol=1e-6)


def test_the_shift_is_numpys_components_times_their_eigenvalues(colour: Colour) -> None:
    eigenvalues, components = np.linalg.eigh(np.cov(VALUES.T, bias=True))
    expected = components * eigenvalues
    signs = np.sign((expected * colour.shift.numpy()).sum(0))  # a component's sign is free
    np.testing.assert_allclose(colour.shift, expected * signs, rtol=1e-4, atol=1e-8)


def test_the_statistics_are_of_the_given_images_alone(packed: Pack) -> None:
    found = Colour.measure(packed(ARRAYS), torch.tensor([1]))
    np.testing.assert_allclose(found.mean, ARRAYS[1].reshape(-1, 3).mean(0) / 255, rtol=1e-6)


def test_the_order_of_the_images_does_not_change_a_bit_of_the_statistics(packed: Pack, colour: Colour) -> None:
    turned = Colour.measure(packed(ARRAYS), torch.tensor([2, 0, 1]))
    assert all(torch.equal(one, other) for one, other in zip(vars(colour).values(), vars(turned).values(), strict=True))


def test_an_image_larger_than_what_is_summed_at_once_is_measured_whole(
    packed: Pack, colour: Colour, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vgg_ablation.images.batches._CHUNK", 10)
    assert torch.equal(Colour.measure(packed(ARRAYS), torch.arange(3)).shift, colour.shift)


@pytest.mark.parametrize("value", [0, 33, 77, 255])
def test_a_channel_of_one_value_has_a_finite_deviation(packed: Pack, value: int) -> None:
    array = noise(7, 9, 0)
    array[:, :, 0] = value
    deviation = Colour.measure(packed([array]), torch.tensor([0])).deviation
    np.testing.assert_allclose(deviation, [1 / 255, *(array.reshape(-1, 3)[:, 1:] / 255).std(0)], rtol=1e-6)


def test_a_component_of_opposite_channels_is_kept(packed: Pack) -> None:
    """Its entries sum to zero, whose sign is zero."""
    array = np.array([[[0, 255, 0], [255, 0, 0]]], np.uint8)
    shift = Colour.measure(packed([array]), torch.tensor([0])).shift
    covariance = np.cov(array.reshape(-1, 3).T / 255, bias=True)
    np.testing.assert_allclose(shift @ shift.T, covariance @ covariance, atol=1e-6)


# Normalisation and layout.


def test_normalised_training_pixels_have_zero_mean_and_unit_deviation(packed: Pack, colour: Colour) -> None:
    batches = Batches(packed(ARRAYS), colour, 4, CPU)
    inputs = [images for _, images in batches.whole(torch.arange(3), 10**6)]
    values = np.concatenate([images.permute(0, 2, 3, 1).reshape(-1, 3).double() for images in inputs])
    np.testing.assert_allclose([values.mean(0), values.std(0)], [[0, 0, 0], [1, 1, 1]], atol=1e-6)


@pytest.mark.parametrize("of", ["training", "centre", "whole"])
def test_inputs_are_float32_in_channels_last_layout(packed: Pack, colour: Colour, of: str) -> None:
    batches, images = Batches(packed([noise(12, 9, seed) for seed in range(3)]), colour, 8, CPU), torch.arange(3)
    inputs = {
        "training": lambda: next(batches.training(images, 3, 0.1, generator()))[0],
        "centre": lambda: next(batches.centre(images, 3))[0],
        "whole": lambda: next(batches.whole(images, 10**6))[1],
    }[of]()
    assert inputs.dtype == torch.float32
    assert inputs.shape == ((3, 3, 12, 9) if of == "whole" else (3, 3, 8, 8))
    assert inputs.is_contiguous(memory_format=torch.channels_last)


# Training batches.


@given(count=st.integers(1, 40), batch_size=st.integers(1, 50), seed=st.integers(0, 2**32))
def test_an_epoch_shows_each_image_at_most_once_and_all_but_the_remainder(
    packed: Pack, count: int, batch_size: int, seed: int
) -> None:
    shown = epoch(packed(numbered(count)), 2, batch_size, seed=seed)[0][:, 0, 0, 0].round().long().tolist()
    size = min(batch_size, count)
    assert len(shown) == len(set(shown)) == count // size * size


@given(count=st.integers(1, 40), batch_size=st.integers(1, 50))
def test_all_batches_have_the_same_size(packed: Pack, count: int, batch_size: int) -> None:
    batches = Batches(packed(numbered(count)), AS_THEY_ARE, 2, CPU)
    found = batches.training(torch.arange(count), batch_size, 0.1, generator())
    assert {len(crops) for crops, _ in found} == {min(batch_size, count)}


def test_only_the_given_images_are_shown(packed: Pack) -> None:
    batches = Batches(packed(numbered(9)), AS_THEY_ARE, 2, CPU)
    ((crops, _),) = batches.training(torch.tensor([7, 2, 5]), 3, 0.0, generator())
    assert sorted(crops[:, 0, 0, 0].tolist()) == pytest.approx([2, 5, 7], abs=1e-4)


def test_each_crop_comes_with_its_images_label(packed: Pack) -> None:
    labels = [0, 2, 1, 1, 2, 0, 0, 1]
    crops, found = epoch(packed(numbered(8), labels), 2, 3)
    assert found.tolist() == [labels[number] for number in crops[:, 0, 0, 0].round().long()]


def test_the_same_seed_gives_the_same_batches(packed: Pack, colour: Colour) -> None:
    one, other = (epoch(packed(ARRAYS), 6, 2, colour, shift=0.1, seed=3)[0] for _ in range(2))
    assert torch.equal(one, other)


def test_another_seed_gives_another_order(packed: Pack) -> None:
    one, other = (epoch(packed(numbered(30)), 2, 30, seed=seed)[0][:, 0, 0, 0] for seed in (0, 1))
    assert not torch.equal(one, other)


def places_and_flips(crops: Tensor, array: np.ndarray) -> list[tuple[int, int, bool]]:
    """Find crops of an image without repetition: first row, first column, and whether it is mirrored."""
    side = crops.shape[2]
    windows = {
        array[top : top + side, left : left + side].tobytes(): (top, left)
        for top in range(array.shape[0] - side + 1) for left in range(array.shape[1] - side + 1)
    }  # fmt: skip
    found = []
    for crop in crops.permute(0, 2, 3, 1).round().to(torch.uint8).numpy():
        plain, mirrored = windows.get(crop.tobytes()), windows.get(crop[:, ::-1].tobytes())
        assert (plain is None) != (mirrored is None)
        found.append((*(plain or mirrored or (-1, -1)), mirrored is not None))
    return found


def repeated(one: Pixels, count: int) -> Pixels:
    """Return an image as `count` images, all of the same pixels."""
    parts = {name: getattr(one, name).expand(count) for name in ("offsets", "heights", "widths", "labels")}
    return replace(one, **parts)


@pytest.fixture(scope="module")
def drawn(packed: Pack) -> list[tuple[int, int, bool]]:
    """Draw 3000 crops of side 5 from an image of 7 x 9 pixels: places and flips."""
    array = np.random.default_rng(0).permutation(7 * 9 * 3).astype(np.uint8).reshape(7, 9, 3)
    return places_and_flips(epoch(repeated(packed([array]), 3000), 5, 1000)[0], array)


def test_half_of_the_crops_are_mirrored(drawn: list[tuple[int, int, bool]]) -> None:
    assert binomtest(sum(mirrored for *_, mirrored in drawn), len(drawn)).pvalue > 1e-4


def test_all_places_are_as_likely(drawn: list[tuple[int, int, bool]]) -> None:
    counts = [sum(place[:2] == (top, left) for place in drawn) for top in range(3) for left in range(5)]
    assert sum(counts) == len(drawn)
    assert chisquare(counts).pvalue > 1e-4


def test_places_and_flips_are_unrelated(drawn: list[tuple[int, int, bool]]) -> None:
    table = np.array([(*place,) for place in drawn], float)
    related = np.corrcoef(table.T) - np.eye(3)
    assert np.abs(related).max() < 5 / np.sqrt(len(drawn))


def test_an_image_of_the_crops_side_is_shown_whole(packed: Pack) -> None:
    array = np.random.default_rng(0).permutation(75).astype(np.uint8).reshape(5, 5, 3)
    assert places_and_flips(epoch(packed([array]), 5, 1)[0], array)[0][:2] == (0, 0)


def test_a_colour_shift_is_one_colour_for_a_whole_crop(packed: Pack, colour: Colour) -> None:
    shifted, plain = (epoch(packed(ARRAYS), 6, 3, colour, shift=shift)[0] for shift in (0.1, 0.0))
    difference = (shifted - plain).flatten(2)
    torch.testing.assert_close(difference, difference[:, :, :1].expand_as(difference), atol=1e-5, rtol=0)
    assert difference.abs().min() > 1e-5


def test_colour_shifts_have_the_published_covariance(packed: Pack, colour: Colour) -> None:
    """Krizhevsky et al. 2012, section 4.1: [p1 p2 p3] [a1 l1, a2 l2, a3 l3] with a ~ N(0, 0.1)."""
    count = 20_000
    many = repeated(packed([np.full((1, 1, 3), 100, np.uint8)]), count)
    shifted, plain = (epoch(many, 1, count, colour, shift=shift)[0].view(count, 3) for shift in (0.1, 0.0))
    shifts = (shifted - plain) * colour.deviation
    eigenvalues, components = np.linalg.eigh(np.cov(VALUES.T, bias=True))
    expected = components @ np.diag((0.1 * eigenvalues) ** 2) @ components.T
    np.testing.assert_allclose(shifts.mean(0), 0, atol=5 * np.sqrt(expected.max() / count))
    np.testing.assert_allclose(np.cov(shifts.T), expected, atol=0.05 * expected.max())


def test_batches_do_not_depend_on_the_global_generator(packed: Pack, colour: Colour) -> None:
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        found.append(epoch(packed(ARRAYS), 6, 2, colour, shift=0.1)[0])
    assert torch.equal(*found)


# Centre crops and whole images.


@pytest.mark.parametrize(("height", "width"), [(6, 6), (10, 6), (6, 12), (14, 8)])
def test_centre_crops_are_torchvisions(packed: Pack, height: int, width: int) -> None:
    array = noise(height, width, 0)
    ((crops, _),) = Batches(packed([array]), AS_THEY_ARE, 6, CPU).centre(torch.tensor([0]), 5)
    expected = center_crop(torch.from_numpy(array).permute(2, 0, 1), [6, 6])
    torch.testing.assert_close(crops[0], expected.float())


@pytest.mark.parametrize("width", [7, 9])
def test_a_centre_crop_is_off_the_middle_by_half_a_pixel_at_most(packed: Pack, width: int) -> None:
    array = np.broadcast_to(np.arange(width, dtype=np.uint8)[None, :, None], (6, width, 3)).copy()
    ((crops, _),) = Batches(packed([array]), AS_THEY_ARE, 6, CPU).centre(torch.tensor([0]), 5)
    assert abs(crops.mean().item() - (width - 1) / 2) <= 0.5 + 1e-4


def test_centre_crops_keep_the_order_of_the_images(packed: Pack) -> None:
    numbers = torch.tensor([4, 0, 3, 1, 6])
    found = Batches(packed(numbered(7), [0, 1, 0, 1, 2, 0, 2]), AS_THEY_ARE, 2, CPU).centre(numbers, 2)
    crops, labels = zip(*found, strict=True)
    assert torch.cat(crops)[:, 0, 0, 0].round().long().tolist() == numbers.tolist()
    assert torch.cat(labels).tolist() == [2, 0, 1, 1, 2]


SIZES = st.lists(st.tuples(st.integers(2, 4), st.integers(2, 4)), min_size=1, max_size=9)


@given(sizes=SIZES, largest=st.integers(1, 60), data=st.data())
def test_whole_images_come_once_each_and_unchanged(
    packed: Pack, sizes: list[tuple[int, int]], largest: int, data: st.DataObject
) -> None:
    arrays = [noise(height, width, seed) for seed, (height, width) in enumerate(sizes)]
    images = data.draw(st.lists(st.integers(0, len(sizes) - 1), min_size=1, unique=True))
    seen: list[int] = []
    for numbers, inputs in Batches(packed(arrays), AS_THEY_ARE, 2, CPU).whole(torch.tensor(images), largest):
        for number, values in zip(numbers.tolist(), inputs, strict=True):
            np.testing.assert_allclose(values.permute(1, 2, 0), arrays[number], atol=1e-3)
            seen.append(number)
    assert sorted(seen) == sorted(images)


@given(sizes=SIZES, largest=st.integers(1, 60))
def test_a_batch_of_whole_images_is_within_its_pixels_or_one_image(
    packed: Pack, sizes: list[tuple[int, int]], largest: int
) -> None:
    arrays = [noise(height, width, seed) for seed, (height, width) in enumerate(sizes)]
    for numbers, inputs in Batches(packed(arrays), AS_THEY_ARE, 2, CPU).whole(torch.arange(len(sizes)), largest):
        assert len(numbers) == 1 or len(numbers) * inputs.shape[2] * inputs.shape[3] <= largest


# A run's images, from the disk.


@pytest.fixture
def processed(tmp_path: Path, tar: Callable[..., Path], encoded: Callable[..., bytes], stage: Stage) -> Path:
    """A folder as `preprocess` writes it: two categories of eight images at two sizes, two splits."""
    folder = tmp_path / "processed"
    archive = tar(
        {f"{1 + seed // 8:03d}.x/{seed}.png": encoded(Image.fromarray(noise(36, 40, seed))) for seed in range(16)}
    )
    pack(archive, members(archive), 32, folder, stage)
    pack(archive, members(archive), 48, folder / LARGE_FOLDER, stage)
    settings = DataSettings(
        source="x",
        categories="all",
        clutter=False,
        train_per_class=6,
        validation_fraction=0.4,
        splits=2,
        seed=0,
    )
    draw_splits(pd.read_csv(folder / INDEX_FILE), settings).to_csv(folder / SPLITS_FILE, index=False)
    return folder


def test_a_runs_images_are_those_of_its_split(processed: Path) -> None:
    found = RunImages.open(processed, 1, 32, CPU)
    table = pd.read_csv(processed / SPLITS_FILE)
    for part, images in (("train", found.training), ("validation", found.validation), ("test", found.test)):
        assert images.tolist() == table["image"][table["split_1"] == part].tolist()


def test_a_runs_colours_are_those_of_its_training_images(processed: Path) -> None:
    """Not of the test images, which nothing but the evaluation may see."""
    found = RunImages.open(processed, 1, 32, CPU)
    values = [found.batches.pixels.image(number).reshape(-1, 3) for number in found.training.tolist()]
    np.testing.assert_allclose(found.batches.colour.mean, np.concatenate(values).mean(0) / 255, rtol=1e-6)


def test_rescaled_images_are_those_of_the_same_split(processed: Path) -> None:
    fixed = RunImages.open(processed, 1, 32, CPU)
    found = fixed.rescaled(processed, 40, 44)
    for part in ("training", "validation", "test"):
        assert torch.equal(getattr(found, part), getattr(fixed, part))
    assert torch.equal(found.batches.pixels.labels, fixed.batches.pixels.labels)


def test_rescaled_images_are_made_from_the_larger_ones(processed: Path) -> None:
    found = RunImages.open(processed, 1, 32, CPU).rescaled(processed, 40, 44)
    larger = Pixels.open(processed / LARGE_FOLDER)
    assert torch.equal(found.batches.pixels.flat, larger.flat)
    assert torch.minimum(larger.heights, larger.widths).tolist() == [48] * 16


def test_rescaled_images_have_the_scales_asked_for(processed: Path) -> None:
    batches = RunImages.open(processed, 1, 32, CPU).rescaled(processed, (36, 48), 44).batches
    assert (batches.training_scale, batches.test_scale, batches.side) == ((36, 48), 44, 32)


def test_rescaled_images_are_normalised_by_the_colours_of_the_fixed_scale(processed: Path) -> None:
    """The weights that a net goes on from were trained with these; those of the larger images are others."""
    fixed = RunImages.open(processed, 1, 32, CPU)
    found = fixed.rescaled(processed, 40, 44).batches.colour
    for name, value in vars(fixed.batches.colour).items():
        assert torch.equal(getattr(found, name), value)
    assert not torch.equal(Colour.measure(Pixels.open(processed / LARGE_FOLDER), fixed.training).mean, found.mean)


def test_larger_images_of_other_labels_are_refused(
    processed: Path, tar: Callable[..., Path], encoded: Callable[..., bytes], stage: Stage
) -> None:
    content = {f"{1 + seed // 7:03d}.x/{seed}.png": encoded(Image.fromarray(noise(36, 40, seed))) for seed in range(14)}
    archive = tar(content, name="other.tar")
    pack(archive, members(archive), 48, processed / LARGE_FOLDER, stage)
    with pytest.raises(StageError, match=r"/large has other images than .*; run preprocess again$"):
        RunImages.open(processed, 1, 32, CPU).rescaled(processed, 40, 44)


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.mark.gpu
@needs_gpu
def test_a_gpu_gives_the_batches_of_a_cpu(packed: Pack, colour: Colour) -> None:
    pixels = packed([noise(12, 9, seed) for seed in range(8)])
    found = []
    for device in (CPU, torch.device("cuda")):
        batches = Batches(pixels.resident(device), colour, 8, device)
        found.append([crops.cpu() for crops, _ in batches.training(torch.arange(8), 3, 0.1, generator())])
    torch.testing.assert_close(*found)


@pytest.mark.gpu
@needs_gpu
def test_pixels_that_do_not_fit_are_sent_to_the_gpu_as_they_are_used(
    packed: Pack, colour: Colour, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels, device = packed(ARRAYS), torch.device("cuda")
    resident = Batches(pixels.resident(device), colour, 8, device)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (0, 0))
    streamed = Batches(pixels.resident(device), colour, 8, device)
    assert streamed.pixels.flat.device == CPU
    (one, _), (other, _) = (next(batches.centre(torch.arange(2), 2)) for batches in (resident, streamed))
    assert torch.equal(one, other)
