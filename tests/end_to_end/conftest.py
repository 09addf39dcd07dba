"""A copy of this repository in a temporary folder, with a study that takes seconds a net."""

import io
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest
import yaml
from repository import Repository

from vgg_ablation.dataset.sample import render_sample

ROOT = Path(__file__).parents[2]
TINY = {
    "data": {
        "source": "images/tiny.tar", "categories": "all", "clutter": False, "train_per_class": 5,
        "validation_fraction": 0.4, "splits": 2, "seed": 0,
    },
    "scales": {
        "fixed": {"train": 36, "test": [32, 36, 40]},
        "large": {"train": 44, "test": [40, 44, 48]},
        "jitter": {"train": [36, 48], "test": [36, 44, 48]},
    },
    "compute": {"threads": 1},
    "model": {"input_side": 32, "width": 0.0625, "dropout": 0.5, "init": "kaiming"},
    "train": {
        "epochs": 2, "momentum": 0.9, "schedule": "cosine", "warm_up": 0.25, "patience": 3, "colour_shift": 0.1,
        "refit": True,
    },
    "fine_tune": {"epochs": 1, "rate_factor": 0.1},
    "tune": {
        "trials": 2, "epochs": 1, "learning_rate": {"low": 1e-4, "high": 1e-1},
        "weight_decay": {"low": 1e-5, "high": 1e-2}, "batch_size": [4, 8], "random_trials": 1, "round_size": 2,
        "prune_after": 1, "seed": 0, "sampler": "gp", "pruner": "none",
    },
    "evaluate": {
        "protocols": {
            "fixed": ["centre", "dense", "dense_scales", "multi_crop", "combined"],
            "large": ["dense"],
            "jitter": ["dense", "dense_scales"],
        }
    },
}  # fmt: skip

SHORTER = [
    ("report/figures/draw.py", r"FIGURES = \(.*?\n\)", "FIGURES = (errors.error_by_depth, classes.examples)"),
    ("device.py", '"cpu": 2048', '"cpu": 256'),
]
"""Edits of the package that save seconds a stage: fewer figures (test_tutorial.py has them all), a small product."""


@pytest.fixture(scope="session")
def committed_copy(tmp_path_factory) -> Callable[..., Repository]:
    """Return a function that commits this repository's files, as they are now, in a temporary folder.

    `skipped`: beginnings of names to leave out. `prepare` gets the folder before the commit.
    """

    def commit(
        name: str, skipped: tuple[str, ...] = (), prepare: Callable[[Path], None] = lambda _: None
    ) -> Repository:
        folder = tmp_path_factory.mktemp(name) / "repository"
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, capture_output=True, text=True, check=True,
        ).stdout.splitlines()  # fmt: skip
        for file in listed:
            if not file.startswith(skipped) and (ROOT / file).exists():
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / file, folder / file)
        prepare(folder)
        for command in (
            ["init", "--quiet"],
            ["config", "user.name", "test"],
            ["config", "user.email", "test@example.org"],
            ["add", "--all"],
            ["commit", "--quiet", "--message", name],
        ):
            subprocess.run(["git", *command], cwd=folder, check=True)
        return Repository(folder)

    return commit


@pytest.fixture(scope="session")
def origin(committed_copy) -> Repository:
    """The committed files of this repository and the tiny study, before anything was run."""
    return committed_copy("origin", ("dvc.lock", "stages/dvc.lock", "tests/", "reports/"), add_tiny_study)


def add_tiny_study(folder: Path) -> None:
    """Select a study that takes seconds a net, and draw its images."""
    for file, old, new in SHORTER:
        text = (folder / "src/vgg_ablation" / file).read_text()
        assert re.search(old, text, re.DOTALL), file
        (folder / "src/vgg_ablation" / file).write_text(re.sub(old, new, text, flags=re.DOTALL))
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params |= {"study": "tiny", "norm": "none"}
    params["studies"]["tiny"] = TINY
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    (folder / "images").mkdir()
    with tarfile.open(folder / "images/tiny.tar", "w") as tar:
        for name, content in islice(render_sample(24), 3 * 24):  # the images of three categories
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
