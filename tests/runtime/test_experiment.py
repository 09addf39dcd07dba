"""Settings that an experiment of DVC leaves; tests/end_to_end/test_experiments.py has the tests with DVC."""

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from dvc.utils.hydra import apply_overrides

from vgg_ablation.errors import StageError
from vgg_ablation.runtime import experiment
from vgg_ablation.runtime.experiment import restoring_refused_settings
from vgg_ablation.runtime.git import git


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a repository with a commit of params.yaml; this process is a stage of an experiment in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_EXP_NAME", "made-up")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    Path("params.yaml").write_text("arch: A\n")
    git("init", "--quiet")
    git("add", "params.yaml")
    git("-c", "user.name=x", "-c", "user.email=x", "commit", "--quiet", "--message", "Settings")
    return tmp_path


def started_by(monkeypatch: pytest.MonkeyPatch, *commands: list[str] | psutil.Error) -> None:
    """Let this process have parents with these command lines."""

    def line(pid: int) -> list[str]:
        command = commands[pid]
        if isinstance(command, psutil.Error):
            raise command
        return command

    def process(pid: int = -1) -> SimpleNamespace:
        return SimpleNamespace(pid=pid, cmdline=lambda: line(pid), parents=lambda: map(process, range(len(commands))))

    monkeypatch.setattr(experiment.psutil, "Process", process)


@pytest.mark.parametrize("name", ["exp", "experiments"])
def test_settings_that_a_stage_refuses_are_put_back(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    started_by(monkeypatch, ["sh"], ["python", "/bin/dvc", name, "run", "-S", "arch=B_5x5"])
    apply_overrides(folder / "params.yaml", ["arch=B_5x5"])
    with pytest.raises(StageError, match=r"^no weights fit\nrefused; "), restoring_refused_settings():
        raise StageError("no weights fit")
    assert (folder / "params.yaml").read_text() == "arch: A\n"


def test_a_parent_whose_command_line_is_hidden_is_skipped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started_by(monkeypatch, psutil.AccessDenied(1), ["dvc", "exp", "run", "-S", "arch=C"])
    assert experiment._overrides() == ["arch=C"]
