"""This project's batches, net and step, as `train.run` uses them."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from benchmarks.speed.cases import CLASSES, DROPOUT, LEARNING_RATE, MOMENTUM, WEIGHT_DECAY, Case
from vgg_ablation.device import choose_compute
from vgg_ablation.images.batches import Batches, Colour
from vgg_ablation.images.pixels import Pixels
from vgg_ablation.model.vgg import VGG
from vgg_ablation.train.memory import images_at_once
from vgg_ablation.train.step import TrainingStep

_COLOUR_SHIFT = 0.1


def build_network(net: str, pixels: int) -> nn.Module:
    """Return net A, D or E for crops of `pixels` pixels."""
    return VGG(net, CLASSES, input_side=pixels, dropout=DROPOUT)


class Ours:
    """Packed pixels; crops are cut and coloured a batch at a time."""

    def __init__(self, case: Case, device: str, precision: str) -> None:
        del device, precision  # chosen by this same function
        compute = choose_compute(torch.get_num_threads())
        self.precision = compute.names["precision"]
        pixels = Pixels.open(case.images.packed)
        self._images = torch.arange(case.images.count)
        colour = Colour.measure(pixels, self._images)
        self._batches = Batches(pixels.resident(compute.device), colour, case.pixels, compute.device)
        self._batch_size = case.batch_size
        self._generator = torch.Generator().manual_seed(0)
        network = build_network(case.net, case.pixels).to(
            compute.device,
            memory_format=torch.channels_last,  # pyright: ignore[reportCallIssue]
        )
        self._step = TrainingStep(
            network, compute, learning_rate=LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY,
            largest=images_at_once(network, case.pixels, compute),
        )  # fmt: skip

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield one epoch of crops."""
        return self._batches.training(self._images, self._batch_size, _COLOUR_SHIFT, self._generator)

    def train(self, images: Tensor, labels: Tensor) -> None:
        """Take one step, without waiting for the device."""
        self._step(images, labels)
