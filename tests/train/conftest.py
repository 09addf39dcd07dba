"""Two classes of small images that a narrow net tells apart within seconds, and the device it does so on.

And a study of such images in a folder, with what runs the script of the stage `train` on it, in this process.
"""

import copy
import json
import os
import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from vgg_ablation.device import Compute
from vgg_ablation.images.batches import Batches, Colour, RunImages
from vgg_ablation.images.pixels import Pixels
from vgg_ablation.train.run import Recipe

COUNT = 32
ROOT = Path(__file__).parents[2]
SAMPLE = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["studies"]["sample"]
SCALES = {
    "fixed": {"train": 32, "test": [32, 36, 40]},
    "large": {"train": 48, "test": [40, 48, 56]},
    "jitter": {"train": [36, 64], "test": [36, 50, 64]},
}


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


@pytest.fixture
def study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_processed: Callable[[Path], None]
) -> Iterator[dict[str, Any]]:
    """Work in a folder with twelve processed images of two categories; give a study of theirs with one run a net."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", os.environ.get("CUBLAS_WORKSPACE_CONFIG", ":4096:8"))
    before = torch.get_deterministic_debug_mode()
    write_processed(tmp_path / "data" / "processed")
    block = copy.deepcopy(SAMPLE)
    block["data"]["splits"] = 1
    block["scales"] = copy.deepcopy(SCALES)
    block["model"] |= {"input_side": 32, "width": 1 / 16}
    block["train"] |= {"epochs": 2, "batch_size": 4}
    yield block
    torch.set_deterministic_debug_mode(before)


@pytest.fixture
def train_c(study: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Return what runs the stage `train` for C at a scale, with a tuned learning rate, and returns its record."""

    def run(scale: str = "fixed", *, learning_rate: float = 0.01) -> dict[str, Any]:
        results = Path("results/C")
        results.mkdir(parents=True, exist_ok=True)
        (results / "best.json").write_text(json.dumps({"learning_rate": learning_rate, "weight_decay": 5e-4}))
        params = {"arch": "C", "scale": "fixed", "study": "tiny", "studies": {"tiny": study}}
        Path("params.yaml").write_text(yaml.safe_dump(params))
        monkeypatch.setattr(sys, "argv", ["train.py", "C", scale])
        runpy.run_path(str(ROOT / "stages" / "train.py"))
        return json.loads((results / scale / "training.json").read_text())

    return run
