"""The state that the real stages leave, made once, in a folder of each test's own."""

import os
import runpy
import shutil
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
import torch
import yaml

from vgg_ablation.pipeline.console import Stage
from vgg_ablation.pipeline.params import read_params
from vgg_ablation.search_cost import measure
from vgg_ablation.search_cost.images import prepare

ROOT = Path(__file__).parents[2]


def write_params(studies: dict, study: str = "plain") -> None:
    Path("params.yaml").write_text(yaml.safe_dump({"arch": "C", "scale": "fixed", "study": study, "studies": studies}))


def run_stage(name: str, *arguments: str) -> None:
    sys.argv = [name, *arguments]
    runpy.run_path(str(ROOT / "stages" / f"{name}.py"))


@pytest.fixture(scope="session")
def studies() -> dict:
    """A study of two runs at three scales, and another whose C starts from a trained A."""
    block = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["studies"]["sample"]
    block["data"] |= {"splits": 2, "train_per_class": 3, "validation_fraction": 0.4}
    block["scales"] = {
        "fixed": {"train": 32, "test": [32, 36, 40]},
        "large": {"train": 48, "test": [40, 48, 56]},
        "jitter": {"train": [36, 64], "test": [36, 50, 64]},
    }
    block["model"] |= {"input_side": 32, "width": 1 / 64}
    block["train"] |= {"epochs": 1, "batch_size": 4}
    block["fine_tune"] |= {"epochs": 2}
    block["tune"] |= {"trials": 1, "epochs": 1}
    block["evaluate"] = {"protocols": {scale: ["centre", "dense"] for scale in block["scales"]}}
    from_a = deepcopy(block)
    from_a["model"] |= {"init": "paper"}
    from_a["train"] |= {"epochs": 3}
    from_a["tune"] |= {"epochs": 2}
    return {"plain": block, "from_a": from_a}


@pytest.fixture(scope="session")
def made(studies: dict, tmp_path_factory: pytest.TempPathFactory, write_processed: Callable[[Path], None]) -> Path:
    """What all stages of net C and the measurement of the search leave under `.state`."""
    folder = tmp_path_factory.mktemp("made")
    before = torch.get_deterministic_debug_mode()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("DVC_ROOT", str(folder))
        patch.setenv("CUBLAS_WORKSPACE_CONFIG", os.environ.get("CUBLAS_WORKSPACE_CONFIG", ":4096:8"))
        patch.delenv("OPTUNA_STORAGE", raising=False)
        patch.setattr(sys, "argv", sys.argv)  # to be put back
        write_processed(Path("data/processed"))
        write_params(studies, "from_a")
        run_stage("tune", "C")
        write_params(studies)
        run_stage("tune", "C")
        for scale in ("fixed", "large", "jitter"):
            run_stage("train", "C", scale)
        run_stage("evaluate", "C", "fixed")
        patch.setattr(measure, "TRAIN_PER_CLASS", 2)
        patch.setattr(measure, "VALIDATION_PER_CLASS", 1)
        plan = measure.Plan.of_study(read_params())
        measure._trainer(plan, prepare(plan.data, plan.side, Stage("test")))
    torch.set_deterministic_debug_mode(before)
    return folder


@pytest.fixture
def repository(made: Path, studies: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder of one's own with that state and the params.yaml that it was made with."""
    shutil.copytree(made / ".state", tmp_path / ".state")
    monkeypatch.chdir(tmp_path)
    write_params(studies)
    return tmp_path
