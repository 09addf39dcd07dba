"""Posteriors that outlive the process which computed them, so that an interrupted evaluation does not repeat them."""

import time
from collections.abc import Callable

import torch
from torch import Tensor

from vgg_ablation.model.weights import pack, unpack
from vgg_ablation.runtime.checkpoints import Slots


def compute_once(slots: Slots, compute: Callable[[], Tensor]) -> tuple[Tensor, float]:
    """Return what `compute` returns and the seconds that it took, from `slots` where an earlier process left them.

    Raises:
        StageError: the disk is full.
    """
    if (content := slots.read()) is None:
        began = time.perf_counter()
        posteriors = compute()
        seconds = torch.tensor(time.perf_counter() - began, dtype=torch.float64)
        slots.write(0, content := pack({"posteriors": posteriors, "seconds": seconds}))
    kept = unpack(content, slots.name)
    return kept["posteriors"], kept["seconds"].item()
