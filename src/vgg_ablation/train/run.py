"""One training run: SGD on the multinomial logistic loss, as in section 3.1."""

import hashlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from vgg_ablation.data.batches import Batches
from vgg_ablation.pipeline.compute import Compute
from vgg_ablation.train import checkpoint
from vgg_ablation.train.epoch import Epoch
from vgg_ablation.train.schedule import cosine, plateau
from vgg_ablation.train.step import TrainingStep

AT_CHANCE = 0.98
"""A net whose losses end above this share of ln K, the loss of guessing, has not learned."""
_VALIDATION_BATCH = 256
_CHECKPOINT_EVERY = 30.0  # seconds


class DivergedError(Exception):
    """The loss is no longer a finite number; the message says in which epoch."""

    def __init__(self, epoch: int, seconds: float, *, net: str = "") -> None:
        super().__init__(f"{net} diverged in epoch {epoch}".strip())
        self.epoch = epoch
        self.seconds = seconds
        """Time that this epoch took."""


@dataclass(frozen=True)
class Recipe:
    """Everything about a run but its net, its images and its length in words."""

    learning_rate: float
    weight_decay: float
    momentum: float
    batch_size: int
    epochs: int
    schedule: str
    patience: int
    colour_shift: float


def derive_seed(*path: int | str) -> int:
    """Return a seed for the random numbers that `path` names, unrelated to those of any other path."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, path)).encode()).digest()[:7])


def train(
    network: nn.Module,
    batches: Batches,
    training: Tensor,
    validation: Tensor,
    recipe: Recipe,
    compute: Compute,
    *,
    seed: int,
    largest: int,
    checkpoint_file: Path,
) -> Iterator[Epoch]:
    """Train `network` in place, and yield each epoch as it ends; first those that `checkpoint_file` already holds.

    Args:
        network: on the compute device, channels-last, initialised.
        batches: of the run's images.
        training: (N,) numbers of the training images.
        validation: (M,) numbers of the validation images.
        recipe: how to train.
        compute: device and precision.
        seed: of order, crops, flips, colours and dropout. Each epoch's numbers derive from the seed and the epoch
            alone, so that a run goes on from a checkpoint exactly as if it had not been interrupted, and all nets see
            the same crops.
        largest: images that go through the network at once; see `TrainingStep`.
        checkpoint_file: is written at most every half minute, and at the end.

    Raises:
        DivergedError: the loss is not finite.
    """
    take_step = TrainingStep(
        network, compute, learning_rate=recipe.learning_rate, momentum=recipe.momentum,
        weight_decay=recipe.weight_decay, largest=largest,
    )  # fmt: skip
    history = checkpoint.load(checkpoint_file, network, take_step.optimiser, take_step.scaler)
    yield from history

    batch_size = min(recipe.batch_size, len(training))
    steps = len(training) // batch_size
    saved = time.monotonic()
    for number in range(len(history) + 1, recipe.epochs + 1):
        crops = torch.Generator().manual_seed(derive_seed(seed, number, "crops"))
        torch.manual_seed(derive_seed(seed, number, "dropout"))
        share = plateau([epoch.validation_accuracy for epoch in history], recipe.patience)
        first_rate = 0.0
        began = time.perf_counter()
        total = torch.zeros((), device=compute.device)
        network.train()
        for step, (images, labels) in enumerate(batches.training(training, batch_size, recipe.colour_shift, crops)):
            if recipe.schedule == "cosine":
                share = cosine((number - 1) * steps + step, recipe.epochs * steps)
            take_step.learning_rate = recipe.learning_rate * share
            first_rate = first_rate or take_step.learning_rate
            total += take_step(images, labels)  # stays on the device: an epoch waits for it once, at its end
        train_loss = total.item() / steps
        if not math.isfinite(train_loss):
            raise DivergedError(number, time.perf_counter() - began)
        validation_loss, accuracy = validate(network, batches, validation, compute)
        if not math.isfinite(validation_loss):
            raise DivergedError(number, time.perf_counter() - began)
        seconds = time.perf_counter() - began
        history.append(Epoch(number, first_rate, train_loss, validation_loss, accuracy, seconds))
        if number == recipe.epochs or time.monotonic() - saved > _CHECKPOINT_EVERY:
            checkpoint.save(checkpoint_file, network, take_step.optimiser, take_step.scaler, history)
            saved = time.monotonic()
        yield history[-1]


@torch.inference_mode()
def validate(network: nn.Module, batches: Batches, images: Tensor, compute: Compute) -> tuple[float, float]:
    """Return mean cross-entropy in nats and top-1 accuracy in percent of the images' centre crops."""
    network.eval()
    loss = torch.zeros((), device=compute.device)
    correct = torch.zeros((), dtype=torch.int64, device=compute.device)
    for inputs, labels in batches.centre(images, _VALIDATION_BATCH):
        with compute.autocast():
            scores = network(inputs).float()
        loss += cross_entropy(scores, labels, reduction="sum")
        correct += (scores.argmax(1) == labels).sum()
    return loss.item() / len(images), 100 * correct.item() / len(images)


def at_chance(last: Epoch, classes: int) -> bool:
    """Return whether a run that ended with this epoch sits at ln K: it did not train.

    Both losses must: dropout keeps the training loss up in a net that begins to learn, overfitting the validation loss
    in one that has learned.
    """
    return min(last.train_loss, last.validation_loss) > AT_CHANCE * math.log(classes)
