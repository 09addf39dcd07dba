"""The posteriors of each run's test images under each protocol, as `predictions.npz` names them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vgg_ablation.errors import StageError
from vgg_ablation.evaluate.arrays import Arrays


class TestImages(NamedTuple):
    """A run's test images, (N,) each."""

    numbers: np.ndarray
    labels: np.ndarray


def array_name(run: int, content: str) -> str:
    """Return the name of a run's array: `images`, its test images' numbers, `labels`, theirs, or a protocol."""
    return f"run_{run}_{content}"


def shared_images(members: Sequence[Arrays], run: int) -> TestImages:
    """Return the test images of a run, which must be those of all nets.

    Raises:
        StageError: they are not, or a file is damaged.
    """
    first, *others = (
        TestImages(*(member[array_name(run, content)] for content in ("images", "labels"))) for member in members
    )
    for member, other in zip(members[1:], others, strict=True):
        if not all(map(np.array_equal, first, other)):
            raise StageError(
                f"{member.path}: run {run} has other test images than in {members[0].path}; run evaluate again for both"
            )
    return first


def fuse(members: Sequence[Arrays], run: int, protocol: str) -> Tensor:
    """Return the mean of the nets' posteriors, (N, K) float32: their fusion (section 4.4).

    Each net's are read when it is their turn, as those of all may not fit in memory.

    Raises:
        StageError: a file is damaged, or lacks the run or the protocol.
    """
    total = torch.zeros((), dtype=torch.float64)
    for member in members:
        total = total + torch.from_numpy(member[array_name(run, protocol)])
    return (total / len(members)).float()
