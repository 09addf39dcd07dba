"""The script of the stage `train`, run in this process on a few images."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from vgg_ablation.train import experiment as experiment_module

Train = Callable[..., dict[str, Any]]


def test_a_run_that_diverges_is_recorded_and_does_not_end_the_stage(train_c: Train) -> None:
    (found,) = train_c(learning_rate=1e30)["runs"]
    assert (found["did_not_train"], found["reason"]) == (True, "diverged in epoch 1: the loss is nan")


def test_a_net_whose_start_diverges_is_recorded_and_does_not_end_the_stage(
    study: dict[str, Any], train_c: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `init: paper`, C starts from an A that is trained at the paper's point."""
    study["model"]["init"] = "paper"
    monkeypatch.setattr(experiment_module, "PAPER_LEARNING_RATE", 1e30)
    (found,) = train_c()["runs"]
    assert found["did_not_train"]
    assert found["reason"] == "A, to start from, diverged in epoch 1: the loss is nan"


def test_a_run_leaves_a_curve_of_its_epochs(train_c: Train) -> None:
    train_c()
    curves = pd.read_csv("results/C/fixed/curves.csv")
    assert curves[["arch", "run", "epoch"]].to_numpy().tolist() == [["C", 0, 1], ["C", 0, 2]]


def test_a_stage_run_again_writes_the_same_bytes(train_c: Train) -> None:
    found = []
    for _ in range(2):
        train_c()
        made = [path for path in Path("results/C").rglob("*") if path.is_file() and path.parent.name != "cost"]
        found.append({path.name: path.read_bytes() for path in made})
    assert found[0] == found[1]


def test_a_stage_run_again_costs_what_it_took_the_first_time(train_c: Train) -> None:
    costs = []
    for _ in range(2):
        train_c()
        costs.append(pd.read_csv("results/C/fixed/cost/train.csv").loc[0])
    first, again = costs
    assert (first["stage"], first["arch"], first["images"]) == ("train", "C", 2 * 8)
    assert again["work_seconds"] == first["work_seconds"] > 0
    assert again["seconds"] >= again["work_seconds"]


def test_a_run_trained_anew_has_the_same_weights(train_c: Train) -> None:
    found = []
    for attempt in ("one", "two"):
        os.environ["DVC_ROOT"] = attempt  # where no checkpoint lies yet; the fixture's patch puts it back
        train_c()
        found.append(load_file("results/C/fixed/weights/run-0.safetensors"))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
