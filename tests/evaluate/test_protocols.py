from collections.abc import Callable
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from vgg_ablation.data.batches import Batches, Colour
from vgg_ablation.data.pixels import Pixels
from vgg_ablation.evaluate import protocols
from vgg_ablation.evaluate.protocols import posteriors
from vgg_ablation.evaluate.settings import EvaluateSettings, Protocol
from vgg_ablation.model.vgg import VGG
from vgg_ablation.pipeline.compute import Compute

CLASSES = 7
COMPUTE = Compute(torch.device("cpu"), torch.float32)
SIZES = [(32, 32), (70, 40), (32, 70), (32, 32), (40, 70), (70, 40), (33, 37), (32, 70)]
IMAGES = torch.tensor([5, 0, 7, 2, 6, 4, 3])
"""In no order, of five sizes, and not all that there are."""
EACH = pytest.mark.parametrize("protocol", get_args(Protocol))


@pytest.fixture(scope="module")
def batches(packed: Callable[..., Pixels]) -> Batches:
    rng = np.random.default_rng(0)
    arrays = [(rng.integers(0, 256, (*size, 3)) * rng.random(3)).astype(np.uint8) for size in SIZES]
    pixels = packed(arrays, [number % CLASSES for number in range(len(SIZES))])
    return Batches(pixels, Colour.measure(pixels, torch.arange(len(SIZES))), 32, COMPUTE.device)


@pytest.fixture(scope="module")
def network() -> VGG:
    """Return a net of random weights, whose outputs differ between images."""
    torch.manual_seed(0)
    return VGG("A", CLASSES, input_side=32, width=1 / 16).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def inputs(batches: Batches, number: int) -> Tensor:
    """Return one whole image, normalised: (1, 3, H, W)."""
    image = batches.pixels.image(number).double() / 255
    normalised = (image - batches.colour.mean) / batches.colour.deviation
    return normalised.permute(2, 0, 1)[None].float()


@torch.no_grad()
def scores(network: VGG, image: Tensor) -> Tensor:
    """Return the mean over an image's cells of the scores there: (K,). Of an input of 32 pixels, fc6 sees one cell."""
    cells = network.eval().features(image)[0].flatten(1).T
    return network.classifier(cells).mean(0)


def test_the_nets_posteriors_differ_between_images(network: VGG, batches: Batches) -> None:
    """Else the tests below would show little."""
    assert posteriors(network, batches, IMAGES, "centre", COMPUTE).std(0).max() > 0.01


def test_centre_is_the_soft_max_of_the_centre_crops_scores(network: VGG, batches: Batches) -> None:
    expected = []
    for number in IMAGES.tolist():
        image = inputs(batches, number)
        top, left = ((length - 32) // 2 for length in image.shape[2:])
        expected.append(scores(network, image[:, :, top : top + 32, left : left + 32]).softmax(0))
    found = posteriors(network, batches, IMAGES, "centre", COMPUTE)
    torch.testing.assert_close(found, torch.stack(expected), atol=1e-5, rtol=1e-4)


def test_dense_averages_scores_over_space_and_posteriors_over_the_mirror_image(network: VGG, batches: Batches) -> None:
    expected = []
    for number in IMAGES.tolist():
        image = inputs(batches, number)
        both = [scores(network, view).softmax(0) for view in (image, image.flip(3))]
        expected.append((both[0] + both[1]) / 2)
    found = posteriors(network, batches, IMAGES, "dense", COMPUTE)
    torch.testing.assert_close(found, torch.stack(expected), atol=1e-5, rtol=1e-4)


def test_dense_on_an_image_of_the_nets_side_is_centre_averaged_with_the_mirror_image(
    network: VGG, packed: Callable[..., Pixels]
) -> None:
    array = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    pixels = packed([array, array[:, ::-1]], [0, CLASSES - 1])
    batches = Batches(pixels, Colour.measure(pixels, torch.arange(2)), 32, COMPUTE.device)
    centre = posteriors(network, batches, torch.arange(2), "centre", COMPUTE)
    dense = posteriors(network, batches, torch.arange(2), "dense", COMPUTE)
    assert (centre[0] - centre[1]).abs().max() > 1e-3
    torch.testing.assert_close(dense, centre.mean(0).expand(2, CLASSES), atol=1e-6, rtol=1e-5)


@EACH
def test_rows_are_in_the_order_of_the_images(network: VGG, batches: Batches, protocol: Protocol) -> None:
    together = posteriors(network, batches, IMAGES, protocol, COMPUTE)
    alone = [posteriors(network, batches, IMAGES[[row]], protocol, COMPUTE)[0] for row in range(len(IMAGES))]
    torch.testing.assert_close(together, torch.stack(alone), atol=1e-6, rtol=1e-5)


@EACH
def test_the_size_of_a_batch_does_not_matter(
    network: VGG, batches: Batches, monkeypatch: pytest.MonkeyPatch, protocol: Protocol
) -> None:
    whole = posteriors(network, batches, IMAGES, protocol, COMPUTE)
    monkeypatch.setattr(protocols, "_CROPS", 2)
    monkeypatch.setattr(protocols, "_PIXELS", 40 * 70)
    torch.testing.assert_close(posteriors(network, batches, IMAGES, protocol, COMPUTE), whole, atol=1e-6, rtol=1e-5)


@EACH
def test_rows_sum_to_one(network: VGG, batches: Batches, protocol: Protocol) -> None:
    found = posteriors(network, batches, IMAGES, protocol, COMPUTE)
    assert (found >= 0).all()
    torch.testing.assert_close(found.sum(1), torch.ones(len(IMAGES)))


@EACH
def test_posteriors_are_float32_on_the_cpu_also_of_a_bfloat16_net(
    network: VGG, batches: Batches, protocol: Protocol
) -> None:
    found = posteriors(network, batches, IMAGES, protocol, Compute(COMPUTE.device, torch.bfloat16))
    assert (found.shape, found.dtype, found.device.type) == ((len(IMAGES), CLASSES), torch.float32, "cpu")
    torch.testing.assert_close(found.sum(1), torch.ones(len(IMAGES)))


@EACH
def test_dropout_is_off(network: VGG, batches: Batches, protocol: Protocol) -> None:
    one, other = (posteriors(network.train(), batches, IMAGES, protocol, COMPUTE) for _ in range(2))
    assert torch.equal(one, other)


@EACH
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_net_that_is_not_finite_knows_nothing(batches: Batches, protocol: Protocol, value: float) -> None:
    torch.manual_seed(0)
    broken = VGG("A", CLASSES, input_side=32, width=1 / 16)
    with torch.no_grad():
        broken.named_layers()["conv3_1"].weight.fill_(value)
    found = posteriors(broken, batches, IMAGES, protocol, COMPUTE)
    torch.testing.assert_close(found, torch.full((len(IMAGES), CLASSES), 1 / CLASSES))


def test_a_protocol_is_evaluated_at_least() -> None:
    with pytest.raises(ValueError, match="at least 1 item"):
        EvaluateSettings(protocols=())


def test_an_unknown_protocol_is_refused() -> None:
    with pytest.raises(ValueError, match="'centre' or 'dense'"):
        EvaluateSettings.model_validate({"protocols": ["center"]})
