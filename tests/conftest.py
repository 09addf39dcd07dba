"""What the tests of several folders share: made-up images as the pipeline packs them, and a stage that can speak."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from hypothesis import settings

from vgg_ablation.data.pixels import Pixels
from vgg_ablation.pipeline.console import Stage

settings.register_profile("any machine", deadline=None)  # a busy one may pause within an example
settings.load_profile("any machine")


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the output that of a pipe and the root that of the working folder, wherever the tests run."""
    own = ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "DVC_ROOT", "OPTUNA_STORAGE", "CALTECH256_MIRRORS")
    for name in own:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def stage() -> Stage:
    return Stage("test")


@pytest.fixture(scope="session")
def packed() -> Callable[..., Pixels]:
    """Return what holds given (height, width, 3) uint8 arrays in memory as `preprocess` packs them on disk."""

    def hold(arrays: Sequence[np.ndarray], labels: Sequence[int] | None = None) -> Pixels:
        numbers = torch.zeros(len(arrays), dtype=torch.int64) if labels is None else torch.tensor(labels)
        sizes = [array.size for array in arrays]
        return Pixels(
            flat=torch.from_numpy(np.concatenate([array.ravel() for array in arrays])),
            offsets=torch.tensor([0, *sizes[:-1]]).cumsum(0),
            heights=torch.tensor([array.shape[0] for array in arrays]),
            widths=torch.tensor([array.shape[1] for array in arrays]),
            labels=numbers,
            categories=tuple(f"{label + 1:03d}.made-up" for label in range(int(numbers.max()) + 1)),
            digest="made up",
        )

    return hold
