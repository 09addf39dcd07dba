"""The limit that nets are held against: how fast this device multiplies matrices."""

import time

import torch

from vgg_ablation.pipeline.compute import Compute

_SIDE = {"cpu": 2048, "cuda": 8192}
_TIMES = 5


def product_rate(compute: Compute) -> float:
    """Return the operations a second of a product of two square matrices in the device's precision, the best of a few.

    A product of side n takes 2 n³ operations. A fraction of a second on two cores.
    """
    side = _SIDE[compute.device.type]
    # Random: a GPU multiplies constants faster than it does anything real.
    first = torch.rand(side, side, generator=torch.Generator().manual_seed(0)).to(compute.device, compute.precision)
    shortest = float("inf")
    for _ in range(_TIMES):
        began = time.perf_counter()
        torch.mm(first, first)
        if compute.device.type == "cuda":
            torch.cuda.synchronize(compute.device)
        shortest = min(shortest, time.perf_counter() - began)
    return 2 * side**3 / shortest
