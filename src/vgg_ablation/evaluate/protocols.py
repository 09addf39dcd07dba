"""Test protocols of section 3.2: class posteriors of a trained net."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import product
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from vgg_ablation.device import Compute
from vgg_ablation.images.batches import Batches
from vgg_ablation.images.rescale import rescaled_sizes
from vgg_ablation.model.dense import dense_logits
from vgg_ablation.model.table1 import STRIDE, count_gmacs
from vgg_ablation.model.vgg import VGG
from vgg_ablation.runtime.settings import Protocol

GRID = 5
"""Crop positions along each side of an image in multi-crop evaluation."""
CROPS = 2 * GRID**2
"""Crops of an image, mirror images included."""
_BATCH = 256  # crops per batch
_PIXELS = 256 * 224 * 224  # pixels per batch of whole images


class View(NamedTuple):
    """A test method at one scale; a protocol averages the posteriors of its views."""

    method: Literal["centre", "dense", "multi_crop"]
    scale: int
    """Test scale Q in pixels."""


def views(protocol: Protocol, scales: tuple[int, int, int]) -> list[View]:
    """Return the views that a protocol averages.

    Args:
        protocol: name of the protocol.
        scales: the three test scales Q in pixels, ascending; `centre` and `dense` use the middle one.
    """
    dense, crops = ([View(method, scale) for scale in scales] for method in ("dense", "multi_crop"))
    by_protocol: dict[Protocol, list[View]] = {
        "centre": [View("centre", scales[1])],
        "dense": [View("dense", scales[1])],
        "dense_scales": dense,
        "multi_crop": crops,
        "combined": [*dense, *crops],
    }
    return by_protocol[protocol]


def average(posteriors: Iterable[Tensor]) -> Tensor:
    """Return the mean of the posteriors (N, K) of several views."""
    return torch.stack(list(posteriors)).mean(0)


@dataclass(frozen=True)
class PackedImages:
    """The images of one run as `preprocess` packed them, served at any test scale."""

    fixed: Batches
    """At the fixed scale."""
    larger: Batches
    """The same images, large enough to be rescaled to any other scale."""

    @cached_property
    def side(self) -> int:
        """Smallest side in pixels at the fixed scale."""
        return self.fixed.pixels.side

    def centre(self, images: Tensor, scale: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the numbers (B,) and centre crops (B, 3, input side, input side) of `images` at a scale."""
        batches = self.fixed if scale == self.side else replace(self.larger, test_scale=scale)
        crops = (inputs for inputs, _ in batches.centre(images, _BATCH))
        return zip(images.split(_BATCH), crops, strict=True)

    def whole(self, images: Tensor, scale: int, multiple: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the numbers (B,) and inputs (B, 3, H, W) of whole `images` at a scale; see `Batches.whole`."""
        if scale == self.side:
            return self.fixed.whole(images, _PIXELS, multiple=multiple)
        return self.larger.whole(images, _PIXELS, scale, multiple=multiple)

    def sizes(self, images: Tensor, scale: int, multiple: int) -> Counter[tuple[int, int]]:
        """Count the inputs of `whole` by height and width."""
        pixels = self.fixed.pixels
        sizes = torch.stack([pixels.heights[images], pixels.widths[images]])
        if scale != self.side:
            sizes = rescaled_sizes(self.larger.pixels, images, scale)
        return Counter(map(tuple, (sizes // multiple * multiple).T.tolist()))


@torch.inference_mode()
def posteriors(network: VGG, packed: PackedImages, images: Tensor, view: View, compute: Compute) -> Tensor:
    """Return the class posteriors of `images` in one view, (N, K) float32 on the CPU, rows summing to 1.

    `centre`: soft-max of the centre crop's scores. `dense`: the net applied convolutionally to the image, cut at all
    sides alike to whole steps of 32 pixels, scores averaged over space, soft-max averaged over the image and its mirror
    image. `multi_crop`: soft-max averaged over a regular 5x5 grid of crops, those in the corners included, and their
    mirror images.

    Where a net's scores are not finite, the posteriors are uniform.

    Args:
        network: trained net; it is put into evaluation mode.
        packed: the images to take `images` from.
        images: (N,) image numbers, each once.
        view: test method and scale.
        compute: device and precision.
    """
    network.eval()
    result = torch.empty(len(images), len(packed.fixed.pixels.categories))
    row = torch.empty(int(images.max()) + 1, dtype=torch.int64)
    row[images] = torch.arange(len(images))
    few_counts = _few_counts(compute)
    if view.method == "centre":
        batches = packed.centre(images, view.scale)
    else:
        batches = packed.whole(images, view.scale, _multiple(view))
    for numbers, inputs in batches:
        with compute.autocast():
            result[row[numbers]] = _classify(network, view.method, inputs, few_counts=few_counts).cpu()
    return torch.where(result.isfinite().all(1, keepdim=True), result, 1 / result.shape[1])


def _few_counts(compute: Compute) -> bool:
    """Return whether batches are filled up to few counts: a GPU's library plans its kernels anew for each shape."""
    return compute.device.type == "cuda"


def _multiple(view: View) -> int:
    """Return what the sides of whole images are a multiple of: in the dense view of the step between positions.

    What is beyond the last whole step has no position. So cut, the positions are around the centre of the image; the
    1,546 images of 14 categories of Caltech-256 have 27 sizes at a smallest side of 256 pixels, and 454 otherwise.
    """
    return STRIDE if view.method == "dense" else 1


def _classify(network: VGG, method: str, inputs: Tensor, *, few_counts: bool) -> Tensor:
    """Return the posteriors (B, K) of crops or whole images (B, 3, H, W) under a test method."""
    if method == "centre":
        return _crops(network, inputs, few_counts=few_counts)
    if method == "multi_crop":
        return _multi_crop(network, inputs, few_counts=few_counts)
    logits = [_filled(partial(dense_logits, network), each, few_counts=few_counts) for each in (inputs, inputs.flip(3))]
    return torch.stack(logits).float().softmax(2).mean(0)


def _crops(network: VGG, crops: Tensor, *, few_counts: bool) -> Tensor:
    """Return the posteriors (N, K) of crops (N, 3, side, side)."""
    return _filled(network, crops, few_counts=few_counts).float().softmax(1)


def _filled(scores: Callable[[Tensor], Tensor], inputs: Tensor, *, few_counts: bool) -> Tensor:
    """Return the scores (N, K) of inputs (N, 3, H, W); with `few_counts`, zeros make N a power of two."""
    if not few_counts:
        return scores(inputs)
    missing = (1 << (len(inputs) - 1).bit_length()) - len(inputs)
    filled = torch.cat([inputs, inputs.new_zeros(missing, *inputs.shape[1:])])
    return scores(filled.contiguous(memory_format=torch.channels_last))[: len(inputs)]


def _multi_crop(network: VGG, inputs: Tensor, *, few_counts: bool) -> Tensor:
    """Average over the grid. Equal positions, in an image hardly larger than a crop, are computed once."""
    count, _, height, width = inputs.shape
    side = network.input_side
    positions = list(_grid(height, width, side).items())
    per_batch = max(1, _BATCH // count)
    total = torch.zeros((), device=inputs.device)
    for start in range(0, len(positions), per_batch):
        some = positions[start : start + per_batch]
        crops = torch.cat([inputs[:, :, top : top + side, left : left + side] for (top, left), _ in some])
        weights = torch.tensor([times for _, times in some], device=inputs.device)[:, None, None]
        for shown in (crops, crops.flip(3)):
            found = _crops(network, shown, few_counts=few_counts).view(len(some), count, -1)
            total = total + (weights * found).sum(0)
    return total / CROPS


def _grid(height: int, width: int, side: int) -> Counter[tuple[int, int]]:
    """Count how often the grid has a crop at each position (first row, first column)."""
    rows, columns = ([round(step * (length - side) / (GRID - 1)) for step in range(GRID)] for length in (height, width))
    return Counter(product(rows, columns))


def count_view_gmacs(network: VGG, packed: PackedImages, images: Tensor, view: View) -> float:
    """Count the multiply-accumulates (1e9) of `posteriors`, mirror images included."""
    classes, side = len(packed.fixed.pixels.categories), network.input_side
    crop = count_gmacs(network.arch, classes, side, network.width)
    if view.method == "centre":
        return crop * len(images)
    sizes = packed.sizes(images, view.scale, _multiple(view))
    if view.method == "multi_crop":
        return 2 * crop * sum(len(_grid(*size, side)) * number for size, number in sizes.items())
    return 2 * sum(
        count_gmacs(network.arch, classes, side, network.width, image=size) * number for size, number in sizes.items()
    )
