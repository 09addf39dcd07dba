import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import pytest
import yaml

from vgg_ablation.scratch.__main__ import main

DETERMINANTS = "determinants.json"


def folders() -> set[Path]:
    """Return the folders that hold state."""
    return {path.parent for path in Path(".state").rglob(DETERMINANTS)}


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def set_studies(studies: dict) -> None:
    Path("params.yaml").write_text(
        yaml.safe_dump({"arch": "all", "scale": "all", "study": "plain", "studies": studies})
    )


@pytest.fixture
def doomed(repository: Path) -> Path:
    """Return a folder of state that nothing can reach."""
    folder = Path(".state/train/0123456789abcdef01234567")
    folder.mkdir()
    (folder / "checkpoint.0").write_bytes(bytes(2000))
    return folder


@pytest.fixture
def dead() -> int:
    """Return the number of a process that is no more."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return process.pid


def test_reachable_state_is_kept_byte_for_byte(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in files(Path(".state"))}
    main()
    assert {path: path.read_bytes() for path in files(Path(".state"))} == before
    assert re.fullmatch(r"scratch: 0 folders removed, 0 B freed, 13 kept \(\S+ [kM]B\)\n", capsys.readouterr().out)


def test_a_changed_setting_costs_the_state_that_it_determines(
    repository: Path, studies: dict, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = deepcopy(studies)
    changed["plain"]["train"]["momentum"] = 0.8
    set_studies(changed)
    before = folders()
    main()
    assert sorted(path.parent.name for path in before - folders()) == ["curves", *["train"] * 6, "tune"]
    *lines, last = capsys.readouterr().out.splitlines()
    assert len(lines) == 8
    for line in lines:
        assert re.fullmatch(
            r"scratch: (train|tune|search-cost/curves)/[0-9a-f]{24}, net (A|C): \S+ [kM]?B removed: "
            r"settings of no study in params\.yaml \(those given by -S alone are not known here\)",
            line,
        )
    assert re.fullmatch(r"scratch: 8 folders removed, \S+ [kM]B freed, 5 kept \(\S+ [kM]B\)", last)


def test_a_folder_goes_as_a_whole_and_its_size_is_told(doomed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main()
    assert list(doomed.parent.glob(f"*{doomed.name}*")) == []
    said = capsys.readouterr().out
    assert f"train/{doomed.name}: 2 kB removed: unreadable: determinants.json is missing or damaged\n" in said
    assert "1 folder removed, 2 kB freed, 13 kept" in said


def test_where_there_is_nothing_the_command_says_so(
    studies: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    set_studies(studies)
    main()
    assert capsys.readouterr().out == "scratch: 0 folders removed, 0 B freed, 0 kept (0 B)\n"
    assert list(tmp_path.iterdir()) == [tmp_path / "params.yaml"]


@pytest.fixture
def holder(doomed: Path) -> Iterator[subprocess.Popen[str]]:
    """Have another process at work in a folder that nothing can reach."""
    code = (
        "import sys; from pathlib import Path; from vgg_ablation.pipeline.state import locked\n"
        "with locked(Path(sys.argv[1]), print): print('locked', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(doomed)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield process
        process.kill()


def test_a_folder_that_a_process_is_at_is_kept(
    holder: subprocess.Popen[str], doomed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(doomed)
    main()
    assert files(doomed) == before
    said = capsys.readouterr().out
    assert re.search(rf"train/{doomed.name}: \S+ kB kept: unreadable: .*, but a process is at it\n", said)
    assert "0 folders removed, 0 B freed, 14 kept" in said


def test_a_folder_that_a_process_was_at_goes(holder: subprocess.Popen[str], doomed: Path) -> None:
    holder.kill()
    holder.wait()
    main()
    assert not doomed.exists()


def test_a_removal_that_is_cut_short_leaves_no_half_state_and_is_finished_by_the_next(
    doomed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", interrupt)
        with pytest.raises(SystemExit):
            main()
    assert not doomed.exists()
    assert list(doomed.parent.glob(f"*{doomed.name}*")) != []
    main()
    assert list(doomed.parent.glob(f"*{doomed.name}*")) == []


class TestLinks:
    """Symbolic links are not followed."""

    @pytest.fixture
    def elsewhere(self, tmp_path_factory: pytest.TempPathFactory, dead: int) -> Path:
        """Return a folder outside that looks like state out of reach, with files half-written."""
        folder = tmp_path_factory.mktemp("elsewhere") / ".state"
        for kind in ("train", "images"):
            (folder / kind / "0123").mkdir(parents=True)
            (folder / kind / "0123" / f".checkpoint.0.{dead}.partial").write_text("not ours")
        return folder

    @pytest.mark.parametrize(
        ("link", "target"),
        [
            (".state", ""),
            (".state/train", "train"),
            (".state/search-cost", "."),
            (".state/train/4567", "train/0123"),
            ("data", "train"),
            ("results/C", "train"),
        ],
    )
    def test_a_link_leaves_its_target_alone(
        self, repository: Path, studies: dict, elsewhere: Path, link: str, target: str
    ) -> None:
        before = files(elsewhere)
        shutil.rmtree(link, ignore_errors=True)
        Path(link).parent.mkdir(exist_ok=True)
        Path(link).symlink_to(elsewhere / target)
        main()
        assert files(elsewhere) == before
        assert Path(link).is_symlink()

    def test_a_link_inside_a_removed_folder_leaves_its_target_alone(self, doomed: Path, elsewhere: Path) -> None:
        before = files(elsewhere)
        (doomed / "link").symlink_to(elsewhere)
        main()
        assert not doomed.exists()
        assert files(elsewhere) == before

    def test_what_a_link_points_to_is_not_counted(
        self, doomed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "large").write_bytes(bytes(10**6))
        (doomed / "link").symlink_to(tmp_path / "large")
        main()
        assert "1 folder removed, 2.1 kB freed" in re.sub(r"2\.\d+ kB", "2.1 kB", capsys.readouterr().out)

    def test_a_linked_folder_is_named(
        self, repository: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Path("results").symlink_to(elsewhere)
        main()
        assert "scratch: results is a symbolic link, and is left alone\n" in capsys.readouterr().out


class TestHalfWritten:
    """What processes were writing when they were killed."""

    @pytest.mark.parametrize(
        "folder", [".state/train/x", ".state/stages/check", ".state", "data/raw", "results/C/weights", "reports"]
    )
    def test_the_file_of_a_dead_process_is_removed(
        self, repository: Path, dead: int, folder: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = Path(folder, f".run-0.safetensors.{dead}.partial")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(3000))
        main()
        assert not path.exists()
        said = capsys.readouterr().out
        assert f"scratch: {path}: 3 kB removed: its process is no more\n" in said
        assert "3 kB freed" in said

    @pytest.mark.parametrize(
        "name",
        [
            "results/.metrics.json.{living}.partial",
            "results/metrics.json.{dead}.partial",
            "results/.metrics.json.partial",
            "results/.metrics.json.{dead}",
            "results/.metrics.json.99999999999999999999.partial",
            ".metrics.json.{dead}.partial",
            "docs/.metrics.json.{dead}.partial",
        ],
    )
    def test_nothing_else_is(self, repository: Path, dead: int, name: str) -> None:
        path = Path(name.format(living=os.getpid(), dead=dead))
        path.parent.mkdir(exist_ok=True)
        path.write_text("kept")
        main()
        assert path.read_text() == "kept"


@pytest.mark.parametrize("path", [".state/stages/train-C/lock", ".state/other/0123/file", ".state/train/file", "file"])
def test_what_is_no_state_is_kept(repository: Path, path: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text("kept")
    main()
    assert Path(path).read_text() == "kept"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (("studies", "plain", "train", "epochs"), 0),
        (("studies", "from_a", "train", "epochs"), 0),
        (("studies", "from_a"), 1),
        (("study",), "missing"),
        (("arch",), "F"),
        (("scale",), "small"),
    ],
)
def test_a_wrong_setting_is_one_line_and_removes_nothing(
    doomed: Path, studies: dict, dead: int, key: tuple[str, ...], value: object, capsys: pytest.CaptureFixture[str]
) -> None:
    params = {"arch": "all", "scale": "all", "study": "plain", "studies": deepcopy(studies)}
    *parents, last = key
    place = params
    for name in parents:
        place = place[name]
    place[last] = value
    Path("params.yaml").write_text(yaml.safe_dump(params))
    (doomed / f".checkpoint.0.{dead}.partial").write_text("half")
    before = files(Path(".state"))
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("scratch: params.yaml: " + ".".join(key))
    assert files(Path(".state")) == before


def test_rates_as_dvc_writes_them_are_numbers(repository: Path) -> None:
    """`dvc exp run -S` writes 1e-05 for 1.0e-5, which YAML 1.1 takes for text."""
    text = Path("params.yaml").read_text()
    assert "1.0e-05" in text
    Path("params.yaml").write_text(text.replace("1.0e-05", "1e-05"))
    before = folders()
    main()
    assert folders() == before


def test_the_command_imports_no_torch(doomed: Path) -> None:
    code = (
        "import runpy, sys; runpy.run_module('vgg_ablation.scratch', run_name='__main__')\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *_, last, torch = done.stdout.splitlines()
    assert last.startswith("scratch: 1 folder removed")
    assert torch == "False"
    assert done.stderr == ""
