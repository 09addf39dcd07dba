"""Test protocols: from trained net and images to class posteriors."""

from collections import Counter
from functools import partial

import torch
from torch import Tensor

from vgg_ablation.data.batches import Batches
from vgg_ablation.evaluate.settings import Protocol
from vgg_ablation.model.configurations import count_gmacs
from vgg_ablation.model.dense import dense_logits
from vgg_ablation.model.vgg import VGG
from vgg_ablation.pipeline.compute import Compute

_CROPS = 256  # a batch
_PIXELS = 256 * 224 * 224  # a batch of whole images


@torch.inference_mode()
def posteriors(network: VGG, batches: Batches, images: Tensor, protocol: Protocol, compute: Compute) -> Tensor:
    """Return the class posteriors of `images`, (N, K) float32 on the CPU, rows summing to 1.

    `centre`: soft-max of the centre crop's scores. `dense`: the net applied convolutionally to the whole image, scores
    averaged over space, soft-max averaged over the image and its mirror image (section 3.2).

    A net whose scores are not finite knows nothing: its posteriors are uniform.
    """
    network.eval()
    result = torch.empty(len(images), len(batches.pixels.categories))
    if protocol == "centre":
        start = 0
        for inputs, _ in batches.centre(images, _CROPS):
            with compute.autocast():
                scores = network(inputs)
            result[start : start + len(inputs)] = scores.float().softmax(1).cpu()
            start += len(inputs)
    else:
        row = torch.empty(int(images.max()) + 1, dtype=torch.int64)
        row[images] = torch.arange(len(images))
        for numbers, inputs in batches.whole(images, _PIXELS):
            with compute.autocast():
                scores = [dense_logits(network, inputs), dense_logits(network, inputs.flip(3))]
            result[row[numbers]] = torch.stack(scores).float().softmax(2).mean(0).cpu()
    return torch.where(result.isfinite().all(1, keepdim=True), result, 1 / result.shape[1])


def count_protocol_gmacs(network: VGG, batches: Batches, images: Tensor, protocol: Protocol) -> float:
    """Count the multiply-accumulates (1e9) that `posteriors` takes; dense, an image and its mirror image each."""
    classes = len(batches.pixels.categories)
    count = partial(count_gmacs, network.arch, classes, network.input_side, network.width)
    if protocol == "centre":
        return count() * len(images)
    sizes = Counter(zip(batches.pixels.heights[images].tolist(), batches.pixels.widths[images].tolist(), strict=True))
    return 2 * sum(count(image=size) * number for size, number in sizes.items())
