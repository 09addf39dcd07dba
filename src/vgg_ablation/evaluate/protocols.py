"""Test protocols of section 3.2: class posteriors of a trained net."""

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
from vgg_ablation.images.pixels import to_device
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

    def whole(self, images: Tensor, scale: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the numbers (B,) and whole inputs (B, 3, H, W) of `images` at a scale, batched by size."""
        if scale == self.side:
            return self.fixed.whole(images, _PIXELS)
        return self.larger.whole(images, _PIXELS, scale)

    def padded(self, images: Tensor, scale: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield as `whole`, padded to few shapes, and the sizes (2, B) of the images; see `Batches.padded`."""
        batches, scaled = (self.fixed, None) if scale == self.side else (self.larger, scale)
        return batches.padded(images, _PIXELS, scaled, multiple=STRIDE)

    def sizes(self, images: Tensor, scale: int) -> Counter[tuple[int, int]]:
        """Count `images` by their height and width at a scale."""
        pixels = self.fixed.pixels
        if scale == self.side:
            heights, widths = pixels.heights[images], pixels.widths[images]
        else:
            heights, widths = rescaled_sizes(self.larger.pixels, images, scale)
        return Counter(zip(heights.tolist(), widths.tolist(), strict=True))


@torch.inference_mode()
def posteriors(network: VGG, packed: PackedImages, images: Tensor, view: View, compute: Compute) -> Tensor:
    """Return the class posteriors of `images` in one view, (N, K) float32 on the CPU, rows summing to 1.

    `centre`: soft-max of the centre crop's scores. `dense`: the net applied convolutionally to the whole image, scores
    averaged over space, soft-max averaged over the image and its mirror image. `multi_crop`: soft-max averaged over a
    regular 5x5 grid of crops, those in the corners included, and their mirror images.

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
    few_shapes = _few_shapes(compute)
    for numbers, inputs, sizes in _inputs(packed, images, view, few_shapes=few_shapes):
        with compute.autocast():
            result[row[numbers]] = _classify(network, view.method, inputs, sizes, few_shapes=few_shapes).cpu()
    return torch.where(result.isfinite().all(1, keepdim=True), result, 1 / result.shape[1])


def _few_shapes(compute: Compute) -> bool:
    """Return whether inputs are padded to few shapes: a GPU's library plans its kernels anew for each shape.

    1,546 images of 14 categories of Caltech-256 have 454 sizes at a smallest side of 256 pixels, and 27 when padded,
    with 4 % more pixels. A CPU's library plans in less time than the padding takes.
    """
    return compute.device.type == "cuda"


def _inputs(
    packed: PackedImages, images: Tensor, view: View, *, few_shapes: bool
) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """Yield image numbers (B,), crops or whole images (B, 3, H, W), and the sizes (2, B) of those that are padded."""
    if view.method == "dense" and few_shapes:
        yield from packed.padded(images, view.scale)
    else:
        batches = packed.centre if view.method == "centre" else packed.whole
        yield from ((numbers, inputs, None) for numbers, inputs in batches(images, view.scale))


def _classify(network: VGG, method: str, inputs: Tensor, sizes: Tensor | None, *, few_shapes: bool) -> Tensor:
    """Return the posteriors (B, K) of one batch of `_inputs` under a test method."""
    if method == "centre":
        return _crops(network, inputs, few_shapes=few_shapes)
    if method == "multi_crop":
        return _multi_crop(network, inputs, few_shapes=few_shapes)
    if sizes is None:
        return _dense(dense_logits(network, inputs), dense_logits(network, inputs.flip(3)))
    return _dense_padded(network, inputs, to_device(sizes, inputs.device))


def _crops(network: VGG, crops: Tensor, *, few_shapes: bool) -> Tensor:
    """Return the posteriors (N, K) of crops (N, 3, side, side); with `few_shapes`, N is a power of two for the net."""
    scores = network(_filled(crops) if few_shapes else crops)[: len(crops)]
    return scores.float().softmax(1)


def _filled(inputs: Tensor) -> Tensor:
    """Return a batch with zeros behind it, so that its size is a power of two."""
    missing = (1 << (len(inputs) - 1).bit_length()) - len(inputs)
    filled = torch.cat([inputs, inputs.new_zeros(missing, *inputs.shape[1:])])
    return filled.contiguous(memory_format=torch.channels_last)


def _dense(*logits: Tensor) -> Tensor:
    """Return the posteriors (N, K) of images, given the logits of them and of their mirror images."""
    return torch.stack(logits).float().softmax(2).mean(0)


def _dense_padded(network: VGG, inputs: Tensor, sizes: Tensor) -> Tensor:
    """Return the posteriors (N, K) of padded images (N, 3, H, W) of `sizes` (2, N)."""
    count = len(inputs)
    columns = sizes[1][:, None] - 1 - torch.arange(inputs.shape[3], device=inputs.device)
    mirrored = inputs.gather(3, columns.clamp(min=0)[:, None, None, :].expand_as(inputs))
    sizes = torch.cat([sizes, sizes[:, :1].expand(2, len(_filled(inputs)) - count)], 1)
    return _dense(*(dense_logits(network, _filled(shown), sizes)[:count] for shown in (inputs, mirrored)))


def _multi_crop(network: VGG, inputs: Tensor, *, few_shapes: bool) -> Tensor:
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
            found = _crops(network, shown, few_shapes=few_shapes).view(len(some), count, -1)
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
    sizes = packed.sizes(images, view.scale)
    if view.method == "multi_crop":
        return 2 * crop * sum(len(_grid(*size, side)) * number for size, number in sizes.items())
    return 2 * sum(
        count_gmacs(network.arch, classes, side, network.width, image=size) * number for size, number in sizes.items()
    )
