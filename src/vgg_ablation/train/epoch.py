"""What is recorded of an epoch."""

from dataclasses import dataclass, field, fields


@dataclass(frozen=True)
class Epoch:
    """One line of the learning curves, and the time it took."""

    epoch: int
    """From 1."""
    learning_rate: float
    """At the epoch's first step."""
    train_loss: float
    """Mean cross-entropy of the training crops, in nats, with dropout, while the weights move."""
    validation_loss: float
    """Mean cross-entropy of the validation images' centre crops, in nats."""
    validation_accuracy: float
    """Their top-1 accuracy in percent."""
    seconds: float = field(compare=False)
    """Time that its steps and its validation took, whichever process ran it."""

    @property
    def curve(self) -> dict[str, int | float]:
        """The line of the learning curves, which is the same each time the run is run: all but the time."""
        return {name: getattr(self, name) for name in CURVE_COLUMNS}


CURVE_COLUMNS = tuple(column.name for column in fields(Epoch) if column.name != "seconds")
