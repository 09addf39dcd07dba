"""What people see of a stage: progress with rates and time left, a closing line, one line for an error."""

import atexit
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from vgg_ablation.errors import StageError
from vgg_ablation.files import DISK_FULL, disk_full, write_text
from vgg_ablation.runtime.state import locked

_HOW_TO_GO_ON = "what was done is kept: run it again (dvc repro) to go on"
_REMEMBERED = 20  # steps that the time left is estimated from
_STOPPED_BY = {
    getattr(signal, name): said
    for name, said in (("SIGINT", "Ctrl-C"), ("SIGTERM", "SIGTERM"), ("SIGHUP", "SIGHUP"))
    if hasattr(signal, name)  # not every system has all of them
}


class Task:
    """Work of `total` known steps: a moving bar on a terminal, elsewhere lines, at most one in `quiet` seconds."""

    def __init__(
        self, progress: Progress, description: str, total: int, quiet: float, before_each: Callable[[], None]
    ) -> None:
        self._before_each = before_each
        self._progress = progress
        self._description = description
        self._total = total
        self._quiet = quiet
        self._done = 0
        self._ends = deque([time.monotonic()], maxlen=_REMEMBERED)
        self._printed = self._ends[0]
        self._bar: TaskID = progress.add_task(description, total=total, note="")

    def advance(self, note: str = "") -> None:
        """Count one step as done; `note` says what came of it.

        Raises:
            StageError: the `dvc` that began this stage is gone.
        """
        self._before_each()
        self._done += 1
        self._progress.update(self._bar, completed=self._done, note=note)
        self._ends.append(now := time.monotonic())
        last = self._done == self._total
        if not self._progress.console.is_terminal and (last or now - self._printed >= self._quiet):
            self._printed = now
            self._print(note)

    def _print(self, note: str) -> None:
        # From the latest steps alone: those that a resumed stage takes over from its state take no time.
        pace = (self._ends[-1] - self._ends[0]) / (len(self._ends) - 1)
        left = duration(pace * (self._total - self._done))
        rate = f"{1 / pace:.3g}/s" if pace else "at once"
        print(f"{self._description} {self._done}/{self._total}: {note or rate}, {left} left", flush=True)


class Stage:
    """A running stage's voice."""

    def __init__(self, name: str, held: ExitStack | None = None) -> None:
        self.name = name
        self._held = held or ExitStack()
        self._dvc = os.getppid() if "DVC_STAGE" in os.environ else None
        self.console = Console(highlight=False, soft_wrap=True, emoji=False)
        self._started = time.monotonic()

    def alone(self) -> None:
        """Be the only process of this stage in this folder until it ends; wait, and say for whom, while there is one.

        A stage that outlives its killed `dvc` thus never writes among the outputs of the one that comes after it.

        Raises:
            StageError: another came after this one while it waited: the outputs may be in that one's use already. Or
                the `dvc` that began it is gone.
        """
        folder = Path(".state/stages") / self.name.replace(" ", "-")
        write_text(folder / "latest.txt", f"{os.getpid()}\n")
        self._held.enter_context(locked(folder, self.say))
        if (latest := (folder / "latest.txt").read_text(encoding="utf-8").strip()) != str(os.getpid()):
            raise StageError(f"process {latest} came after this one to do the same; this one leaves it to that")
        self._require_dvc()

    def _require_dvc(self) -> None:
        """Raise StageError where `dvc` was killed: what comes next may have other settings, and these outputs in use.

        A shell between the two that outlives `dvc` hides its end.
        """
        if self._dvc is not None and os.getppid() != self._dvc:
            raise StageError(f"the dvc that began this is gone; {_HOW_TO_GO_ON}")

    def say(self, text: str) -> None:
        """Print one line now."""
        self.console.print(f"{self.name}: {text}", markup=False)

    def made(self, text: str) -> None:
        """Print the stage's closing line: what it made and how long it took."""
        self.say(f"{text} in {duration(time.monotonic() - self._started)}")

    @contextmanager
    def task(self, description: str, total: int, quiet: float = 0.0) -> Iterator[Task]:
        """Show work of `total` steps while the body runs; see `Task`."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        terminal = self.console.is_terminal
        with Progress(*columns, console=self.console, disable=not terminal, transient=True) as progress:
            yield Task(progress, f"{self.name}: {description}", total, quiet, self._require_dvc)


@contextmanager
def stage(name: str) -> Iterator[Stage]:
    """Run a stage's body; what a user can mend ends it with a line on stderr and a non-zero exit, not a traceback.

    Ctrl-C, SIGTERM and SIGHUP end it too, after the operation that is under way, with the status that shells give for
    them, unless the process was told to ignore them (nohup). Every file is whole at any moment, so that any moment is
    safe.
    """
    with ExitStack() as held:
        for number in _STOPPED_BY:
            if (before := signal.getsignal(number)) is not signal.SIG_IGN:
                held.callback(signal.signal, number, before)
                signal.signal(number, _stop)
        try:
            yield Stage(name, held)
        except StageError as error:
            _fail(name, str(error))
        except OSError as error:
            if error.errno in DISK_FULL:
                _fail(name, str(disk_full(Path(error.filename or "."))))
            where = f": {error.filename}" if error.filename else ""
            _fail(name, f"{error.strerror or str(error) or type(error).__name__}{where}")
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            _fail(name, "out of memory; free some, or choose a smaller net, crop or batch, and run it again")
        except KeyboardInterrupt as stop:
            number = stop.args[0] if stop.args else signal.SIGINT
            print(f"{name}: stopped by {_STOPPED_BY[number]}; {_HOW_TO_GO_ON}", file=sys.stderr)
            sys.exit(128 + number)
        finally:
            # Libraries clean up at exit and swallow a Ctrl-C, which DVC, waiting, leaves to us: the study would go on.
            atexit.register(signal.signal, signal.SIGINT, signal.SIG_DFL)


def _stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - as signal handlers are called
    for again in _STOPPED_BY:  # one is enough: a second would interrupt what the first makes us do
        signal.signal(again, signal.SIG_IGN)
    raise KeyboardInterrupt(signal.Signals(number))


def _is_out_of_memory(error: Exception) -> bool:
    """Tell whether it is so, also of torch's errors, whose types would take seconds to import."""
    of_torch = type(error).__name__ == "OutOfMemoryError" or "DefaultCPUAllocator" in str(error)
    return isinstance(error, MemoryError) or of_torch


def duration(seconds: float) -> str:
    """Return `seconds` as people say it: `0.4 s`, `12 s`, `3:20 min`, `2:05:00 h`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if (whole := round(seconds)) < 60:
        return f"{whole} s"
    text = str(timedelta(seconds=whole))
    return f"{text} h" if whole >= 3600 else f"{text.removeprefix('0:').removeprefix('0')} min"


def _fail(name: str, message: str) -> None:
    for line in message.splitlines():
        print(f"{name}: {line}", file=sys.stderr)
    sys.exit(1)
