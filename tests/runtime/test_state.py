import hashlib
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vgg_ablation.runtime import state
from vgg_ablation.runtime.state import file_digest, locked, source_digest, state_folder

DETERMINANTS = {"arch": "C", "run": 0, "model": {"width": 0.25, "dropout": 0.5}, "images": "abc", "source": "def"}


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    return tmp_path


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a package of two folders in the place of ours."""
    folder = tmp_path / "package"
    for name in ("data/one.py", "data/two.py", "model/one.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"# {name}\n")
    monkeypatch.setattr(state, "PACKAGE", folder)
    return folder


def test_the_same_determinants_have_the_same_folder() -> None:
    assert state_folder("train", DETERMINANTS) == state_folder("train", dict(reversed(DETERMINANTS.items())))


@pytest.mark.parametrize(
    "change",
    [{"arch": "D"}, {"run": 1}, {"model": {"width": 0.25, "dropout": 0.4}}, {"images": "abd"}, {"source": "deg"},
     {"device": "cpu"}],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_any_other_determinant_has_another_folder(change: dict) -> None:
    assert state_folder("train", DETERMINANTS) != state_folder("train", {**DETERMINANTS, **change})


def test_another_kind_of_work_has_another_folder() -> None:
    assert state_folder("train", DETERMINANTS) != state_folder("tune", DETERMINANTS)


def test_another_version_of_the_library_has_another_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    before = state_folder("train", DETERMINANTS)
    monkeypatch.setattr(state, "version", lambda _: "99.0")
    assert state_folder("train", DETERMINANTS) != before


def test_the_folder_lies_below_dvcs_root(repository: Path) -> None:
    folder = state_folder("train", DETERMINANTS)
    assert folder.is_dir()
    assert folder.parent == repository / ".state" / "train"


def test_without_dvc_the_folder_lies_below_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DVC_ROOT")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert (tmp_path / "here" / ".state" / "train") == state_folder("train", DETERMINANTS).resolve().parent


def test_the_determinants_are_written_into_the_folder() -> None:
    written = json.loads((state_folder("train", DETERMINANTS) / "determinants.json").read_text())
    assert {**written, **DETERMINANTS} == written


def test_what_lies_in_a_folder_found_again_stays() -> None:
    (state_folder("train", DETERMINANTS) / "checkpoint").write_text("epoch 7")
    assert (state_folder("train", DETERMINANTS) / "checkpoint").read_text() == "epoch 7"


def test_a_changed_byte_of_source_changes_the_digest(package: Path) -> None:
    before = source_digest("data")
    (package / "data" / "two.py").write_text("# data/twO.py\n")
    assert source_digest("data") != before


def test_a_renamed_source_file_changes_the_digest(package: Path) -> None:
    before = source_digest("data")
    (package / "data" / "two.py").rename(package / "data" / "three.py")
    assert source_digest("data") != before


def test_source_in_a_subfolder_counts(package: Path) -> None:
    before = source_digest("data")
    (package / "data" / "deeper").mkdir()
    (package / "data" / "deeper" / "new.py").write_text("")
    assert source_digest("data") != before


def test_other_folders_and_compiled_files_do_not_count(package: Path) -> None:
    before = source_digest("data")
    (package / "model" / "one.py").write_text("changed")
    (package / "data" / "__pycache__").mkdir()
    (package / "data" / "__pycache__" / "one.cpython-311.pyc").write_text("compiled")
    assert source_digest("data") == before


@pytest.mark.parametrize("folder", ["data", "model", "train"])
def test_the_folders_that_determine_a_run_hold_source(folder: str) -> None:
    assert source_digest(folder) != hashlib.sha256().hexdigest()


@given(st.binary())
def test_a_files_digest_is_its_sha256(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "digested"
    path.write_bytes(content)
    assert file_digest(path) == hashlib.sha256(content).hexdigest()


def test_work_on_a_locked_folder_waits_and_says_so(tmp_path: Path) -> None:
    said, events = threading.Event(), []

    def second() -> None:
        with locked(tmp_path, lambda _: said.set()):
            events.append("second begins")

    thread = threading.Thread(target=second)
    with locked(tmp_path, pytest.fail):
        thread.start()
        assert said.wait(20)
        events.append("first ends")
    thread.join(20)
    assert events == ["first ends", "second begins"]


def test_a_free_folder_is_locked_without_a_word(tmp_path: Path) -> None:
    for _ in range(2):
        with locked(tmp_path, pytest.fail):
            pass


def test_an_error_frees_the_folder(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path, pytest.fail):
        _ = 1 / 0
    with locked(tmp_path, pytest.fail):
        pass


def test_a_killed_process_frees_its_folder_to_the_one_that_waits(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from vgg_ablation.runtime.state import locked\n"
        "with locked(Path(sys.argv[1]), print): print('locked', flush=True); time.sleep(60)"
    )
    lines: list[str] = []
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"

        def say(line: str) -> None:
            lines.append(line)
            process.kill()

        with locked(tmp_path, say):
            pass
    (line,) = lines
    assert f"process {process.pid} (-c" in line
    assert str(tmp_path) in line
