"""What is asked of the device: which precision it is fast in, and how fast its matrix products are."""

import torch

from vgg_ablation.device import Compute, choose_compute, product_rate


class Choice:
    """The device and the precision that ours chooses. Choosing changes the process, so this has one of its own."""

    def __init__(self) -> None:
        self._compute = choose_compute(torch.get_num_threads())

    def describe(self) -> dict[str, str | int]:
        """Return `kind` (cpu or cuda), `device`, `precision` and the CPU's `threads`."""
        return {"kind": self._compute.device.type, **self._compute.names, "threads": torch.get_num_threads()}


class MatrixProducts:
    """Square matrix products, in a process that changes nothing of the framework's defaults."""

    def __init__(self, device: str) -> None:
        self._device = device

    def rate(self, precision: str) -> float:
        """Return the best FLOP/s of some attempts."""
        return product_rate(Compute(torch.device(self._device), getattr(torch, precision)))
