"""What is recorded of an epoch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Epoch:
    """One line of the learning curves."""

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
