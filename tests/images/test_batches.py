from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import binomtest, chisquare
from torch import Tensor
from torchvision.transforms.functional import center_crop

from vgg_ablation.dataset.archive import members
from vgg_ablation.dataset.pack import pack
from vgg_ablation.dataset.splits import write_splits
from vgg_ablation.errors import StageError
from vgg_ablation.images.batches import Batches, Colour, RunImages
from vgg_ablation.images.index import LARGE_FOLDER, images_in, read_splits
from vgg_ablation.images.pixels import Pixels
from vgg_ablation.runtime.console import Console
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


def test_the_statistics_are_numpys(colour: Colour) -> None:
    """The shift: components times their eigenvalues."""
    np.testing.assert_allclose(colour.mean, VALUES.mean(0), rtol=1e-6)
    np.testing.assert_allclose(colour.deviation, VALUES.std(0), rtol=1e-6)
    eigenvalues, components = np.linalg.eigh(np.cov(VALUES.T, bias=True))
    expected = components * eigenvalues
    signs = np.sign((expected * colour.shift.numpy()).sum(0))  # a component's sign is free
    np.testing.assert_allclose(colour.shift, expected * signs, rtol=1e-4, atol=1e-8)


def test_the_order_of_the_images_does_not_change_a_bit_of_the_statistics(packed: Pack, colour: Colour) -> None:
    turned = Colour.measure(packed(ARRAYS), torch.tensor([2, 0, 1]))
    assert all(torch.equal(one, other) for one, other in zip(vars(colour).values(), vars(turned).values(), strict=True))


@pytest.mark.parametrize("value", [0, 33, 77, 255])
def test_a_channel_of_one_value_has_a_finite_deviation(packed: Pack, value: int) -> None:
    array = noise(7, 9, 0)
    array[:, :, 0] = value
    deviation = Colour.measure(packed([array]), torch.tensor([0])).deviation
    np.testing.assert_allclose(deviation, [1 / 255, *(array.reshape(-1, 3)[:, 1:] / 255).std(0)], rtol=1e-6)


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


@settings(max_examples=30)
@given(count=st.integers(1, 40), batch_size=st.integers(1, 50), seed=st.integers(0, 2**32))
def test_an_epoch_shows_each_given_image_at_most_once_in_batches_of_one_size(
    packed: Pack, count: int, batch_size: int, seed: int
) -> None:
    """All but the remainder."""
    batches = Batches(packed(numbered(2 * count)), AS_THEY_ARE, 2, CPU)
    crops = [crops for crops, _ in batches.training(torch.arange(count), batch_size, 0.0, generator(seed))]
    size = min(batch_size, count)
    assert {len(batch) for batch in crops} == {size}
    shown = torch.cat(crops)[:, 0, 0, 0].round().long().tolist()
    assert len(shown) == len(set(shown)) == count // size * size
    assert max(shown) < count


def test_each_crop_comes_with_its_images_label(packed: Pack) -> None:
    labels = [0, 2, 1, 1, 2, 0, 0, 1]
    crops, found = epoch(packed(numbered(8), labels), 2, 3)
    assert found.tolist() == [labels[number] for number in crops[:, 0, 0, 0].round().long()]


def test_batches_depend_on_their_own_generator_alone(packed: Pack, colour: Colour) -> None:
    found = []
    for default, seed in ((0, 3), (1, 3), (0, 4)):
        torch.manual_seed(default)
        found.append(epoch(packed(ARRAYS), 6, 2, colour, shift=0.1, seed=seed)[0])
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


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


def test_all_places_and_both_mirrorings_are_as_likely(drawn: list[tuple[int, int, bool]]) -> None:
    counts = [sum(place[:2] == (top, left) for place in drawn) for top in range(3) for left in range(5)]
    assert sum(counts) == len(drawn)
    assert chisquare(counts).pvalue > 1e-4
    assert binomtest(sum(mirrored for *_, mirrored in drawn), len(drawn)).pvalue > 1e-4


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


# Centre crops and whole images.


@pytest.mark.parametrize(("height", "width"), [(6, 6), (10, 6), (6, 12), (14, 8)])
def test_centre_crops_are_torchvisions(packed: Pack, height: int, width: int) -> None:
    array = noise(height, width, 0)
    ((crops, _),) = Batches(packed([array]), AS_THEY_ARE, 6, CPU).centre(torch.tensor([0]), 5)
    expected = center_crop(torch.from_numpy(array).permute(2, 0, 1), [6, 6])
    torch.testing.assert_close(crops[0], expected.float())


SIZES = st.lists(st.tuples(st.integers(2, 4), st.integers(2, 4)), min_size=1, max_size=9)


@settings(max_examples=30)
@given(sizes=SIZES, largest=st.integers(1, 60), data=st.data())
def test_whole_images_come_once_each_and_unchanged_in_batches_of_so_many_pixels_or_one_image(
    packed: Pack, sizes: list[tuple[int, int]], largest: int, data: st.DataObject
) -> None:
    arrays = [noise(height, width, seed) for seed, (height, width) in enumerate(sizes)]
    images = data.draw(st.lists(st.integers(0, len(sizes) - 1), min_size=1, unique=True))
    seen: list[int] = []
    for numbers, inputs in Batches(packed(arrays), AS_THEY_ARE, 2, CPU).whole(torch.tensor(images), largest):
        assert len(numbers) == 1 or len(numbers) * inputs.shape[2] * inputs.shape[3] <= largest
        for number, values in zip(numbers.tolist(), inputs, strict=True):
            np.testing.assert_allclose(values.permute(1, 2, 0), arrays[number], atol=1e-3)
            seen.append(number)
    assert sorted(seen) == sorted(images)


@settings(max_examples=30)
@given(
    sizes=st.lists(st.tuples(st.integers(3, 8), st.integers(3, 8)), min_size=1, max_size=9), largest=st.integers(1, 99)
)
def test_whole_images_are_cut_at_all_sides_alike_to_multiples(
    packed: Pack, sizes: list[tuple[int, int]], largest: int
) -> None:
    arrays = [noise(height, width, seed) for seed, (height, width) in enumerate(sizes)]
    counts: dict[tuple[int, int], list[int]] = {}
    batches = Batches(packed(arrays), AS_THEY_ARE, 2, CPU)
    for numbers, inputs in batches.whole(torch.arange(len(sizes)), largest, multiple=3):
        height, width = inputs.shape[2:]
        assert {height, width} <= {3, 6}
        counts.setdefault((height, width), []).append(len(numbers))
        for number, values in zip(numbers.tolist(), inputs, strict=True):
            assert [length - part for length, part in zip(sizes[number], (height, width), strict=True)] < [3, 3]
            top, left = ((length - part) // 2 for length, part in zip(sizes[number], (height, width), strict=True))
            expected = arrays[number][top : top + height, left : left + width]
            np.testing.assert_allclose(values.permute(1, 2, 0), expected, atol=1e-3)
    assert sum(map(sum, counts.values())) == len(sizes)
    for of_size in counts.values():
        assert len(set(of_size[:-1])) <= 1, "batches of one size but the last have one number of images"
        assert {*of_size[:-1]} <= {1, 2, 4, 8}


# A run's images, from the disk.


@pytest.fixture
def processed(tmp_path: Path, tar: Callable[..., Path], encoded: Callable[..., bytes], console: Console) -> Path:
    """A folder as `preprocess` writes it: two categories of eight images at two sizes, two splits."""
    folder = tmp_path / "processed"
    archive = tar(
        {f"{1 + seed // 8:03d}.x/{seed}.png": encoded(Image.fromarray(noise(36, 40, seed))) for seed in range(16)}
    )
    pack(archive, members(archive), 32, folder, console)
    pack(archive, members(archive), 48, folder / LARGE_FOLDER, console)
    data = DataSettings(
        source="x", categories="all", clutter=False, train_per_class=6, validation_fraction=0.4, splits=2, seed=0
    )
    write_splits(folder, data, {member.path: "" for member in members(archive)})
    return folder


def test_a_runs_images_and_colours_are_those_of_its_split(processed: Path) -> None:
    """The colours are not of the test images, which nothing but the evaluation may see."""
    found = RunImages.open(processed, 1, 32, CPU)
    table = read_splits(processed)
    for part, images in (("train", found.training), ("validation", found.validation), ("test", found.test)):
        assert images.tolist() == images_in(table, 1, part).tolist()
    values = [found.batches.pixels.image(number).reshape(-1, 3) for number in found.training.tolist()]
    np.testing.assert_allclose(found.batches.colour.mean, np.concatenate(values).mean(0) / 255, rtol=1e-6)


def test_rescaled_images_are_those_of_the_split_made_from_the_larger_ones(processed: Path) -> None:
    """They are normalised by the colours that the weights were trained with."""
    fixed, larger = RunImages.open(processed, 1, 32, CPU), Pixels.open(processed / LARGE_FOLDER)
    found = fixed.rescaled(processed, (36, 48), 44)
    for part in ("training", "validation", "test"):
        assert torch.equal(getattr(found, part), getattr(fixed, part))
    assert torch.equal(found.batches.pixels.flat, larger.flat)
    assert torch.minimum(larger.heights, larger.widths).tolist() == [48] * 16
    assert (found.batches.training_scale, found.batches.test_scale, found.batches.side) == ((36, 48), 44, 32)
    assert found.batches.colour is fixed.batches.colour


def test_larger_images_of_other_labels_are_refused(
    processed: Path, tar: Callable[..., Path], encoded: Callable[..., bytes], console: Console
) -> None:
    content = {f"{1 + seed // 7:03d}.x/{seed}.png": encoded(Image.fromarray(noise(36, 40, seed))) for seed in range(14)}
    archive = tar(content, name="other.tar")
    pack(archive, members(archive), 48, processed / LARGE_FOLDER, console)
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
