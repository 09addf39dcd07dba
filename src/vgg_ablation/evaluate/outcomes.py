"""What the report needs of every test image: the predicted label, and how sure of it and of the true one a net was."""

import numpy as np
from torch import Tensor

from vgg_ablation.evaluate.arrays import Write

SPLIT = "split/"
"""How the names of the arrays begin that say which images each run's test images are."""


def write_split(write: Write, run: int, images: np.ndarray, labels: np.ndarray) -> None:
    """Write the test images of one run: their numbers, (N,) int32, and labels, (N,) int16."""
    write(f"{SPLIT}{run}/images", images.astype(np.int32))
    write(f"{SPLIT}{run}/labels", labels.astype(np.int16))


def write_outcomes(write: Write, name: str, posteriors: Tensor, labels: Tensor) -> None:
    """Write what one net, or nets together, made of a run's test images.

    Written are, (N,) each, `class`, the predicted label as int16, `confidence`, its posterior, and `true`, that of the
    true label, both float32.

    Args:
        write: takes the arrays.
        name: NET/SCALE/RUN/PROTOCOL.
        posteriors: (N, K) float32.
        labels: (N,) int64.
    """
    confidence, predicted = posteriors.max(1)
    write(f"{name}/class", predicted.numpy().astype(np.int16))
    write(f"{name}/confidence", confidence.numpy())
    write(f"{name}/true", posteriors.gather(1, labels[:, None])[:, 0].numpy())
