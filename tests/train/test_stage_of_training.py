"""The script of the stage `train`, run in this process on a few images."""

import json
import os
import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file

from vgg_ablation.train import experiment as experiment_module

SCRIPT = Path(__file__).parents[2] / "stages" / "train.py"
STUDIES = yaml.safe_load((SCRIPT.parents[1] / "params.yaml").read_text(encoding="utf-8"))["studies"]


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_processed: Callable[[Path], None]) -> Iterator[dict]:
    """Work in a folder with twelve processed images of two categories, and the tuned settings of C."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", os.environ.get("CUBLAS_WORKSPACE_CONFIG", ":4096:8"))
    monkeypatch.setattr(sys, "argv", ["train.py", "C", "fixed"])
    before = torch.get_deterministic_debug_mode()
    write_processed(tmp_path / "data" / "processed")

    block = json.loads(json.dumps(STUDIES["sample"]))
    block["data"]["splits"] = 1
    block["model"] |= {"input_side": 32, "width": 1 / 16}
    block["train"] |= {"epochs": 2, "batch_size": 4}
    (tmp_path / "results" / "C").mkdir(parents=True)
    tune(learning_rate=0.01)
    yield block
    torch.set_deterministic_debug_mode(before)


def tune(learning_rate: float) -> None:
    Path("results/C/best.json").write_text(json.dumps({"learning_rate": learning_rate, "weight_decay": 5e-4}))


def outcome(study: dict) -> dict:
    """Run the stage, and return what it records of its only run."""
    Path("params.yaml").write_text(yaml.safe_dump({"arch": "C", "scale": "fixed", "study": "tiny", "studies": {"tiny": study}}))
    runpy.run_path(str(SCRIPT))
    (found,) = json.loads(Path("results/C/fixed/training.json").read_text())["runs"]
    return found


def test_a_run_that_diverges_is_recorded_and_does_not_end_the_stage(study: dict) -> None:
    tune(learning_rate=1e30)
    found = outcome(study)
    assert (found["did_not_train"], found["reason"]) == (True, "diverged in epoch 1: the loss is nan")


def test_a_net_whose_start_diverges_is_recorded_and_does_not_end_the_stage(
    study: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `init: paper`, C starts from an A that is trained at the paper's point."""
    study["model"]["init"] = "paper"
    monkeypatch.setattr(experiment_module, "PAPER_LEARNING_RATE", 1e30)
    found = outcome(study)
    assert found["did_not_train"]
    assert found["reason"] == "A, to start from, diverged in epoch 1: the loss is nan"


def test_a_run_leaves_a_curve_of_its_epochs(study: dict) -> None:
    outcome(study)
    curves = pd.read_csv("results/C/fixed/curves.csv")
    assert curves[["arch", "run", "epoch"]].to_numpy().tolist() == [["C", 0, 1], ["C", 0, 2]]


def test_a_stage_run_again_writes_the_same_bytes(study: dict) -> None:
    found = []
    for _ in range(2):
        outcome(study)
        made = [path for path in Path("results/C").rglob("*") if path.is_file() and path.parent.name != "cost"]
        found.append({path.name: path.read_bytes() for path in made})
    assert found[0] == found[1]


def test_a_stage_run_again_costs_what_it_took_the_first_time(study: dict) -> None:
    costs = []
    for _ in range(2):
        outcome(study)
        costs.append(pd.read_csv("results/C/fixed/cost/train.csv").loc[0])
    first, again = costs
    assert (first["stage"], first["arch"], first["images"]) == ("train", "C", 2 * 8)
    assert again["work_seconds"] == first["work_seconds"] > 0
    assert again["seconds"] >= again["work_seconds"]


def test_a_run_trained_anew_has_the_same_weights(study: dict) -> None:
    found = []
    for attempt in ("one", "two"):
        os.environ["DVC_ROOT"] = attempt  # where no checkpoint lies yet; the fixture's patch puts it back
        outcome(study)
        found.append(load_file("results/C/fixed/weights/run-0.safetensors"))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
