import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vgg_ablation.errors import StageError
from vgg_ablation.runtime import console
from vgg_ablation.runtime.console import Stage, duration, stage

Text = pytest.CaptureFixture[str]


def run_stage(error: BaseException) -> int | str | None:
    """Return the exit status of a stage whose body raises `error`."""
    with pytest.raises(SystemExit) as ended, stage("train C"):
        raise error
    return ended.value.code


def test_a_stages_error_is_one_line_on_stderr(capsys: Text) -> None:
    run_stage(StageError("no such file"))
    assert capsys.readouterr() == ("", "train C: no such file\n")


def test_each_line_of_an_error_says_which_stage(capsys: Text) -> None:
    run_stage(StageError("one\ntwo"))
    assert capsys.readouterr().err == "train C: one\ntrain C: two\n"


def test_an_os_error_is_one_line_that_names_the_file(capsys: Text) -> None:
    run_stage(FileNotFoundError(2, "No such file or directory", "results/C/best.json"))
    assert capsys.readouterr().err == "train C: No such file or directory: results/C/best.json\n"


@pytest.mark.parametrize("error", [OSError("the disk is gone"), OSError(), TimeoutError()])
def test_an_os_error_without_a_file_is_one_line(capsys: Text, error: OSError) -> None:
    run_stage(error)
    assert re.fullmatch(r"train C: .*\w.*\n", capsys.readouterr().err)


def test_memory_that_runs_out_on_the_cpu_is_one_line(capsys: Text) -> None:
    with pytest.raises(SystemExit), stage("train C"):
        torch.empty(10**15)
    assert re.fullmatch(r"train C: out of memory; free some, .*\n", capsys.readouterr().err)


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory")])
def test_memory_that_runs_out_is_one_line(capsys: Text, error: BaseException) -> None:
    run_stage(error)
    assert re.fullmatch(r"train C: out of memory; free some, .*\n", capsys.readouterr().err)


def test_another_error_of_the_run_keeps_its_traceback() -> None:
    with pytest.raises(RuntimeError, match="shapes"), stage("train C"):
        raise RuntimeError("shapes do not match")


@pytest.mark.parametrize(
    ("number", "said"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM"), (signal.SIGHUP, "SIGHUP")]
)
def test_a_signal_ends_a_stage_with_a_line_that_says_how_to_go_on(
    capsys: Text, number: signal.Signals, said: str
) -> None:
    with pytest.raises(SystemExit) as ended, stage("train C"):
        os.kill(os.getpid(), number)
    assert ended.value.code == 128 + number
    expected = f"train C: stopped by {said}; what was done is kept: run it again (dvc repro) to go on\n"
    assert capsys.readouterr() == ("", expected)


def test_after_a_stage_signals_mean_what_they_did_before() -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    with stage("train C"):
        assert all(signal.getsignal(number) != old for number, old in zip(numbers, before, strict=True))
    assert [signal.getsignal(number) for number in numbers] == before


def test_a_process_told_to_ignore_a_closed_terminal_ignores_it() -> None:
    """As with `nohup dvc repro &`, which is how long studies are begun."""
    code = (
        "import os, signal; from vgg_ablation.runtime.console import stage\n"
        "with stage('train C'): os.kill(os.getpid(), signal.SIGHUP); print('went on')"
    )
    done = subprocess.run(["nohup", sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "went on\n"


def test_a_second_signal_does_not_disturb_the_first(capsys: Text) -> None:
    last = ExitStack()
    last.callback(os.kill, os.getpid(), signal.SIGINT)
    with pytest.raises(SystemExit) as ended, stage("train C"), last:
        os.kill(os.getpid(), signal.SIGTERM)
    assert ended.value.code == 128 + signal.SIGTERM
    assert "stopped by SIGTERM" in capsys.readouterr().err


def test_ctrl_c_after_the_body_still_ends_the_process() -> None:
    """Or DVC, which leaves Ctrl-C to the stage, would take the stage for done and begin the next."""
    code = (
        "import atexit, os, signal; from vgg_ablation.runtime.console import stage\n"
        "atexit.register(lambda: (os.kill(os.getpid(), signal.SIGINT), print('went on')))\n"
        "with stage('train C'): pass"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGINT, "")


WAITING = (
    "import os, sys, time; from vgg_ablation.runtime.console import stage\n"
    "with stage('train C') as report:\n"
    "    report.alone(); print('alone', flush=True); time.sleep(float(sys.argv[1]))"
)


def test_of_two_that_wait_the_one_that_came_last_is_next(tmp_path: Path) -> None:
    """The other's `dvc` may be gone, and what it would write be in use by then."""

    def start(seconds: float) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", WAITING, str(seconds)], cwd=tmp_path, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    with start(60) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "alone\n"
        with start(0) as second:
            assert second.stdout is not None
            assert "waiting for it to end" in second.stdout.readline()
            with start(0) as third:
                assert third.stdout is not None
                assert "waiting for it to end" in third.stdout.readline()
                first.kill()
                errors = second.communicate()[1]
                assert errors == (
                    f"train C: process {third.pid} came after this one to do the same; this one leaves it to that\n"
                )
                assert third.communicate()[0] == "alone\n"
    assert (second.returncode, third.returncode) == (1, 0)


def test_a_stage_whose_dvc_is_gone_stops_at_its_next_step(tmp_path: Path) -> None:
    code = (
        "import time; from vgg_ablation.runtime.console import stage\n"
        "with stage('train C') as report, report.task('epoch', 10**6) as task:\n"
        "    while True: task.advance(); time.sleep(0.01)"
    )
    start = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}])"
    environment = {**os.environ, "DVC_STAGE": "train@C"}
    with subprocess.Popen(
        [sys.executable, "-c", start], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as dvc:
        assert dvc.stdout is not None
        assert dvc.stderr is not None
        assert dvc.stdout.readline().startswith("train C: epoch 1/")
        dvc.kill()
        assert dvc.stderr.readline() == (
            "train C: the dvc that began this is gone; what was done is kept: run it again (dvc repro) to go on\n"
        )


def test_a_stage_waits_for_another_process_of_its_own_in_the_same_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Text
) -> None:
    code = (
        "import time; from vgg_ablation.runtime.console import stage\n"
        "with stage('train C') as report: report.alone(); print('alone', flush=True); time.sleep(60)"
    )
    monkeypatch.chdir(tmp_path)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "alone\n"
        with stage("train D") as other:
            other.alone()  # another stage does not wait
        threading.Timer(0.5, first.kill).start()
        with stage("train C") as second:
            second.alone()
            first.wait(20)
    assert f"train C: process {first.pid} (" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "status"), [(StageError("x"), 1), (OSError(1, "x"), 1), (MemoryError(), 1), (KeyboardInterrupt(), 130)]
)
def test_the_exit_status_says_how_a_stage_ended(error: BaseException, status: int) -> None:
    assert run_stage(error) == status


def test_an_error_in_the_code_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError), stage("train C"):
        _ = 1 / 0


def test_a_line_is_printed_as_it_is(capsys: Text) -> None:
    Stage("download").say("fetching [bold]a[/bold]:b " + 200 * "x")
    assert capsys.readouterr().out == f"download: fetching [bold]a[/bold]:b {200 * 'x'}\n"


def test_an_emoji_code_in_a_path_is_printed_as_it_is(capsys: Text) -> None:
    Stage("download").say("data:dog:tar")
    assert capsys.readouterr().out == "download: data:dog:tar\n"


def test_the_closing_line_says_how_long_it_took(capsys: Text, clock: Callable[[float], None]) -> None:
    report = Stage("tune A")
    clock(200)
    report.made("results/A/best.json: lr 1e-2")
    assert capsys.readouterr().out == "tune A: results/A/best.json: lr 1e-2 in 3:20 min\n"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Stop the clock of the console, and return what sets it forward by some seconds."""
    now = [1000.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])

    def forward(seconds: float) -> None:
        now[0] += seconds

    return forward


def test_without_a_terminal_each_step_is_a_line(capsys: Text, clock: Callable[[float], None]) -> None:
    with Stage("tune A").task("trial", 3) as task:
        for accuracy in (10, 20, 30):
            clock(4)
            task.advance(f"{accuracy} %")
    assert capsys.readouterr().out.splitlines() == [
        "tune A: trial 1/3: 10 %, 8.0 s left",
        "tune A: trial 2/3: 20 %, 4.0 s left",
        "tune A: trial 3/3: 30 %, 0.0 s left",
    ]


def test_the_time_left_is_that_of_the_latest_steps(capsys: Text, clock: Callable[[float], None]) -> None:
    """Steps that a resumed stage takes over take no time, and must not promise that the others do."""
    with Stage("train A").task("epoch", 200) as task:
        for step in range(150):
            clock(0 if step < 100 else 6)
            task.advance("loss 1.5")
    assert capsys.readouterr().out.splitlines()[-1] == "train A: epoch 150/200: loss 1.5, 5:00 min left"


def test_a_step_without_a_note_says_how_many_there_are_in_a_second(
    capsys: Text, clock: Callable[[float], None]
) -> None:
    with Stage("preprocess").task("packing", 100) as task:
        clock(0.25)
        task.advance()
    assert capsys.readouterr().out == "preprocess: packing 1/100: 4/s, 25 s left\n"


def test_a_quiet_task_prints_no_more_than_a_line_in_its_pause(capsys: Text, clock: Callable[[float], None]) -> None:
    with Stage("download").task("rendering", 10, quiet=5) as task:
        for _ in range(10):
            clock(2)
            task.advance()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[2] for line in lines] == ["3/10:", "6/10:", "9/10:", "10/10:"]


def test_a_fast_quiet_task_prints_its_last_step_alone(capsys: Text) -> None:
    with Stage("download").task("rendering", 4, quiet=60) as task:
        for _ in range(4):
            task.advance()
    assert re.fullmatch(r"download: rendering 4/4: .* left\n", capsys.readouterr().out)


def test_on_a_terminal_no_line_is_printed_for_a_step(capsys: Text, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    report = Stage("tune A")
    assert report.console.is_terminal
    monkeypatch.setattr("builtins.print", lambda *_, **__: pytest.fail("a line was printed"))
    with report.task("trial", 2) as task:
        task.advance("10 %")
    assert "trial" in capsys.readouterr().out


def test_progress_goes_to_stdout_of_the_moment(capsys: Text) -> None:
    with Stage("tune A").task("trial", 1) as task:
        task.advance()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (0.44, "0.4 s"), (12.3, "12 s"), (60, "1:00 min"), (200, "3:20 min"), (600, "10:00 min"),
     (3600, "1:00:00 h"), (7500, "2:05:00 h"), (36000, "10:00:00 h")],
)  # fmt: skip
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(("seconds", "text"), [(59.7, "1:00 min"), (3599.7, "1:00:00 h")])
def test_a_duration_that_rounds_up_to_the_next_unit_is_in_that_unit(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@given(st.floats(0, 86399))
def test_a_duration_is_right_to_half_of_its_last_digit(seconds: float) -> None:
    number, unit = duration(seconds).split()
    parts = [float(part) for part in number.split(":")]
    said = sum(part * 60**place for place, part in enumerate(reversed(parts)))
    assert len(parts) == {"s": 1, "min": 2, "h": 3}[unit]
    assert abs(said - seconds) <= (0.05 if "." in number else 0.5) + 1e-9


def test_a_days_duration_says_the_day() -> None:
    assert duration(90000) == "1 day, 1:00:00 h"


def test_the_stages_voice_can_be_made_without_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages that nobody listens to (`python >&-`) work all the same."""
    monkeypatch.setattr(sys, "stdout", None)
    Stage("check").say("valid")
