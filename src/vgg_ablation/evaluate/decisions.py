"""Arrays of predictions.npz (class posteriors) and decisions.npz (what follows from them). Imports no torch.

predictions.npz, one net at one training scale: `run_RUN_images`, `run_RUN_labels`, `run_RUN_PROTOCOL`.
decisions.npz, any nets: `split/RUN/images`, `split/RUN/labels`, `NET/SCALE/RUN/PROTOCOL/class` and so on; NET of a
fusion is its members joined by `+`.
"""

import numpy as np

from vgg_ablation.evaluate.arrays import Write

SPLIT = "split/"
"""First part of the names of arrays that all nets share: the test images of each run."""


def prediction_name(run: int, content: str) -> str:
    """Return the name of an array of predictions.npz; `content` is `images`, `labels` or a protocol."""
    return f"run_{run}_{content}"


def write_split(write: Write, run: int, images: np.ndarray, labels: np.ndarray) -> None:
    """Write the numbers (N,) of a run's test images as int32, and their labels (N,) as int16."""
    write(f"{SPLIT}{run}/images", images.astype(np.int32))
    write(f"{SPLIT}{run}/labels", labels.astype(np.int16))


def write_decisions(write: Write, name: str, posteriors: np.ndarray) -> None:
    """Write the decisions of one net, or of a fusion, on a run's test images under one protocol.

    Two arrays (N,): `class`, the predicted class, int16; `confidence`, its posterior, of the posteriors' type.

    Args:
        write: takes the arrays.
        name: NET/SCALE/RUN/PROTOCOL.
        posteriors: (N, K) float32.
    """
    write(f"{name}/class", posteriors.argmax(1).astype(np.int16))
    write(f"{name}/confidence", posteriors.max(1))
