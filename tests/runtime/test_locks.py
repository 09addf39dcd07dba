import subprocess
import sys
import threading
from pathlib import Path

import pytest

from vgg_ablation.runtime.console import stage
from vgg_ablation.runtime.locks import locked


def start(folder: Path, code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_a_free_folder_is_locked_without_a_message_also_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path, pytest.fail):
        _ = 1 / 0
    with locked(tmp_path, pytest.fail):
        pass


def test_a_killed_process_frees_its_folder_for_the_one_that_waits(tmp_path: Path) -> None:
    code = (
        "import time; from pathlib import Path; from vgg_ablation.runtime.locks import locked\n"
        "with locked(Path(), print): print('locked', flush=True); time.sleep(60)"
    )
    lines: list[str] = []
    with start(tmp_path, code) as process:
        assert line(process) == "locked\n"

        def say(text: str) -> None:
            lines.append(text)
            process.kill()

        with locked(tmp_path, say):
            pass
    assert lines == [f"waiting for process {process.pid} (-c), which holds {tmp_path}"]


ALONE = (
    "import sys, time; from vgg_ablation.runtime.console import stage\n"
    "with stage('train C') as console:\n"
    "    console.alone(); print('alone', flush=True); time.sleep(float(sys.argv[1]))"
)


def test_a_stage_waits_for_another_process_of_its_own_in_the_same_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with start(tmp_path, ALONE, "60") as first:
        assert line(first) == "alone\n"
        with stage("train D") as other:
            other.alone()  # another stage does not wait
        threading.Timer(0.5, first.kill).start()
        with stage("train C") as second:
            second.alone()
            first.wait(20)
    assert f"train C: waiting for process {first.pid} (-c 60), which holds .state/stages/train-C" in (
        capsys.readouterr().out
    )


def test_of_two_processes_that_wait_the_one_that_came_last_runs(tmp_path: Path) -> None:
    """The `dvc` of the other may be gone, and its outputs in use by then."""
    with start(tmp_path, ALONE, "60") as first:
        assert line(first) == "alone\n"
        with start(tmp_path, ALONE, "0") as second:
            assert "waiting for process" in line(second)
            with start(tmp_path, ALONE, "0") as third:
                assert "waiting for process" in line(third)
                first.kill()
                assert second.communicate()[1] == (
                    f"train C: process {third.pid} started the same stage later; leaving it to that process\n"
                )
                assert third.communicate()[0] == "alone\n"
    assert (second.returncode, third.returncode) == (1, 0)
