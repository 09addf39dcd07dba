"""Kill a study again and again at random moments, and compare it with the same study left alone."""

import os
import random
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import yaml
from repository import Repository, holds_times

_RUNNING = re.compile(r"^Running stage '(?:stages/dvc\.yaml:)?([^']+)'", re.MULTILINE)
_TORN = re.compile(r"Unable to read RWLock-file '([^']+)'|'([^']*dvc\.lock)' (?:validation failed|is invalid)")
"""DVC writes these files in place: a kill at that moment leaves half of one, which the next `dvc repro` refuses."""
_EPOCHS = "EPOCHS_BEGUN"
_LINE_OF_AN_EPOCH = "    for number in range(len(history) + 1, recipe.epochs + 1):\n"
_PATIENCE = 120.0  # seconds in which `dvc repro` must get on or end
STOPPED_WITHIN = 10.0
"""Seconds in which a stage must have ended after SIGTERM or Ctrl-C."""


@dataclass(frozen=True)
class Attempt:
    """A running `dvc repro`, in a session of its own, which prints into a file."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def stage(self) -> psutil.Process | None:
        """The process of the stage that is running."""
        try:
            for child in psutil.Process(self.process.pid).children(recursive=True):
                if any(word.startswith("stages/") for word in child.cmdline()[1:2]):
                    return child
        except psutil.NoSuchProcess:
            pass
        return None


def _kill_stage(attempt: Attempt) -> bool:
    return _signal_stage(attempt, signal.SIGKILL)


def _kill_dvc(attempt: Attempt) -> bool:
    """Leave the stage alive, for the next attempt to meet."""
    attempt.process.kill()
    return True


def _kill_group(attempt: Attempt) -> bool:
    os.killpg(attempt.process.pid, signal.SIGKILL)
    return True


def _terminate_stage(attempt: Attempt) -> bool:
    return _signal_stage(attempt, signal.SIGTERM)


def _terminate_group(attempt: Attempt) -> bool:
    os.killpg(attempt.process.pid, signal.SIGTERM)
    return True


def _press_ctrl_c(attempt: Attempt) -> bool:
    os.killpg(attempt.process.pid, signal.SIGINT)
    return True


def _signal_stage(attempt: Attempt, number: signal.Signals) -> bool:
    if (stage := attempt.stage()) is None:
        return False
    stage.send_signal(number)
    return True


_DVC_ALONE = "SIGKILL to dvc"
KINDS: dict[str, Callable[[Attempt], bool]] = {
    "SIGKILL to the stage": _kill_stage,
    _DVC_ALONE: _kill_dvc,
    "SIGKILL to the group": _kill_group,
    "SIGTERM to the stage": _terminate_stage,
    "SIGTERM to the group": _terminate_group,
    "Ctrl-C": _press_ctrl_c,
}
"""Ways to end a study: each returns whether there was a process to end."""


@dataclass
class Record:
    """The kills of a study, and their effects."""

    kills: list[tuple[str, str]] = field(default_factory=list)
    """Stage and kind of each that hit."""
    epochs: int = 0
    """That one undisturbed run of the study takes."""
    repeated: int = 0
    """Epochs that were begun again."""
    most_repeated: int = 0
    """The most that one kill cost."""
    most_repeated_after_stop: int = 0
    """The most that one SIGTERM or Ctrl-C cost, which leave time to write the latest epoch."""
    slowest_stop: float = 0.0
    """Seconds from SIGTERM or Ctrl-C to the end of all processes."""
    torn: int = 0
    """Lock files of DVC that a kill left half-written, and that were deleted, as docs/reliability.md says."""
    differences: list[str] = field(default_factory=list)
    """Files that are not as in the undisturbed run."""

    @property
    def stages(self) -> set[str]:
        """The stages that were killed, whatever the net."""
        return {stage.split("@")[0] for stage, _ in self.kills}

    def __str__(self) -> str:
        stages = Counter(stage.split("@")[0] for stage, _ in self.kills)
        kinds = Counter(kind for _, kind in self.kills)
        return "\n".join([
            f"kills: {len(self.kills)} ({', '.join(f'{name} {count}' for name, count in sorted(stages.items()))})",
            f"       {', '.join(f'{name} {count}' for name, count in sorted(kinds.items()))}",
            f"epochs repeated: {self.repeated} of {self.epochs}, at most {self.most_repeated} for a kill",
            f"       at most {self.most_repeated_after_stop} for SIGTERM or Ctrl-C",
            f"slowest stop after SIGTERM or Ctrl-C: {self.slowest_stop:.1f} s",
            f"lock files of DVC found half-written, and deleted: {self.torn}",
            f"differences: {', '.join(self.differences) or 'none'}",
        ])  # fmt: skip


def count_epochs(repository: Repository) -> None:
    """Make the copy of the package in this repository record each epoch that it begins."""
    path = repository.folder / "src/vgg_ablation/train/run.py"
    text = path.read_text()
    assert text.count(_LINE_OF_AN_EPOCH) == 1
    note = f'        open(__import__("os").environ["{_EPOCHS}"], "a").write(f"{{checkpoints.name}} {{number}}\\n")\n'
    path.write_text(text.replace(_LINE_OF_AN_EPOCH, _LINE_OF_AN_EPOCH + note))


def _begin(repository: Repository, log: Path, command: tuple[str, ...] = ("dvc", "repro")) -> Attempt:
    environment = repository.environment | {
        _EPOCHS: str(repository.folder.with_suffix(".epochs")),
        "PYTHONUNBUFFERED": "1",
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=repository.folder, env=environment, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
    return Attempt(process, log)


def _epochs_file(repository: Repository) -> Path:
    return repository.folder.with_suffix(".epochs")


def _epochs_begun(repository: Repository) -> list[str]:
    path = _epochs_file(repository)
    text = path.read_text().replace(str(repository.folder), "") if path.exists() else ""
    return text.splitlines()


def undisturbed(repository: Repository) -> dict[str, float]:
    """Run the study to its end, and return how long each stage took, in seconds."""
    attempt = _begin(repository, repository.folder.with_suffix(".log"))
    begun: dict[str, float] = {}
    for stage in _stages_of(attempt):
        begun[stage] = time.monotonic()
    ends = [*list(begun.values())[1:], time.monotonic()]
    assert attempt.process.wait() == 0, attempt.text
    return {stage: end - start for (stage, start), end in zip(begun.items(), ends, strict=True)}


def _stages_of(attempt: Attempt) -> Iterator[str]:
    """Yield each stage as it begins, until `dvc` ends."""
    seen = 0
    while True:
        ended = attempt.process.poll() is not None
        found = _RUNNING.findall(attempt.text)
        yield from found[seen:]
        seen = len(found)
        if ended:
            return
        time.sleep(0.01)


def plan(takes: Mapping[str, float], kills: int, seed: int) -> dict[str, list[tuple[str, float]]]:
    """Return the planned kills of each stage: kind, and moment as a share of the seconds that the stage takes.

    Each stage has one before any has two, the longest first; all kinds come equally often.
    """
    draw = random.Random(seed)  # noqa: S311 - no secret
    order = sorted(takes, key=lambda stage: -takes[stage])
    kinds = list(KINDS)
    planned: dict[str, list[tuple[str, float]]] = {stage: [] for stage in order}
    for number in range(kills):
        if number % len(kinds) == 0:
            draw.shuffle(kinds)
        kind, stage = kinds[number % len(kinds)], order[number % len(order)]
        planned[stage].append((kind, draw.random()))
        if kind == _DVC_ALONE:
            planned[stage].append((kind, draw.random() / 4))  # two that are left alive then wait for each other
    return planned


def torture(
    repository: Repository, takes: dict[str, float], planned: dict[str, list[tuple[str, float]]], record: Record
) -> None:
    """Run the study to its end with `dvc repro` again and again, through the planned kills; note them in `record`."""
    killed = False  # not only stopped, since epochs were begun last
    for number in range(2 * sum(map(len, planned.values())) + 2):
        before = Counter(_epochs_begun(repository))
        attempt = _begin(repository, repository.folder.with_suffix(f".{number}.log"))
        hit = kind = ""
        for stage in _stages_of(attempt):
            if planned.get(stage):
                kind, share = planned[stage].pop(0)
                if hit := _wait_and_kill(attempt, kind, share * takes[stage], record):
                    record.kills.append((hit, kind))
                    break
        status = 0 if hit else attempt.process.wait(_PATIENCE)
        again = sum((Counter(_epochs_begun(repository)) - before)[epoch] for epoch in before)
        record.repeated += again
        record.most_repeated = max(record.most_repeated, again)
        if not killed:
            record.most_repeated_after_stop = max(record.most_repeated_after_stop, again)
        begun = sum(Counter(_epochs_begun(repository)).values()) > sum(before.values())
        killed = (killed and not begun) or (bool(hit) and not kind.startswith(("SIGTERM", "Ctrl-C")))
        if status and (torn := _TORN.search(attempt.text)):
            (repository.folder / (torn[1] or torn[2])).unlink()
            record.torn += 1
        elif not hit:
            assert status == 0, attempt.text
            return
    raise AssertionError("the study did not finish")


_PROCESS = "SIGKILL to a process, then to the command"
PARALLEL = ("python", "-m", "vgg_ablation.parallel", "--slots", "2")
_AT_WORK = re.compile(r"^\w+ (?:trial|run) \d+/\d+: started", re.MULTILINE)


def torture_parallel(repository: Repository, kills: int, seed: int, record: Record) -> None:
    """Compute the study in parallel, kill the command, its processes or all of them so often, and let it end."""
    draw = random.Random(seed)  # noqa: S311 - no secret
    kinds = (_PROCESS, "SIGKILL to the command", "SIGKILL to the group", "SIGTERM to the command", "Ctrl-C")
    for number in range(4 * kills):
        before = Counter(_epochs_begun(repository))
        attempt = _begin(repository, repository.folder.with_suffix(f".{number}.log"), PARALLEL)
        kind = kinds[number % len(kinds)] if len(record.kills) < kills else ""
        while kind and attempt.process.poll() is None and not _AT_WORK.search(attempt.text):
            time.sleep(0.05)
        with suppress(subprocess.TimeoutExpired):
            attempt.process.wait(draw.uniform(1, 6) if kind else _PATIENCE)
        if attempt.process.poll() is None:
            processes = psutil.Process(attempt.process.pid).children()
            began = time.monotonic()
            _kill_parallel(attempt, kind, draw.choice(processes))
            record.kills.append(("parallel", kind))
            attempt.process.wait(_PATIENCE)
            psutil.wait_procs(processes, _PATIENCE)
            if kind.startswith(("SIGTERM", "Ctrl-C")):
                record.slowest_stop = max(record.slowest_stop, time.monotonic() - began)
        again = sum((Counter(_epochs_begun(repository)) - before)[epoch] for epoch in before)
        record.repeated += again
        record.most_repeated = max(record.most_repeated, again)
        if not kind:
            assert attempt.process.returncode == 0, attempt.text
            return
    raise AssertionError("the study did not finish")


def _kill_parallel(attempt: Attempt, kind: str, process: psutil.Process) -> None:
    if kind == _PROCESS:  # the command starts another one, and is killed too a while later
        with suppress(psutil.NoSuchProcess):
            process.kill()
        with suppress(subprocess.TimeoutExpired):
            attempt.process.wait(6)
        attempt.process.kill()
    elif kind == "SIGKILL to the command":
        attempt.process.kill()
    elif kind == "SIGTERM to the command":
        attempt.process.terminate()
    else:
        os.killpg(attempt.process.pid, signal.SIGINT if kind == "Ctrl-C" else signal.SIGKILL)


def _wait_and_kill(attempt: Attempt, kind: str, delay: float, record: Record) -> str:
    """Kill the attempt after `delay` seconds; return its stage, or nothing if it ended before."""
    with suppress(subprocess.TimeoutExpired):
        attempt.process.wait(delay)
    while attempt.process.poll() is None:
        process, began = attempt.stage(), time.monotonic()
        if KINDS[kind](attempt):
            stage = _RUNNING.findall(attempt.text)[-1]
            attempt.process.wait(_PATIENCE)
            if kind != _DVC_ALONE and process:
                psutil.wait_procs([process], _PATIENCE)
            if kind.startswith(("SIGTERM", "Ctrl-C")):
                record.slowest_stop = max(record.slowest_stop, time.monotonic() - began)
            return stage
        time.sleep(0.01)  # between two stages
    return ""


def compare(disturbed: Repository, alone: Repository, record: Record) -> None:
    """Note in `record` what differs between two repositories after the study's end, and the epochs done again."""
    one, other = _results(disturbed), _results(alone)
    record.differences += sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
    expected, found = _epochs_begun(alone), _epochs_begun(disturbed)
    record.epochs = len(expected)
    assert set(found) == set(expected), "other epochs than those of the undisturbed study"


def _results(repository: Repository) -> dict[str, object]:
    """The files of a study without those that hold times, and the stages and params of its lock files."""
    files: dict[str, object] = {
        name: content for name, content in repository.snapshot().items() if not holds_times(name)
    }
    for lock in ("dvc.lock", "stages/dvc.lock"):
        stages = yaml.safe_load((repository.folder / lock).read_text())["stages"]
        files |= {f"{lock}: {stage}": content.get("params") for stage, content in stages.items()}
    return files
