"""One training run: SGD on the multinomial logistic loss, as in section 3.1."""

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import get_total_norm

from vgg_ablation.device import Compute
from vgg_ablation.images.batches import Batches
from vgg_ablation.runtime import messages
from vgg_ablation.runtime.checkpoints import BackgroundCheckpoints
from vgg_ablation.runtime.settings import TrainSettings
from vgg_ablation.train import checkpoint
from vgg_ablation.train.epoch import Divergence, Epoch
from vgg_ablation.train.schedule import cosine, plateau, warm_up
from vgg_ablation.train.step import TrainingStep

AT_CHANCE = 0.98
"""A net whose losses end above this share of ln K, the loss of guessing, has not learned."""
EXPLODED = 1e3
"""Training has exploded when its loss is above this multiple of ln K: the logits are thousands, usually they are tens.

A net starts within a few times ln K. Of narrow nets at too high a learning rate, one recovered from 27 times that, none
from above 100. The validation loss is not judged by this: one net recovered from 10^6 times ln K.
"""
_VALIDATION_BATCH = 256


@dataclass(frozen=True)
class Point:
    """Hyper-parameters that are searched for each net."""

    learning_rate: float
    weight_decay: float
    batch_size: int


@dataclass(frozen=True)
class Recipe:
    """Hyper-parameters of one training run; sections `train` and `tune` of the settings explain them."""

    point: Point
    momentum: float
    epochs: int
    schedule: str
    warm_up: float
    patience: int
    colour_shift: float

    @classmethod
    def of(cls, settings: TrainSettings, point: Point, epochs: int | None = None) -> "Recipe":
        """Combine the settings that all nets share with what is searched for each net, and another run length."""
        recipe = cls(point, **settings.model_dump(exclude={"refit"}))
        return recipe if epochs is None else replace(recipe, epochs=epochs)


def derive_seed(*path: int | str) -> int:
    """Return a seed for the purpose that `path` names, unrelated to the seeds of other paths."""
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
    checkpoints: BackgroundCheckpoints,
    say: Callable[[str], None],
) -> Iterator[Epoch]:
    """Train `network` in place and yield each epoch when it ends, first those in the checkpoint.

    Args:
        network: on the compute device, channels-last, initialised.
        batches: batches of the run's images.
        training: (N,) numbers of the training images.
        validation: (M,) numbers of the validation images; none where the net is trained on them too.
        recipe: hyper-parameters.
        compute: device and precision.
        seed: seed of order, crops, flips, colours and dropout. The random numbers of an epoch derive from the seed and
            the epoch's number alone, so that a resumed run is bit-identical and all nets see the same crops.
        largest: images that go through the network at once; see `TrainingStep`.
        checkpoints: keep the state after each epoch, written when due, and after the last epoch.
        say: receives progress lines.

    Raises:
        Divergence: training diverged or exploded.
        StageError: as `TrainingStep` and `BackgroundCheckpoints.wait`.
    """
    saved = checkpoint.load(checkpoints, network)
    history = saved.history
    if history:
        say(messages.resuming(len(history), recipe.epochs))
    yield from history
    if saved.divergence:
        raise saved.divergence
    if len(history) == recipe.epochs:
        return  # now: an optimiser imports the compiler, which takes seconds

    take_step = TrainingStep(
        network, compute, learning_rate=recipe.point.learning_rate, momentum=recipe.momentum,
        weight_decay=recipe.point.weight_decay, largest=largest, say=say,
    )  # fmt: skip
    saved.restore(network, take_step.optimiser, take_step.scaler)
    batch_size = min(recipe.point.batch_size, len(training))
    steps = len(training) // batch_size
    warming = round(recipe.warm_up * recipe.epochs * steps)
    checkpoint_seconds = 0.0
    for number in range(len(history) + 1, recipe.epochs + 1):
        crops = torch.Generator().manual_seed(derive_seed(seed, number, "crops"))
        torch.manual_seed(derive_seed(seed, number, "dropout"))
        share = 1.0
        if recipe.schedule == "plateau":
            accuracies = [each for epoch in history if (each := epoch.validation_accuracy) is not None]
            share = plateau(accuracies, recipe.patience)
        first_rate = 0.0
        began = time.perf_counter()
        total = torch.zeros((), device=compute.device)
        wrong = torch.zeros((), dtype=torch.int64, device=compute.device)
        network.train()
        drawn = batches.training(training, batch_size, recipe.colour_shift, crops)
        for step, (images, labels) in enumerate(drawn, start=(number - 1) * steps):
            if recipe.schedule == "cosine" and step >= warming:
                share = cosine(step - warming, recipe.epochs * steps - warming)
            take_step.learning_rate = recipe.point.learning_rate * share * warm_up(step, warming)
            first_rate = first_rate or take_step.learning_rate
            loss, errors = take_step(images, labels)
            total += loss  # on the device: the epoch waits for it once, at its end
            wrong += errors
        train_loss, train_error = total.item() / steps, 100 * wrong.item() / (steps * batch_size)
        norm = get_total_norm(network.parameters()).item()
        problem = _problem(train_loss, norm, len(batches.pixels.categories))
        validation_loss, accuracy = None, None
        if not problem and len(validation):
            validation_loss, accuracy = validate(network, batches, validation, compute)
            if not math.isfinite(validation_loss):
                problem = "exploded", f"the validation loss is {validation_loss}"
        seconds = time.perf_counter() - began
        if problem:
            divergence = Divergence(number, seconds, *problem)
            checkpoint.keep(checkpoints, network, take_step.optimiser, take_step.scaler, history, divergence)
            checkpoints.write_kept()
            raise divergence
        history.append(
            Epoch(number, first_rate, train_loss, train_error, validation_loss, accuracy, seconds, checkpoint_seconds)
        )
        ended = time.perf_counter()
        checkpoint.keep(checkpoints, network, take_step.optimiser, take_step.scaler, history)
        if number == recipe.epochs or checkpoints.due(seconds):
            checkpoints.write_kept()
        checkpoint_seconds = time.perf_counter() - ended
        yield history[-1]


def _problem(loss: float, norm: float, classes: int) -> tuple[str, str] | None:
    """Judge an epoch by its training loss and the norm of the weights: kind and cause of a divergence, or None."""
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
    """Return whether the losses of a run's last epoch are those of guessing, ln K: the net has not learned.

    Both losses must be: dropout keeps the training loss high in a net that begins to learn, overfitting the validation
    loss in one that has learned. A run without validation images is judged by its training loss alone.
    """
    losses = [loss for loss in (last.train_loss, last.validation_loss) if loss is not None]
    return min(losses) > AT_CHANCE * math.log(classes)
