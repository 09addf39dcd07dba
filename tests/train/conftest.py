"""Images of two classes that a narrow net learns within seconds; a tiny study in a folder, and how to train on it."""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from optuna.storages._rdb import storage

from vgg_ablation.device import Compute
from vgg_ablation.files import write_json
from vgg_ablation.images.batches import Batches, Colour, RunImages
from vgg_ablation.images.pixels import Pixels
from vgg_ablation.runtime import paths
from vgg_ablation.runtime.console import Console
from vgg_ablation.runtime.settings import StudySettings
from vgg_ablation.train import net, tune
from vgg_ablation.train.run import Point, Recipe

COUNT = 32
SAMPLE = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8"))["studies"]["sample"]
SCALES = {
    "fixed": {"train": 32, "test": [32, 36, 40]},
    "large": {"train": 48, "test": [40, 48, 56]},
    "jitter": {"train": [36, 64], "test": [36, 50, 64]},
}


@pytest.fixture(autouse=True, scope="session")
def migrations_read_once() -> Iterator[None]:
    """Let Optuna look up its latest schema once: it compiles fifty files each time that it opens a database."""
    found: list[str] = []
    look_up = storage._VersionManager.get_head_version

    def once(manager: storage._VersionManager) -> str:
        if not found:
            found.append(look_up(manager))
        return found[0]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(storage._VersionManager, "get_head_version", once)
        yield


@pytest.fixture
def deterministic(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make kernels deterministic, as `choose_compute` does."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("error")
    yield
    torch.set_deterministic_debug_mode(before)


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
    """Three epochs of two steps."""
    return Recipe(
        Point(learning_rate=1e-2, weight_decay=5e-4, batch_size=8), momentum=0.9, epochs=3, schedule="cosine",
        warm_up=0.0, patience=0, colour_shift=0.1,
    )  # fmt: skip


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_processed: Callable[[Path], None]) -> dict[str, Any]:
    """Change to a folder with twelve processed images of two categories; return a study of one run of two epochs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    for module in (net, tune):
        monkeypatch.setattr(module, "matmul_rate", lambda _: 1e9)  # takes longer than the epochs
    write_processed(tmp_path / "data" / "processed")
    block = copy.deepcopy(SAMPLE)
    block["data"]["splits"] = 1
    block["scales"] = copy.deepcopy(SCALES)
    block["model"] |= {"input_side": 32, "width": 1 / 16, "dropout": 0.5}
    block["train"] |= {"epochs": 2, "warm_up": 0.0, "refit": False}
    block["tune"] |= {"batch_size": [4]}
    block["fine_tune"] = {"epochs": 3, "rate_factor": 0.3}
    return block


@pytest.fixture
def train_c(study: dict[str, Any], compute: Compute, console: Console) -> Callable[..., dict[str, Any]]:
    """Train C at a scale with a tuned learning rate and batches of four, and return training.json."""

    def run(
        scale: str = "fixed", *, learning_rate: float = 0.01, arch: str = "C", init: str = "kaiming"
    ) -> dict[str, Any]:
        settings = StudySettings.model_validate(study)
        model = settings.model.model_copy(update={"init": init})
        tuned = {"learning_rate": learning_rate, "weight_decay": 5e-4, "batch_size": 4}
        write_json(paths.search(arch) / "best.json", tuned)
        net.train_net(
            arch, scale, runs=settings.data.splits, scales=settings.scales, model=model, shared=settings.train,
            fine_tune=settings.fine_tune, compute=compute, console=console,
        )  # fmt: skip
        return json.loads((paths.training(arch, scale) / "training.json").read_text())

    return run


@pytest.fixture
def tune_a(study: dict[str, Any], compute: Compute, console: Console) -> Callable[[], str]:
    """Search for A, and return trials.csv."""

    def run() -> str:
        settings = StudySettings.model_validate(study)
        tune.tune_net(
            "A", model=settings.model, shared=settings.train, settings=settings.tune, compute=compute, console=console
        )
        return Path("results/none/A/search/trials.csv").read_text()

    return run
