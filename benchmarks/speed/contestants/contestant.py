"""What a contestant must be able to do."""

from collections.abc import Iterator
from typing import Protocol

from torch import Tensor


class Contestant(Protocol):
    """One way to train the net of a case. It has a process of its own, and is made there from case and device."""

    precision: str
    """Of its matrix products and convolutions: `bfloat16`, `float16` or `float32`."""

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield one epoch: images (B, 3, side, side) and labels (B,), on the device, ready for `train`."""
        ...

    def train(self, images: Tensor, labels: Tensor) -> None:
        """Take one step on a batch."""
        ...
