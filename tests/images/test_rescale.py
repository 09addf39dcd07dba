"""Rescaling against torchvision's antialiased resize."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms.v2 import functional

from vgg_ablation.images.batches import Batches, Colour
from vgg_ablation.images.pixels import Pixels
from vgg_ablation.images.rescale import rescaled_crops, rescaled_sizes

SIDE = 32
STORED = 64  # smallest side of the images as they are packed
CPU = torch.device("cpu")
Pack = Callable[..., Pixels]
AS_THEY_ARE = Colour(torch.zeros(3), torch.full((3,), 1 / 255), torch.zeros(3, 3))


def images(shapes: list[tuple[int, int]], seed: int = 0) -> list[np.ndarray]:
    draws = np.random.default_rng(seed)
    return [draws.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in shapes]


def resized(image: np.ndarray, size: tuple[int, ...]) -> Tensor:
    """As (H, W, 3) float32."""
    planes = torch.from_numpy(image).permute(2, 0, 1).float()
    return functional.resize(planes, list(size), antialias=True).permute(1, 2, 0)


longer_sides = st.integers(STORED, 3 * STORED)
shapes = st.tuples(longer_sides, st.booleans()).map(lambda pair: (STORED, pair[0])[:: 1 if pair[1] else -1])


@settings(max_examples=30)
@given(
    shapes=st.lists(shapes, min_size=1, max_size=4),
    scales=st.lists(st.integers(SIDE + 4, STORED), min_size=4, max_size=4),
    places=st.lists(st.floats(0, 0.999), min_size=8, max_size=8),
    flips=st.lists(st.booleans(), min_size=4, max_size=4),
)
def test_a_crop_is_that_of_the_image_resized_by_torchvision(
    packed: Pack, shapes: list[tuple[int, int]], scales: list[int], places: list[float], flips: list[bool]
) -> None:
    arrays = images(shapes)
    count = len(arrays)
    pixels, numbers, flip = packed(arrays), torch.arange(count), torch.tensor(flips[:count])
    sizes = rescaled_sizes(pixels, numbers, torch.tensor(scales[:count]))
    corners = (torch.tensor(places).view(2, 4)[:, :count] * (sizes - SIDE + 1)).long()
    crops = rescaled_crops(pixels, numbers, sizes, corners, SIDE, CPU, flip)
    for number, (top, left) in enumerate(corners.T.tolist()):
        whole = resized(arrays[number], tuple(sizes[:, number].tolist()))
        expected = whole[top : top + SIDE, left : left + SIDE]
        torch.testing.assert_close(crops[number], expected.flip(1) if flips[number] else expected, atol=1e-2, rtol=0)


@settings(max_examples=30)
@given(shapes=st.lists(shapes, min_size=1, max_size=4), scale=st.integers(SIDE, 3 * STORED))
def test_the_smallest_side_is_the_scale_and_the_form_stays(
    packed: Pack, shapes: list[tuple[int, int]], scale: int
) -> None:
    sizes = rescaled_sizes(packed(images(shapes)), torch.arange(len(shapes)), scale)
    assert sizes.amin(0).tolist() == [scale] * len(shapes)
    for (height, width), size in zip(shapes, sizes.T.tolist(), strict=True):
        assert max(size) == round(max(height, width) * (scale / STORED))


def batches(pixels: Pixels, **scales: object) -> Batches:
    return Batches(pixels, AS_THEY_ARE, SIDE, CPU, **scales)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("shape", [(STORED, 101), (100, STORED)])
def test_the_centre_crop_at_a_test_scale_is_that_of_the_resized_image(packed: Pack, shape: tuple[int, int]) -> None:
    (array,) = images([shape])
    ((inputs, _),) = batches(packed([array]), test_scale=41).centre(torch.tensor([0]), 1)
    height, width = (round(length * 41 / STORED) for length in shape)
    top, left = (height - SIDE) // 2, (width - SIDE) // 2
    expected = resized(array, (height, width))[top : top + SIDE, left : left + SIDE]
    torch.testing.assert_close(inputs[0].permute(1, 2, 0), expected, atol=1e-2, rtol=0)


def test_whole_images_at_a_scale_come_together_by_the_size_they_have_then(packed: Pack) -> None:
    arrays = images([(STORED, 100), (STORED, 101), (90, STORED)])
    found = list(batches(packed(arrays)).whole(torch.arange(3), 10**6, scale=40))
    assert [(numbers.tolist(), tuple(inputs.shape[2:])) for numbers, inputs in found] == [
        ([0], (40, 62)),
        ([1], (40, 63)),
        ([2], (56, 40)),
    ]
    for numbers, inputs in found:
        for number, image in zip(numbers.tolist(), inputs, strict=True):
            expected = resized(arrays[number], (image.shape[1], image.shape[2]))
            torch.testing.assert_close(image.permute(1, 2, 0), expected, atol=1e-2, rtol=0)


def drawn_sides(packed: Pack, training_scale: int | tuple[int, int], count: int = 400) -> Tensor:
    """Return the side that each crop of a picture's ramp was rescaled to, by the ramp's slope in the crop."""
    ramp = np.broadcast_to(np.arange(STORED, dtype=np.uint8)[None, :, None], (STORED, STORED, 3))
    pixels = packed([np.ascontiguousarray(ramp)] * count)
    made = batches(pixels, training_scale=training_scale)
    ((inputs, _),) = made.training(torch.arange(count), count, 0.0, torch.Generator().manual_seed(1))
    rows = inputs[:, 0, SIDE // 2]
    slopes = (rows[:, SIDE - 4] - rows[:, 4]).abs() / (SIDE - 8)
    return (STORED / slopes).round()


def test_jittered_scales_are_drawn_evenly_and_one_scale_is_that_of_every_crop(packed: Pack) -> None:
    sides, counts = drawn_sides(packed, (40, 49), 2000).unique(return_counts=True)
    assert sides.tolist() == list(range(40, 50))
    assert counts.min() > 140
    assert counts.max() < 270
    assert drawn_sides(packed, 48).unique().tolist() == [48]


def test_the_same_crops_are_drawn_whether_the_scale_is_stored_or_made(packed: Pack) -> None:
    pixels = packed(images([(STORED, 100), (110, STORED), (STORED, STORED)]))
    as_stored, made = (
        next(iter(each.training(torch.arange(3), 3, 0.1, torch.Generator().manual_seed(3))))
        for each in (batches(pixels), batches(pixels, training_scale=STORED))
    )
    torch.testing.assert_close(as_stored, made, atol=1e-3, rtol=0)
