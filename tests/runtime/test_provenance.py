import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from vgg_ablation.runtime import provenance
from vgg_ablation.runtime.provenance import describe_commit, describe_machine, processor


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", folder, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit, whose folder `package` stands for our source; return that folder."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    package = tmp_path / "repository" / "package"
    for file, text in {"package/module.py": "x = 1\n", "params.yaml": "arch: all\n", "stages/train.py": ""}.items():
        (package.parent / file).parent.mkdir(parents=True, exist_ok=True)
        (package.parent / file).write_text(text)
    git(package.parent, "init", "--quiet")
    git(package.parent, "add", ".")
    author = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org")
    git(package.parent, *author, "commit", "--quiet", "--message", "first")
    monkeypatch.setattr(provenance, "PACKAGE", package)
    return package


def test_the_commit_is_that_of_the_source_in_whatever_folder_a_stage_runs(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    assert describe_commit() == git(source, "rev-parse", "HEAD")


EDITS: dict[str, Callable[[Path], object]] = {
    "of a module": lambda source: (source / "module.py").write_text("x = 2\n"),
    "of a module, staged": lambda source: ((source / "module.py").write_text("x = 2\n"), git(source, "add", ".")),
    "removal": lambda source: (source / "module.py").unlink(),
    "of a stage's script": lambda source: (source.parent / "stages/train.py").write_text("print(1)\n"),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_an_edit_of_the_code_is_recorded(source: Path, edit: Callable[[Path], object]) -> None:
    edit(source)
    assert describe_commit() == git(source, "rev-parse", "HEAD") + "+changes"


OTHERS: dict[str, Callable[[Path], object]] = {
    "new times": lambda source: os.utime(source / "module.py", (0, 0)),
    "a file unknown to git": lambda source: (source / "module.pyc").write_text("compiled\n"),
    "settings": lambda source: (source.parent / "params.yaml").write_text("arch: C\n"),
}


@pytest.mark.parametrize("edit", OTHERS.values(), ids=OTHERS)
def test_what_is_no_code_is_no_change(source: Path, edit: Callable[[Path], object]) -> None:
    edit(source)
    assert describe_commit() == git(source, "rev-parse", "HEAD")


def test_without_a_repository_a_commit_or_git_there_is_no_commit(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    new = tmp_path / "new"
    new.mkdir()
    monkeypatch.setattr(provenance, "PACKAGE", new)
    assert describe_commit() == ""
    git(new, "init", "--quiet")
    assert describe_commit() == ""
    monkeypatch.setattr(provenance, "PACKAGE", source)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert describe_commit() == ""


def test_a_machine_is_described_by_its_processor_cores_and_memory() -> None:
    name, cores, memory = describe_machine().rsplit(", ", 2)
    assert name == processor() != ""
    assert cores == f"{psutil.cpu_count()} cores"
    assert re.fullmatch(r"[1-9][0-9]* GiB", memory)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("processor\t: 0\nmodel name\t: AMD EPYC 9V45\n\nmodel name\t: another\n", "AMD EPYC 9V45"),
        ("processor\t: 0\nBogoMIPS\t: 243.75\n", "aarch64"),  # ARM kernels give no model name
    ],
)
def test_the_processors_name_is_the_kernels_or_its_kind(monkeypatch: pytest.MonkeyPatch, text: str, name: str) -> None:
    monkeypatch.setattr(Path, "read_text", lambda _: text)
    monkeypatch.setattr(provenance.platform, "processor", lambda: "")
    monkeypatch.setattr(provenance.platform, "machine", lambda: "aarch64")
    assert processor() == name
