"""Two classes of small images that a narrow net tells apart within seconds, and the device it does so on."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from vgg_ablation.data.batches import Batches, Colour, RunImages
from vgg_ablation.data.pixels import Pixels
from vgg_ablation.pipeline.compute import Compute
from vgg_ablation.train.run import Recipe

COUNT = 32


@pytest.fixture(scope="session")
def compute() -> Compute:
    return Compute(torch.device("cpu"), torch.float32)


@pytest.fixture(scope="session")
def images(packed: Callable[..., Pixels]) -> RunImages:
    """Noise with a tint, red or blue, of 34 x 36 pixels: 16 to train, 8 to validate and 8 to test."""
    rng = np.random.default_rng(0)
    tints = np.array([[90, 0, 0], [0, 0, 90]])
    arrays = [(rng.integers(0, 160, (34, 36, 3)) + tints[number % 2]).astype(np.uint8) for number in range(COUNT)]
    pixels = packed(arrays, [number % 2 for number in range(COUNT)])
    training, validation, test = torch.arange(COUNT).split([16, 8, 8])
    return RunImages(
        Batches(pixels, Colour.measure(pixels, training), 32, torch.device("cpu")), training, validation, test
    )


@pytest.fixture
def recipe() -> Recipe:
    """Five epochs of two steps."""
    return Recipe(
        learning_rate=1e-2, weight_decay=5e-4, momentum=0.9, batch_size=8, epochs=5, schedule="cosine", patience=0,
        colour_shift=0.1,
    )  # fmt: skip
