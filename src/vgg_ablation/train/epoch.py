"""The record of an epoch, and the error of one in which training diverged."""

from dataclasses import dataclass, field, fields

from vgg_ablation.runtime import messages


@dataclass(frozen=True)
class Epoch:
    """One row of the learning curves, and its duration."""

    epoch: int
    """From 1."""
    learning_rate: float
    """At the first step of the epoch."""
    train_loss: float
    """Mean cross-entropy of the training crops in nats, in training mode, while the weights change."""
    train_error: float
    """Their top-1 error in percent."""
    validation_loss: float | None
    """Mean cross-entropy of the centre crops of the validation images, in nats; None if the net is trained on them."""
    validation_accuracy: float | None
    """Their top-1 accuracy in percent."""
    seconds: float = field(compare=False)
    """Duration of steps and validation, in whichever process they ran."""
    checkpoint_seconds: float = field(default=0.0, compare=False)
    """Time in which training waited for the checkpoint of the epoch before."""

    @property
    def curve(self) -> dict[str, int | float | None]:
        """The row of the learning curves: all but the durations, and so the same in every repetition."""
        return {name: getattr(self, name) for name in CURVE_COLUMNS}


CURVE_COLUMNS = tuple(column.name for column in fields(Epoch) if column.compare)


def describe_epoch(epoch: Epoch, images: int) -> str:
    """Return a line about an epoch of `images` training images."""
    rate = images / epoch.seconds
    return messages.epoch_trained(
        epoch.train_loss, epoch.train_error, epoch.validation_accuracy, epoch.learning_rate, rate
    )


@dataclass(eq=False)
class Divergence(Exception):  # noqa: N818 - it is recorded as well as raised
    """Training diverged; the message says how, in which epoch, and why that was concluded."""

    epoch: int
    """From 1."""
    seconds: float
    """Duration of this epoch."""
    kind: str = "diverged"
    """`diverged`: the training loss is not finite; `exploded`: the weights or the validation loss are not, or the
    training loss is above `run.EXPLODED` times ln K."""
    cause: str = ""
    """The value that was found, such as `the loss is nan`."""
    net: str = ""
    """The net that diverged, if it is not the one that is being trained."""

    def __str__(self) -> str:
        return f"{self.net} {self.kind} in epoch {self.epoch}".strip() + (f": {self.cause}" if self.cause else "")
