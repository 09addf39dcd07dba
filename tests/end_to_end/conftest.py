"""A copy of this repository in a temporary folder, with a study that takes seconds a net."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from vgg_ablation.data import archive
from vgg_ablation.data.sample import render_sample

ROOT = Path(__file__).parents[2]
TINY = {
    "data": {
        "source": "images/tiny.tar", "categories": "all", "clutter": False, "side": 36, "train_per_class": 5,
        "validation_fraction": 0.4, "splits": 2, "seed": 0,
    },
    "model": {"input_side": 32, "width": 0.0625, "batch_norm": False, "dropout": 0.5, "init": "kaiming"},
    "train": {
        "epochs": 2, "batch_size": 8, "momentum": 0.9, "schedule": "cosine", "patience": 3, "colour_shift": 0.1,
    },
    "tune": {
        "trials": 2, "epochs": 1, "learning_rate": {"low": 1e-4, "high": 1e-1},
        "weight_decay": {"low": 1e-5, "high": 1e-2}, "random_trials": 1, "prune_after": 1, "seed": 0,
    },
    "evaluate": {"protocols": ["centre", "dense"]},
}  # fmt: skip


@dataclass(frozen=True)
class Finished:
    """What a command printed, and how it ended."""

    status: int
    output: str
    errors: str

    @property
    def stages(self) -> list[str]:
        """The stages that DVC ran, in order, without the name of their file."""
        return re.findall(r"^Running stage '(?:stages/dvc\.yaml:)?([^']+)'", self.output, re.MULTILINE)


@dataclass(frozen=True)
class Repository:
    """A git and DVC repository in a temporary folder."""

    folder: Path

    def run(self, *command: str) -> Finished:
        """Run a command in it, with its own copy of the package and this environment's programs."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "PYTHONPATH": str(self.folder / "src"), "COLUMNS": "200"}
        environment["OMP_NUM_THREADS"] = "1"  # tiny nets gain nothing from more, and lose much where cores are shared
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        return Finished(done.returncode, done.stdout, done.stderr)

    def succeed(self, *command: str) -> Finished:
        """Run a command that must end with status 0."""
        done = self.run(*command)
        assert done.status == 0, f"{' '.join(command)}\n{done.output}\n{done.errors}"
        return done

    def clone(self, folder: Path) -> "Repository":
        """Return a fresh clone of what is committed: no results, no cache, no state."""
        subprocess.run(["git", "clone", "--quiet", str(self.folder), str(folder)], check=True)
        return Repository(folder)

    def snapshot(self) -> dict[str, bytes]:
        """The bytes of params, locks, results and reports."""
        files = [self.folder / "params.yaml", *self.folder.glob("**/dvc.lock")]
        files += [path for name in ("data", "results", "reports") for path in (self.folder / name).rglob("*")]
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in files if path.is_file()}


@pytest.fixture(scope="session")
def origin(tmp_path_factory) -> Repository:
    """The committed files of this repository and the tiny study, before anything was run."""
    folder = tmp_path_factory.mktemp("origin") / "repository"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    skipped = ("dvc.lock", "stages/dvc.lock")  # of the studies that were run here
    for name in listed:
        if name not in skipped and not name.startswith(("tests/", "reports/")) and (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params |= {"study": "tiny"}
    params["studies"]["tiny"] = TINY
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    (folder / "images").mkdir()
    rendered = (image for image in render_sample(8) if image[0].split("/")[1][:3] in ("001", "002", "003"))
    archive._write_tar(folder / "images/tiny.tar", rendered, lambda: None)
    for command in (
        ["init", "--quiet"],
        ["config", "user.name", "test"],
        ["config", "user.email", "test@example.org"],
        ["add", "--all"],
        ["commit", "--quiet", "--message", "tiny study"],
    ):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return Repository(folder)
