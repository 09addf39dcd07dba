"""Posteriors of image files, decoded, rescaled and normalised as a study does."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vgg_ablation.dataset.archive import LARGEST_MEMBER
from vgg_ablation.dataset.decode import UnusableError, decode
from vgg_ablation.device import Compute
from vgg_ablation.evaluate.protocols import PackedImages, View, average, posteriors
from vgg_ablation.images.batches import Batches, Colour
from vgg_ablation.images.pixels import Pixels
from vgg_ablation.model.weights import Description
from vgg_ablation.predict.nets import TrainedRun


def read_image(path: Path, side: int) -> np.ndarray:
    """Decode an image file to (height, width, 3) uint8, RGB, smallest side `side`.

    Raises:
        UnusableError: it cannot be read, or is not a usable image; see `decode`.
    """
    try:
        if path.exists() and not path.is_file():
            raise UnusableError("not a file")
        if (size := path.stat().st_size) > LARGEST_MEMBER:
            raise UnusableError(f"too large: {size:,} bytes")
        content = path.read_bytes()
    except OSError as error:
        raise UnusableError(error.strerror or str(error)) from None
    with warnings.catch_warnings(action="ignore"):  # Pillow warns of odd metadata, which we do not need
        return decode(content, side).pixels


def stored_side(description: Description, view: View) -> int:
    """Return the smallest side that images are decoded to for a view: the study's, if it tested at that scale."""
    return description.stored_side if view.scale == description.test_scale else view.scale


def classify(runs: Sequence[TrainedRun], images: Sequence[np.ndarray], view: View, compute: Compute) -> Tensor:
    """Return the class posteriors (N, K) float32 of N images, averaged over runs.

    Args:
        runs: runs of one net.
        images: (height, width, 3) uint8, RGB, as `read_image` returns them for `stored_side`.
        view: test method and scale.
        compute: device and precision.
    """
    pixels = Pixels.pack(images, runs[0].description.classes)
    return average(_posteriors(run, pixels, view, compute) for run in runs)


def _posteriors(run: TrainedRun, pixels: Pixels, view: View, compute: Compute) -> Tensor:
    described = run.description
    colour = Colour(torch.tensor(described.mean), torch.tensor(described.deviation), torch.zeros(3, 3))
    batches = Batches(pixels.resident(compute.device), colour, described.input_side, compute.device)
    network = run.network.to(compute.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return posteriors(network, PackedImages(batches, batches), torch.arange(len(pixels.labels)), view, compute)
