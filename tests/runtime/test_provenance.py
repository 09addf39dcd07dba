import os
import re
import subprocess
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
    """A repository of a commit, whose folder `package` is where the source lies; return that folder."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    package = tmp_path / "repository" / "package"
    package.mkdir(parents=True)
    (package / "module.py").write_text("x = 1\n")
    (package.parent / "params.yaml").write_text("arch: all\n")
    git(package.parent, "init", "--quiet")
    git(package.parent, "add", ".")
    author = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org")
    git(package.parent, *author, "commit", "--quiet", "--message", "first")
    monkeypatch.setattr(provenance, "PACKAGE", package)
    return package


def test_the_commit_is_that_of_the_repository_around_the_source(source: Path) -> None:
    assert describe_commit() == git(source, "rev-parse", "HEAD")


def test_it_is_the_same_from_whatever_folder_a_stage_runs_in(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    assert describe_commit() == git(source, "rev-parse", "HEAD")


@pytest.mark.parametrize("staged", [False, True])
def test_an_edit_of_the_source_is_told(source: Path, staged: bool) -> None:
    (source / "module.py").write_text("x = 2\n")
    if staged:
        git(source, "add", ".")
    assert describe_commit() == git(source, "rev-parse", "HEAD") + "+changes"


def test_an_edit_of_a_stages_script_is_told(source: Path) -> None:
    """They lie beside the package, in the repository's root."""
    script = source.parent / "stages" / "train.py"
    script.parent.mkdir()
    script.write_text("print(1)\n")
    git(source.parent, "add", ".")
    assert describe_commit() == git(source, "rev-parse", "HEAD") + "+changes"


def test_a_module_that_was_removed_is_told(source: Path) -> None:
    (source / "module.py").unlink()
    assert describe_commit().endswith("+changes")


def test_a_file_that_was_written_again_as_it_was_is_no_change(source: Path) -> None:
    (source / "module.py").write_text("x = 1\n")
    os.utime(source / "module.py", (0, 0))
    assert describe_commit() == git(source, "rev-parse", "HEAD")


def test_a_file_that_git_does_not_know_is_no_change(source: Path) -> None:
    (source / "module.pyc").write_text("made on the way\n")
    assert describe_commit() == git(source, "rev-parse", "HEAD")


def test_settings_that_were_edited_are_no_change_of_the_source(source: Path) -> None:
    """They are a record of their own: each result is of the settings that are kept beside it."""
    (source.parent / "params.yaml").write_text("arch: C\n")
    assert describe_commit() == git(source, "rev-parse", "HEAD")


def test_source_outside_of_any_repository_has_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    package = tmp_path / "site-packages" / "package"
    package.mkdir(parents=True)
    monkeypatch.setattr(provenance, "PACKAGE", package)
    assert describe_commit() == ""


def test_a_repository_without_a_commit_has_none(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new = source.parent / "new"
    new.mkdir()
    git(new, "init", "--quiet")
    monkeypatch.setattr(provenance, "PACKAGE", new)
    assert describe_commit() == ""


def test_without_git_there_is_no_commit(source: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert source.exists()
    assert describe_commit() == ""


def test_a_machine_is_described_by_its_processor_cores_and_memory() -> None:
    name, cores, memory = describe_machine().rsplit(", ", 2)
    assert name == processor() != ""
    assert cores == f"{psutil.cpu_count()} cores"
    assert re.fullmatch(r"[1-9][0-9]* GiB", memory)
    assert float(memory.split()[0]) == pytest.approx(psutil.virtual_memory().total / 2**30, abs=0.51)


def test_a_machine_that_does_not_say_its_processor_is_described_by_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in /proc/cpuinfo of an ARM machine, whose lines have no model name."""
    monkeypatch.setattr(Path, "read_text", lambda _: "processor\t: 0\nBogoMIPS\t: 243.75\n")
    monkeypatch.setattr(provenance.platform, "processor", lambda: "")
    monkeypatch.setattr(provenance.platform, "machine", lambda: "aarch64")
    assert processor() == "aarch64"


def test_the_processors_name_is_the_first_that_the_kernel_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "processor\t: 0\nmodel name\t: AMD EPYC 9V45\n\nprocessor\t: 1\nmodel name\t: another\n"
    monkeypatch.setattr(Path, "read_text", lambda _: text)
    assert processor() == "AMD EPYC 9V45"
