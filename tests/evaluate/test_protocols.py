from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from torchvision.transforms.functional import crop, hflip, resize

from vgg_ablation.device import Compute
from vgg_ablation.evaluate import protocols
from vgg_ablation.evaluate.protocols import PackedImages, View, average, count_view_gmacs, posteriors, views
from vgg_ablation.images.batches import Batches, Colour
from vgg_ablation.images.pixels import Pixels
from vgg_ablation.model.vgg import VGG
from vgg_ablation.runtime.settings import Protocol

Method = Literal["centre", "dense", "multi_crop"]
CLASSES = 6
CROP = 32
FIXED, OTHER = 40, 57
"""Scales: that of the images images, and one that images are rescaled to."""
COMPUTE = Compute(torch.device("cpu"), torch.float32)
SIZES = [(64, 64), (100, 64), (64, 100), (64, 64), (66, 74), (100, 64)]
"""Heights and widths of the larger images; at the fixed scale the smallest side is 40."""
IMAGES = torch.tensor([5, 0, 2, 4, 3])
"""Unordered, of four sizes, and not all images."""
METHODS = pytest.mark.parametrize("method", ["centre", "dense", "multi_crop"])
EACH = pytest.mark.parametrize(
    "view", [View(method, scale) for method in ("centre", "dense", "multi_crop") for scale in (FIXED, OTHER)]
)


def noise(height: int, width: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.integers(0, 256, (height, width, 3)) * rng.random(3)).astype(np.uint8)


@pytest.fixture(scope="module")
def images(packed: Callable[..., Pixels]) -> PackedImages:
    larger = [noise(*size, seed) for seed, size in enumerate(SIZES)]
    ratios = [FIXED / min(size) for size in SIZES]
    fixed = [
        noise(round(height * ratio), round(width * ratio), seed)
        for seed, ((height, width), ratio) in enumerate(zip(SIZES, ratios, strict=True))
    ]
    labels = [number % CLASSES for number in range(len(SIZES))]
    batches = batches_of(packed(fixed, labels))
    return PackedImages(batches, replace(batches, pixels=packed(larger, labels)))


def batches_of(pixels: Pixels) -> Batches:
    return Batches(pixels, Colour.measure(pixels, torch.arange(len(pixels.labels))), CROP, COMPUTE.device)


@pytest.fixture(scope="module")
def network() -> VGG:
    """Return a net of random weights, whose outputs differ between images."""
    torch.manual_seed(0)
    return VGG("A", CLASSES, input_side=CROP, width=1 / 16).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def at(images: PackedImages, number: int, scale: int) -> Tensor:
    """Return one whole image at a scale, normalised, by torchvision: (1, 3, H, W)."""
    pixels = (images.fixed if scale == FIXED else images.larger).pixels
    image = pixels.image(number).permute(2, 0, 1)[None].float()
    if scale != FIXED:
        shorter = min(image.shape[2:])
        image = resize(image, [round(length * scale / shorter) for length in image.shape[2:]], antialias=True)
    colour = images.fixed.colour
    return (image / 255 - colour.mean[:, None, None]) / colour.deviation[:, None, None]


@torch.no_grad()
def scores(network: VGG, image: Tensor) -> Tensor:
    """Return the mean over an image's cells of the scores there: (K,). Of an input of 32 pixels, fc6 sees one cell."""
    cells = network.eval().features(image)[0].flatten(1).T
    return network.classifier(cells).mean(0)


def soft_max_of_both(network: VGG, image: Tensor) -> Tensor:
    return torch.stack([scores(network, view).softmax(0) for view in (image, hflip(image))]).mean(0)


def literal_dense(network: VGG, image: Tensor) -> Tensor:
    margins = [length % 32 // 2 for length in image.shape[2:]]
    return soft_max_of_both(network, crop(image, *margins, *(length // 32 * 32 for length in image.shape[2:])))


def literal_centre(network: VGG, image: Tensor) -> Tensor:
    top, left = ((length - CROP) // 2 for length in image.shape[2:])
    return scores(network, crop(image, top, left, CROP, CROP)).softmax(0)


def literal_multi_crop(network: VGG, image: Tensor) -> Tensor:
    tops, lefts = (np.linspace(0, length - CROP, 5).round().astype(int).tolist() for length in image.shape[2:])
    found = [
        soft_max_of_both(network, crop(image, top, left, CROP, CROP)) for top in tops for left in lefts
    ]  # 25 places, two crops each
    return torch.stack(found).mean(0)


LITERAL = {"centre": literal_centre, "dense": literal_dense, "multi_crop": literal_multi_crop}


@contextmanager
def passes(network: VGG) -> Iterator[list[int]]:
    """Collect how many inputs go through the net at a time while the body runs."""
    sizes: list[int] = []
    hook = network.features.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    yield sizes
    hook.remove()


@contextmanager
def shapes(network: VGG) -> Iterator[set[tuple[int, ...]]]:
    """Collect the shapes of the first convolution's inputs while the body runs."""
    found: set[tuple[int, ...]] = set()
    hook = network.features[0].register_forward_pre_hook(lambda _, inputs: found.add(tuple(inputs[0].shape)))
    yield found
    hook.remove()


@EACH
def test_posteriors_are_those_of_a_literal_loop_with_torchvision(
    network: VGG, images: PackedImages, view: View
) -> None:
    expected = [LITERAL[view.method](network, at(images, number, view.scale)) for number in IMAGES.tolist()]
    found = posteriors(network, images, IMAGES, view, COMPUTE)
    torch.testing.assert_close(found, torch.stack(expected), atol=2e-5, rtol=1e-4)
    assert found.std(0).max() > 0.01, "the posteriors of all images are similar: the comparison shows little"


@EACH
def test_posteriors_of_batches_that_are_filled_up_are_the_same(
    network: VGG, images: PackedImages, monkeypatch: pytest.MonkeyPatch, view: View
) -> None:
    expected = posteriors(network, images, IMAGES, view, COMPUTE)
    monkeypatch.setattr(protocols, "_few_counts", lambda compute: compute == COMPUTE)
    with shapes(network) as found:
        filled = posteriors(network, images, IMAGES, view, COMPUTE)
    torch.testing.assert_close(filled, expected, atol=1e-6, rtol=1e-5)
    lengths = {length for _, _, *sides in found for length in sides}
    assert lengths <= ({32, 64} if view.method == "dense" else {CROP}), "multiples of 32 pixels"
    assert all(count & (count - 1) == 0 for count, *_ in found), "powers of two"


def test_batches_are_filled_up_on_a_gpu_alone() -> None:
    assert protocols._few_counts(Compute(torch.device("cuda"), torch.bfloat16))
    assert not protocols._few_counts(COMPUTE)


def test_an_image_as_narrow_as_the_crop_has_five_positions_counted_five_times(
    network: VGG, images: PackedImages
) -> None:
    """A square image has one."""
    expected = [literal_multi_crop(network, at(images, number, CROP)) for number in IMAGES.tolist()]
    with passes(network) as sizes:
        found = posteriors(network, images, IMAGES, View("multi_crop", CROP), COMPUTE)
    torch.testing.assert_close(found, torch.stack(expected), atol=2e-5, rtol=1e-4)
    squares = sum(SIZES[number] == (64, 64) for number in IMAGES.tolist())
    assert sum(sizes) == 2 * (squares + 5 * (len(IMAGES) - squares))


@settings(max_examples=30)
@given(st.tuples(st.integers(CROP, 300), st.integers(CROP, 300)))
def test_the_grid_is_regular_from_corner_to_corner(size: tuple[int, int]) -> None:
    rows, columns = (np.linspace(0, length - CROP, 5).round().astype(int).tolist() for length in size)
    grid = protocols._grid(*size, CROP)
    assert grid == Counter((row, column) for row in rows for column in columns)
    assert {(0, 0), (size[0] - CROP, size[1] - CROP)} <= set(grid)


@METHODS
def test_the_size_of_a_batch_is_bounded_and_does_not_matter(
    network: VGG, images: PackedImages, monkeypatch: pytest.MonkeyPatch, method: Method
) -> None:
    view = View(method, OTHER)
    whole = posteriors(network, images, IMAGES, view, COMPUTE)
    monkeypatch.setattr(protocols, "_BATCH", 4)
    monkeypatch.setattr(protocols, "_PIXELS", 32 * 32)
    with passes(network) as sizes:
        parts = posteriors(network, images, IMAGES, view, COMPUTE)
    torch.testing.assert_close(parts, whole, atol=1e-6, rtol=1e-5)
    assert max(sizes) == (1 if method == "dense" else 4)


@METHODS
def test_posteriors_are_float32_on_the_cpu_also_of_a_bfloat16_net(
    network: VGG, images: PackedImages, method: Method
) -> None:
    found = posteriors(network, images, IMAGES, View(method, FIXED), Compute(COMPUTE.device, torch.bfloat16))
    assert (found.shape, found.dtype, found.device.type) == ((len(IMAGES), CLASSES), torch.float32, "cpu")
    torch.testing.assert_close(found.sum(1), torch.ones(len(IMAGES)))


@EACH
def test_images_are_rescaled_in_full_precision_whatever_that_of_the_net(
    network: VGG, images: PackedImages, view: View
) -> None:
    seen: list[list[Tensor]] = []
    for precision in (torch.float32, torch.bfloat16):
        seen.append([])
        hook = network.features.register_forward_pre_hook(lambda _, inputs: seen[-1].append(inputs[0]))
        posteriors(network, images, IMAGES, view, Compute(COMPUTE.device, precision))
        hook.remove()
    assert all(map(torch.equal, *seen))


def test_dropout_is_off(network: VGG, images: PackedImages) -> None:
    one, other = (posteriors(network.train(), images, IMAGES, View("centre", FIXED), COMPUTE) for _ in range(2))
    assert torch.equal(one, other)


@METHODS
def test_posteriors_are_uniform_where_scores_are_not_finite(images: PackedImages, method: Method) -> None:
    torch.manual_seed(0)
    broken = VGG("A", CLASSES, input_side=CROP, width=1 / 16)
    with torch.no_grad():
        broken.named_layers()["conv3_1"].weight.fill_(float("inf"))
    found = posteriors(broken, images, IMAGES, View(method, FIXED), COMPUTE)
    torch.testing.assert_close(found, torch.full((len(IMAGES), CLASSES), 1 / CLASSES))


@EACH
def test_the_count_of_multiply_accumulates_is_that_of_torch(network: VGG, images: PackedImages, view: View) -> None:
    with FlopCounterMode(display=False) as counted:
        posteriors(network, images, IMAGES, view, COMPUTE)
    products = counted.get_flop_counts()["Global"]  # rescaling of images is `bmm`
    of_net = sum(count for operation, count in products.items() if str(operation) in ("aten.convolution", "aten.addmm"))
    assert count_view_gmacs(network, images, IMAGES, view) == pytest.approx(of_net / 2e9, rel=1e-12)


SCALES = (32, 40, 57)


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        ("centre", ["centre 40"]),
        ("dense", ["dense 40"]),
        ("dense_scales", ["dense 32", "dense 40", "dense 57"]),
        ("multi_crop", ["multi_crop 32", "multi_crop 40", "multi_crop 57"]),
    ],
)
def test_a_protocol_averages_one_method_at_one_or_three_scales(protocol: Protocol, expected: list[str]) -> None:
    assert [f"{method} {scale}" for method, scale in views(protocol, SCALES)] == expected


def test_combined_is_the_mean_of_dense_at_three_scales_and_of_the_crops(network: VGG, images: PackedImages) -> None:
    found = {
        protocol: average(posteriors(network, images, IMAGES, view, COMPUTE) for view in views(protocol, SCALES))
        for protocol in get_args(Protocol)
    }
    assert (found["dense_scales"] - found["multi_crop"]).abs().max() > 1e-3
    torch.testing.assert_close(found["combined"], (found["dense_scales"] + found["multi_crop"]) / 2)
