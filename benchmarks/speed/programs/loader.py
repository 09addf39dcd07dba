"""Interface of a program, and the part that torchvision's and timm's share: a loader, and the advised step."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.speed.cases import LEARNING_RATE, MOMENTUM, WEIGHT_DECAY

Loader = Iterable[tuple[Tensor, Tensor]]


class Program(Protocol):
    """One way to train the net of a case. Its class is called with a case, `cpu` or `cuda`, and the fast precision."""

    precision: str
    """Type of matrix products and convolutions: `bfloat16`, `float16` or `float32`."""

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield one epoch: images (B, 3, side, side) and labels (B,), on the device."""
        ...

    def train(self, images: Tensor, labels: Tensor) -> None:
        """Take one step on a batch."""
        ...


class WithLoader:
    """A net in the processor's fast precision, channels-last, with a fused optimiser.

    Args:
        network: initialised, on the CPU.
        device: to train on.
        precision: precision of matrix products and convolutions.
        make_loader: returns a loader with so many processes of its own.
    """

    def __init__(
        self, network: nn.Module, device: torch.device, precision: str, make_loader: Callable[[int], Loader]
    ) -> None:
        self.precision = precision
        self.network = network.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self._forward: Callable[[Tensor], Tensor] = self.network
        self._device = device
        self._dtype: torch.dtype = getattr(torch, precision)
        self._optimiser = torch.optim.SGD(
            self.network.parameters(), LEARNING_RATE, MOMENTUM, weight_decay=WEIGHT_DECAY, fused=True
        )
        self._scaler = torch.amp.GradScaler(device.type, enabled=self._dtype == torch.float16)
        self._make_loader = make_loader
        self._loader = make_loader(0)

    def load_with(self, processes: int) -> None:
        """Load with so many processes beside this one."""
        self._loader = self._make_loader(processes)

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield one epoch of the loader."""
        for images, labels in self._loader:
            yield (
                images.to(self._device, memory_format=torch.channels_last, non_blocking=True),
                labels.to(self._device, non_blocking=True),
            )

    def train(self, images: Tensor, labels: Tensor) -> None:
        """Take one step, without waiting for the device."""
        with torch.autocast(self._device.type, dtype=self._dtype, enabled=self._dtype != torch.float32):
            loss = cross_entropy(self._forward(images), labels)
        self._scaler.scale(loss).backward()
        self._scaler.step(self._optimiser)
        self._scaler.update()
        self._optimiser.zero_grad(set_to_none=True)
