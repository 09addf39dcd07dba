import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack

import pytest
import torch

from vgg_ablation.errors import StageError
from vgg_ablation.runtime import console
from vgg_ablation.runtime.console import SAVED_APPENDIX_B, Console, duration, stage
from vgg_ablation.runtime.outlook import Outlook

Text = pytest.CaptureFixture[str]


def run_stage(error: BaseException) -> int | str | None:
    """Return the exit status of a stage whose body raises `error`."""
    with pytest.raises(SystemExit) as ended, stage("train C"):
        raise error
    return ended.value.code


def run_code(code: str, *prefix: str) -> subprocess.CompletedProcess[str]:
    """Run Python code that uses `stage` in a process of its own."""
    program = f"import os, signal, time; from vgg_ablation.runtime.console import stage\n{code}"
    return subprocess.run([*prefix, sys.executable, "-c", program], capture_output=True, text=True, check=False)


# Errors.


@pytest.mark.parametrize(
    ("error", "lines"),
    [
        (StageError("no such file"), "train C: no such file\n"),
        (StageError("one\ntwo\x1b[31m"), "train C: one\ntrain C: two\\x1b[31m\n"),
        (
            FileNotFoundError(2, "No such file", "results/best.json"),
            "train C: No such file: results/best.json\n",
        ),
        (OSError("the disk is gone"), "train C: the disk is gone\n"),
        (TimeoutError(), "train C: TimeoutError\n"),
    ],
    ids=repr,
)
def test_an_error_that_a_user_can_fix_is_one_line_and_status_1(capsys: Text, error: Exception, lines: str) -> None:
    assert run_stage(error) == 1
    assert capsys.readouterr() == ("", lines)


def test_memory_that_runs_out_on_the_cpu_is_one_line(capsys: Text) -> None:
    with pytest.raises(SystemExit), stage("train C"):
        torch.empty(10**15)
    assert re.fullmatch(r"train C: out of memory; free some, .*\n", capsys.readouterr().err)


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory")])
def test_memory_that_runs_out_is_one_line(capsys: Text, error: BaseException) -> None:
    assert run_stage(error) == 1
    assert re.fullmatch(r"train C: out of memory; free some, .*\n", capsys.readouterr().err)


@pytest.mark.parametrize("error", [RuntimeError("shapes do not match"), ZeroDivisionError()])
def test_an_error_in_the_code_keeps_its_traceback(error: Exception) -> None:
    with pytest.raises(type(error)), stage("train C"):
        raise error


# Signals.


@pytest.mark.parametrize(
    ("number", "said"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM"), (signal.SIGHUP, "SIGHUP")]
)
def test_a_signal_ends_a_stage_with_a_line_that_says_how_to_resume(
    capsys: Text, number: signal.Signals, said: str
) -> None:
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as ended, stage("train C"):
        os.kill(os.getpid(), number)
    assert ended.value.code == 128 + number
    expected = f"train C: stopped by {said}; progress saved; run `dvc repro` to resume\n"
    assert capsys.readouterr() == ("", expected)
    assert signal.getsignal(number) == before


@pytest.mark.parametrize(
    ("saved", "ending"),
    [("", ""), (SAVED_APPENDIX_B, "; progress saved; run `dvc repro appendix_b/dvc.yaml` to resume")],
)
def test_a_stopped_program_says_how_to_resume_only_if_it_saves_something(capsys: Text, saved: str, ending: str) -> None:
    with pytest.raises(SystemExit), stage("undo", saved):
        os.kill(os.getpid(), signal.SIGTERM)
    assert capsys.readouterr().err == f"undo: stopped by SIGTERM{ending}\n"


def test_a_process_told_to_ignore_a_closed_terminal_ignores_it() -> None:
    """As with `nohup dvc repro &`."""
    done = run_code("with stage('train C'): os.kill(os.getpid(), signal.SIGHUP); print('continued')", "nohup")
    assert done.stdout == "continued\n"


def test_a_second_signal_does_not_disturb_the_first(capsys: Text) -> None:
    last = ExitStack()
    last.callback(os.kill, os.getpid(), signal.SIGINT)
    with pytest.raises(SystemExit) as ended, stage("train C"), last:
        os.kill(os.getpid(), signal.SIGTERM)
    assert ended.value.code == 128 + signal.SIGTERM
    assert "stopped by SIGTERM" in capsys.readouterr().err


def test_a_later_signal_ends_the_process_at_once() -> None:
    done = run_code(
        "with stage('train C'):\n"
        "    try: os.kill(os.getpid(), signal.SIGTERM)\n"
        "    finally: time.sleep(1.1); os.kill(os.getpid(), signal.SIGTERM); print('continued')"
    )
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "")


def test_ctrl_c_after_the_body_still_ends_the_process() -> None:
    """Otherwise DVC, which leaves Ctrl-C to the stage, would start the next stage."""
    done = run_code(
        "import atexit; atexit.register(lambda: (os.kill(os.getpid(), signal.SIGINT), print('continued')))\n"
        "with stage('train C'): pass"
    )
    assert (done.returncode, done.stdout) == (-signal.SIGINT, "")


def test_a_stage_whose_dvc_was_killed_stops_at_its_next_step() -> None:
    code = (
        "import time; from vgg_ablation.runtime.console import stage\n"
        "with stage('train C') as console, console.task('epoch', 10**6) as task:\n"
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
            "train C: the dvc process that started this stage has ended; progress saved; run `dvc repro` to resume\n"
        )


# Lines.


@pytest.mark.parametrize("text", ["[bold]a[/bold]:b " + 200 * "x", "data:dog:tar", "4 of 5"])
def test_a_line_is_printed_as_it_is(capsys: Text, text: str) -> None:
    Console("download").say(text)
    assert capsys.readouterr().out == f"download: {text}\n"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Stop the clock of the console, and return a function that sets it forward."""
    now = [1000.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])

    def forward(seconds: float) -> None:
        now[0] += seconds

    return forward


def test_without_a_terminal_each_step_is_a_line_with_the_time_left(
    capsys: Text, clock: Callable[[float], None]
) -> None:
    with Console("tune A").task("trial", 3) as task:
        for note in ("10 %", "", "30 %"):
            clock(4)
            task.advance(note)
    assert capsys.readouterr().out.splitlines() == [
        "tune A: trial 1/3: 10 %, 8.0 s left",
        "tune A: trial 2/3: 0.25/s, 4.0 s left",
        "tune A: trial 3/3: 30 %, 0.0 s left",
    ]


def test_the_time_left_is_estimated_from_the_latest_steps(capsys: Text, clock: Callable[[float], None]) -> None:
    """Steps that a resumed stage takes from its state take no time."""
    with Console("train A").task("epoch", 200) as task:
        for step in range(150):
            clock(0 if step < 100 else 6)
            task.advance("loss 1.5")
    assert capsys.readouterr().out.splitlines()[-1] == "train A: epoch 150/200: loss 1.5, 5:00 min left"


def test_each_epoch_of_a_part_is_a_line_with_the_time_left_of_part_stage_and_study(
    capsys: Text, clock: Callable[[float], None]
) -> None:
    shown = Console("train A")
    shown.in_study(Outlook(stages=9, finished=2, other_epochs=100.0))
    with shown.parts("run", 2, 3) as parts:
        for _ in range(2):
            for _ in range(3):
                clock(4)
                parts.advance("training loss 1.5", 4.0)
            parts.end()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "train A: 2 of the 9 stages of the study's nets have results"
    assert lines[1] == ("train A: run 1/2, epoch 1/3: training loss 1.5; 8.0 s left, stage 20 s, study about 7:00 min")
    assert lines[-1].startswith("train A: run 2/2, epoch 3/3: training loss 1.5; 0.0 s left, stage 0.0 s, study")


def test_the_end_of_a_part_is_a_line_with_its_result_also_if_it_ends_early(
    capsys: Text, clock: Callable[[float], None]
) -> None:
    with Console("tune A").parts("trial", 3, 10, quiet=100) as parts:
        clock(101)
        parts.advance("training loss 1.5", 101.0)
        parts.end("validation accuracy 40.0 %")
        parts.advance("training loss 1.4", 101.0)
        parts.end("validation accuracy 50.0 %")
    assert capsys.readouterr().out.splitlines() == [
        "tune A: trial 1/3, epoch 1/10: training loss 1.5; 15:09 min left, stage 48:49 min",
        "tune A: trial 1/3: validation accuracy 40.0 %; stage 33:40 min left",
        "tune A: trial 2/3: validation accuracy 50.0 %; stage 16:50 min left",
    ]


def test_epochs_from_saved_state_say_nothing_of_the_time_left(capsys: Text, clock: Callable[[float], None]) -> None:
    """They took no time in this process."""
    with Console("train A").parts("run", 1, 3) as parts:
        parts.advance("training loss 1.5", 60.0)
        clock(50)
        parts.advance("training loss 1.4", 60.0)
    assert capsys.readouterr().out.splitlines() == [
        "train A: run 1/1, epoch 1/3: training loss 1.5",
        "train A: run 1/1, epoch 2/3: training loss 1.4; 50 s left, stage 50 s",
    ]


def test_on_a_terminal_parts_are_a_bar(capsys: Text, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr("builtins.print", lambda *_, **__: pytest.fail("a line was printed"))
    with Console("tune A").parts("trial", 2, 5) as parts:
        parts.advance("training loss 1.5", 0.0)
        parts.end("validation accuracy 40.0 %")
    assert "trial 2/2" in capsys.readouterr().out


def test_a_quiet_task_prints_at_most_one_line_in_its_pause_and_its_last(
    capsys: Text, clock: Callable[[float], None]
) -> None:
    with Console("download").task("rendering", 10, quiet=5) as task:
        for _ in range(10):
            clock(2)
            task.advance()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[2] for line in lines] == ["3/10:", "6/10:", "9/10:", "10/10:"]


def test_on_a_terminal_a_bar_moves_and_no_line_is_printed(capsys: Text, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr("builtins.print", lambda *_, **__: pytest.fail("a line was printed"))
    with Console("tune A").task("trial", 2) as task:
        task.advance("10 %")
    assert "trial" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (0.44, "0.4 s"), (12.3, "12 s"), (59.7, "1:00 min"), (200, "3:20 min"), (600, "10:00 min"),
     (3599.7, "1:00:00 h"), (7500, "2:05:00 h"), (36000, "10:00:00 h"), (90000, "1 day, 1:00:00 h"),
     (302400, "3.5 days")],
)  # fmt: skip
def test_a_duration_is_written_in_its_unit(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_what_the_terminals_encoding_lacks_is_printed_as_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii", write_through=True))
    with stage("predict", saved=""):
        print("фото")
    assert written.getvalue() == b"\\u0444\\u043e\\u0442\\u043e\n"
