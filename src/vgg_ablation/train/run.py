"""One training run: SGD on the multinomial logistic loss, as in section 3.1."""

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import get_total_norm

from vgg_ablation.device import Compute
from vgg_ablation.images.batches import Batches
from vgg_ablation.runtime.checkpoints import Slots
from vgg_ablation.train import checkpoint
from vgg_ablation.train.epoch import Epoch
from vgg_ablation.train.schedule import cosine, plateau
from vgg_ablation.train.step import TrainingStep

AT_CHANCE = 0.98
"""A net whose losses end above this share of ln K, the loss of guessing, has not learned."""
EXPLODED = 1e3
"""A net whose training loss is above this multiple of ln K is lost: its logits are thousands, a trained net's are tens.

A net starts within a few times ln K. Of narrow ones at too high a rate, one came back from 27 times that (and from a
validation loss of 10^6 times that, which is therefore not judged), none from above 100.
"""
_VALIDATION_BATCH = 256


class DivergedError(Exception):
    """A run that is of no use any more; the message says how, in which epoch, and by what it was found.

    Args:
        epoch: from 1.
        seconds: time that this epoch took.
        reason: `diverged`, a training loss that is no finite number; or `exploded`, weights or a validation loss that
            are none, or a training loss beyond all measure (`EXPLODED`).
        found: in words, what was found.
        net: that it befell, where that is not the one whose run this is.
    """

    def __init__(self, epoch: int, seconds: float, reason: str = "diverged", found: str = "", *, net: str = "") -> None:
        super().__init__(f"{net} {reason} in epoch {epoch}".strip() + (f": {found}" if found else ""))
        self.epoch = epoch
        self.seconds = seconds
        self.reason = reason
        self.found = found


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
    checkpoints: Slots,
    say: Callable[[str], None],
) -> Iterator[Epoch]:
    """Train `network` in place, and yield each epoch as it ends; first those that `checkpoints` already hold.

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
        checkpoints: written after each epoch, so that at most one is ever done again.
        say: tells people from where a run that was interrupted goes on, and what goes otherwise than planned.

    Raises:
        DivergedError: the run diverged or exploded.
        StageError: as `TrainingStep`.
    """
    take_step = TrainingStep(
        network, compute, learning_rate=recipe.learning_rate, momentum=recipe.momentum,
        weight_decay=recipe.weight_decay, largest=largest, say=say,
    )  # fmt: skip
    history, lost = checkpoint.load(checkpoints, network, take_step.optimiser, take_step.scaler)
    if history:
        say(f"going on after epoch {len(history)}/{recipe.epochs}")
    yield from history
    if lost:
        raise DivergedError(**asdict(lost))

    batch_size = min(recipe.batch_size, len(training))
    steps = len(training) // batch_size
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
        norm = get_total_norm(network.parameters()).item()
        how = _lost(train_loss, norm, len(batches.pixels.categories))
        validation_loss, accuracy = (0.0, 0.0) if how else validate(network, batches, validation, compute)
        if not math.isfinite(validation_loss):
            how = "exploded", f"the validation loss is {validation_loss}"
        seconds = time.perf_counter() - began
        if how:
            lost = checkpoint.Lost(number, seconds, *how)
            checkpoint.save(checkpoints, network, take_step.optimiser, take_step.scaler, history, lost)
            raise DivergedError(**asdict(lost))
        history.append(Epoch(number, first_rate, train_loss, validation_loss, accuracy, seconds))
        checkpoint.save(checkpoints, network, take_step.optimiser, take_step.scaler, history)
        yield history[-1]


def _lost(loss: float, norm: float, classes: int) -> tuple[str, str] | None:
    """Return how an epoch was lost, if so, by its training loss and the norm of the weights that it ends with."""
    if not math.isfinite(loss):
        return "diverged", f"the loss is {loss}"
    if loss > EXPLODED * math.log(classes):
        return "exploded", f"the loss is {loss:.1e}"
    if not math.isfinite(norm):
        return "exploded", f"the norm of the weights is {norm}"
    return None


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
