import hashlib
from pathlib import Path

import pytest

from vgg_ablation.runtime import state
from vgg_ablation.runtime.state import source_digest, state_folder

DETERMINANTS = {"arch": "C", "run": 0, "model": {"width": 0.25, "dropout": 0.5}, "images": "abc", "source": "def"}


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    return tmp_path


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of two folders in place of ours."""
    folder = tmp_path / "package"
    for name in ("images/one.py", "images/two.py", "model/one.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"# {name}\n")
    monkeypatch.setattr(state, "PACKAGE", folder)
    return folder


def test_the_same_determinants_have_the_same_folder_below_dvcs_root(repository: Path) -> None:
    folder = state_folder("train", DETERMINANTS)
    assert folder.is_dir()
    assert folder.parent == repository / ".state" / "train"
    assert state_folder("train", dict(reversed(DETERMINANTS.items()))) == folder


@pytest.mark.parametrize(
    "change",
    [{"arch": "D"}, {"run": 1}, {"model": {"width": 0.25, "dropout": 0.4}}, {"images": "abd"}, {"source": "deg"},
     {"device": "cpu"}],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_any_other_determinant_has_another_folder(change: dict) -> None:
    assert state_folder("train", DETERMINANTS) != state_folder("train", {**DETERMINANTS, **change})


def test_another_library_version_has_another_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    before = state_folder("train", DETERMINANTS)
    monkeypatch.setattr(state, "version", lambda _: "99.0")
    assert state_folder("train", DETERMINANTS) != before


def test_without_dvc_the_folder_is_below_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DVC_ROOT")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert (tmp_path / "here" / ".state" / "train") == state_folder("train", DETERMINANTS).resolve().parent


def test_a_changed_byte_of_source_changes_the_digest(package: Path) -> None:
    before, one = source_digest("images"), source_digest("images/one.py")
    (package / "images" / "two.py").write_text("# images/twO.py\n")
    assert source_digest("images") != before
    assert source_digest("images/one.py") == one != hashlib.sha256().hexdigest()


def test_a_renamed_or_a_new_source_file_changes_the_digest(package: Path) -> None:
    digests = {source_digest("images")}
    (package / "images" / "two.py").rename(package / "images" / "three.py")
    digests.add(source_digest("images"))
    (package / "images" / "deeper").mkdir()
    (package / "images" / "deeper" / "new.py").write_text("")
    assert len({*digests, source_digest("images")}) == 3


def test_other_folders_and_compiled_files_do_not_count(package: Path) -> None:
    before = source_digest("images")
    (package / "model" / "one.py").write_text("changed")
    (package / "images" / "__pycache__").mkdir()
    (package / "images" / "__pycache__" / "one.cpython-311.pyc").write_text("compiled")
    assert source_digest("images") == before
