"""Test protocols of section 3.2: from trained net and images to class posteriors."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from vgg_ablation.device import Compute
from vgg_ablation.images.batches import Batches
from vgg_ablation.images.rescale import rescaled_sizes
from vgg_ablation.model.dense import dense_logits
from vgg_ablation.model.table1 import count_gmacs
from vgg_ablation.model.vgg import VGG
from vgg_ablation.runtime.settings import Protocol

_CROPS = 256  # a batch
_PIXELS = 256 * 224 * 224  # a batch of whole images
_GRID = 5  # places of crops along each side


class View(NamedTuple):
    """One way of testing at one scale; a protocol is the mean of the posteriors of its views."""

    method: Literal["centre", "dense", "multi_crop"]
    scale: int
    """Q in pixels."""


def views(protocol: Protocol, scales: tuple[int, int, int]) -> list[View]:
    """Return the views that a protocol averages.

    Args:
        protocol: its name.
        scales: the three test scales Q, ascending; the middle one is the single Q.
    """
    if protocol in ("centre", "dense"):
        return [View(protocol, scales[1])]
    if protocol == "combined":
        return [*views("dense_scales", scales), *views("multi_crop", scales)]
    return [View("dense" if protocol == "dense_scales" else "multi_crop", scale) for scale in scales]


def average(posteriors: Iterable[Tensor]) -> Tensor:
    """Return the mean of the posteriors (N, K) of several views."""
    return torch.stack(list(posteriors)).mean(0)


@dataclass(frozen=True)
class Stored:
    """The images of one run as `preprocess` stored them."""

    fixed: Batches
    """At the fixed scale."""
    larger: Batches
    """The same images, large enough to be rescaled to any other scale."""

    @cached_property
    def side(self) -> int:
        """Pixels of the smallest side at the fixed scale."""
        return int(torch.minimum(self.fixed.pixels.heights, self.fixed.pixels.widths).min())

    def centre(self, images: Tensor, scale: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield numbers (B,) and centre crops (B, 3, side of the net's input, same) of `images` at a scale."""
        batches = self.fixed if scale == self.side else replace(self.larger, test_scale=scale)
        crops = (inputs for inputs, _ in batches.centre(images, _CROPS))
        return zip(images.split(_CROPS), crops, strict=True)

    def whole(self, images: Tensor, scale: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield numbers (B,) and inputs (B, 3, H, W) of `images` at a scale, those of one size together."""
        if scale == self.side:
            return self.fixed.whole(images, _PIXELS)
        return self.larger.whole(images, _PIXELS, scale)

    def sizes(self, images: Tensor, scale: int) -> Counter[tuple[int, int]]:
        """Count the heights and widths that `images` have at a scale."""
        pixels = self.fixed.pixels
        if scale == self.side:
            heights, widths = pixels.heights[images], pixels.widths[images]
        else:
            heights, widths = rescaled_sizes(self.larger.pixels, images, scale)
        return Counter(zip(heights.tolist(), widths.tolist(), strict=True))


@torch.inference_mode()
def posteriors(network: VGG, stored: Stored, images: Tensor, view: View, compute: Compute) -> Tensor:
    """Return the class posteriors of `images` in one view, (N, K) float32 on the CPU, rows summing to 1.

    `centre`: soft-max of the centre crop's scores. `dense`: the net applied convolutionally to the whole image, scores
    averaged over space, soft-max averaged over the image and its mirror image. `multi_crop`: soft-max averaged over a
    regular 5x5 grid of crops, those in the corners included, and their mirror images.

    A net whose scores are not finite knows nothing: its posteriors are uniform.

    Args:
        network: trained; it is put into evaluation mode.
        stored: where the images are taken from.
        images: (N,) their numbers, each once.
        view: how to test.
        compute: device and precision.
    """
    network.eval()
    classify = {"centre": _centre, "dense": _dense, "multi_crop": _multi_crop}[view.method]
    batches = stored.centre if view.method == "centre" else stored.whole
    result = torch.empty(len(images), len(stored.fixed.pixels.categories))
    row = torch.empty(int(images.max()) + 1, dtype=torch.int64)
    row[images] = torch.arange(len(images))
    for numbers, inputs in batches(images, view.scale):
        with compute.autocast():
            result[row[numbers]] = classify(network, inputs).cpu()
    return torch.where(result.isfinite().all(1, keepdim=True), result, 1 / result.shape[1])


def _centre(network: VGG, crops: Tensor) -> Tensor:
    return network(crops).float().softmax(1)


def _dense(network: VGG, inputs: Tensor) -> Tensor:
    scores = torch.stack([dense_logits(network, inputs), dense_logits(network, inputs.flip(3))])
    return scores.float().softmax(2).mean(0)


def _multi_crop(network: VGG, inputs: Tensor) -> Tensor:
    """Average over the grid; where places coincide, as on an image hardly larger than a crop, their crop counts so."""
    count, _, height, width = inputs.shape
    side = network.input_side
    places = list(_grid(height, width, side).items())
    at_once = max(1, _CROPS // count)
    total = torch.zeros((), device=inputs.device)
    for start in range(0, len(places), at_once):
        some = places[start : start + at_once]
        crops = torch.cat([inputs[:, :, top : top + side, left : left + side] for (top, left), _ in some])
        weights = torch.tensor([times for _, times in some], device=inputs.device)[:, None, None]
        for shown in (crops, crops.flip(3)):
            total = total + (weights * _centre(network, shown).view(len(some), count, -1)).sum(0)
    return total / (2 * _GRID**2)


def _grid(height: int, width: int, side: int) -> Counter[tuple[int, int]]:
    """Count how often each place (first row, first column) of a crop is one of the grid's."""
    rows, columns = (
        [round(place * (length - side) / (_GRID - 1)) for place in range(_GRID)] for length in (height, width)
    )
    return Counter(product(rows, columns))


def count_view_gmacs(network: VGG, stored: Stored, images: Tensor, view: View) -> float:
    """Count the multiply-accumulates (1e9) that `posteriors` takes, those of mirror images included."""
    classes, side = len(stored.fixed.pixels.categories), network.input_side
    crop = count_gmacs(network.arch, classes, side, network.width)
    if view.method == "centre":
        return crop * len(images)
    sizes = stored.sizes(images, view.scale)
    if view.method == "multi_crop":
        return 2 * crop * sum(len(_grid(*size, side)) * number for size, number in sizes.items())
    return 2 * sum(
        count_gmacs(network.arch, classes, side, network.width, image=size) * number for size, number in sizes.items()
    )
