"""Fixtures of several folders: made-up images as the pipeline packs them, and a console."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import settings

from vgg_ablation.images.index import (
    INDEX_COLUMNS,
    INDEX_FILE,
    LARGE_FOLDER,
    PACKED,
    PIXELS_FILE,
    SPLITS_FILE,
    write_checksums,
)
from vgg_ablation.images.pixels import Pixels
from vgg_ablation.runtime.checkpoints import VARIABLE as CHECKPOINT_SECONDS
from vgg_ablation.runtime.console import Console

pytest_plugins = ["image_fixtures", "published_fixtures", "study_fixtures", "trained_fixtures"]

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # a hundred processes would compile the package, each for itself

settings.register_profile("any machine", deadline=None)  # a busy one may pause within an example
settings.load_profile("any machine")


LONG = ("all_nets", "one_net", "experiments", "tutorial", "appendix_b", "torture", "full_disk", "side_by_side")
"""Files of end-to-end tests, from the longest to the shortest."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run end-to-end tests last, the longest first: then two workers end at about the same time."""
    places = {f"test_{name}.py": place for place, name in enumerate(LONG, 1)}
    items.sort(key=lambda item: places.get(item.path.name, 0))


@pytest.fixture(autouse=True, scope="session")
def default_signals() -> None:
    """Handle the signals that a shell's background job or nohup tells this process to ignore."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the variables that change the kind of output, or locations; write a checkpoint after each epoch."""
    monkeypatch.setenv(CHECKPOINT_SECONDS, "0")
    own = ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "DVC_ROOT", "OPTUNA_STORAGE", "CALTECH256_MIRRORS")
    for name in own:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def torch_as_before() -> Iterator[None]:
    """Restore what `choose_compute` changes in torch."""
    determinism, threads = torch.get_deterministic_debug_mode(), torch.get_num_threads()
    yield
    torch.set_deterministic_debug_mode(determinism)
    torch.set_num_threads(threads)


@pytest.fixture
def console() -> Console:
    return Console("test")


@pytest.fixture(scope="session")
def packed() -> Callable[..., Pixels]:
    """Return a function that packs (height, width, 3) uint8 arrays in memory as `preprocess` does on disk."""

    def hold(arrays: Sequence[np.ndarray], labels: Sequence[int] | None = None) -> Pixels:
        categories = tuple(f"{label + 1:03d}.made-up" for label in range(max(labels or [0]) + 1))
        return replace(Pixels.pack(arrays, categories, labels), digest="made up")

    return hold


@pytest.fixture(scope="session")
def write_processed() -> Callable[[Path], None]:
    """Return a function that writes twelve images of two categories and two equal splits into a folder.

    Their sides are 32 pixels at the fixed scale and 64 for the others.
    """
    images = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
    names = [f"{number}.jpg" for number in range(12)]

    def pack(folder: Path, side: int) -> None:
        folder.mkdir(parents=True)
        images.repeat(side // 32, axis=1).repeat(side // 32, axis=2).tofile(folder / PIXELS_FILE)
        rows = [
            (n, name, f"{n % 2 + 1:03d}.x", n % 2, side, side, 3 * side * side * n, str(n))
            for n, name in enumerate(names)
        ]
        pd.DataFrame(rows, columns=INDEX_COLUMNS).to_csv(folder / INDEX_FILE, index=False)

    def write(folder: Path) -> None:
        pack(folder, 32)
        parts = [["train", "train", "validation", "test"][n // 2 % 4] for n in range(12)]
        table = pd.DataFrame({"image": range(12), "path": names, "split_0": parts, "split_1": parts})
        table.to_csv(folder / SPLITS_FILE, index=False)
        write_checksums(folder)
        pack(folder / LARGE_FOLDER, 64)
        write_checksums(folder / LARGE_FOLDER, PACKED)

    return write
