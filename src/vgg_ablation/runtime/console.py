"""Console output of a running stage: progress with rate and time left, a closing line, one line for an error."""

import atexit
import io
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

from rich.console import Console as Terminal
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from vgg_ablation.errors import StageError
from vgg_ablation.files import DISK_FULL, disk_full
from vgg_ablation.runtime.locks import latest
from vgg_ablation.runtime.outlook import Outlook
from vgg_ablation.text import printable

SAVED = "progress saved; run `dvc repro` to resume"
"""Said of a stage that was stopped."""
SAVED_APPENDIX_B = "progress saved; run `dvc repro appendix_b/dvc.yaml` to resume"
"""The same of a stage of appendix B."""
_REMEMBERED = 20  # steps that the time left is estimated from
_STOPPED_BY = {
    getattr(signal, name): said
    for name, said in (("SIGINT", "Ctrl-C"), ("SIGTERM", "SIGTERM"), ("SIGHUP", "SIGHUP"))
    if hasattr(signal, name)  # not every system has all of them
}
_ONE_STOP = 1.0  # seconds: `timeout`, make and closed terminals send the same signal twice


class Task:
    """Work of `total` steps: a bar on a terminal, elsewhere lines, at most one in `quiet` seconds."""

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
        """Count one step as done; `note` is its result in a few words.

        Raises:
            StageError: the `dvc` that started this stage has ended.
        """
        self._before_each()
        self._done += 1
        self._progress.update(self._bar, completed=self._done, note=printable(note))
        self._ends.append(now := time.monotonic())
        last = self._done == self._total
        if not self._progress.console.is_terminal and (last or now - self._printed >= self._quiet):
            self._printed = now
            # From the latest steps only: steps that a resumed stage takes from its state take no time.
            pace = (now - self._ends[0]) / (len(self._ends) - 1)
            left = duration(pace * (self._total - self._done))
            said = printable(note) or (f"{1 / pace:.3g}/s" if pace else "from saved state")
            print(f"{self._description} {self._done}/{self._total}: {said}, {left} left", flush=True)


class Parts:
    """Work of `count` parts of at most `length` epochs each: a bar on a terminal, elsewhere lines.

    Of the epochs of a part, at most one in `quiet` seconds is a line; the end of a part is one, if it has a note.
    """

    def __init__(
        self,
        progress: Progress,
        description: str,
        count: int,
        length: int,
        quiet: float,
        other_epochs: float | None,
        before_each: Callable[[], None],
    ) -> None:
        self._before_each = before_each
        self._progress = progress
        self._description = description
        self._count = count
        self._length = length
        self._quiet = quiet
        self._other_epochs = other_epochs
        self._ended = 0
        self._epoch = 0
        self._seconds = deque[float](maxlen=_REMEMBERED)
        self._last = self._printed = time.monotonic()
        self._bar: TaskID = progress.add_task(self._name(), total=length, note="")

    def advance(self, note: str, seconds: float) -> None:
        """Count an epoch, which took some seconds in whichever process, as done; `note` is its result.

        Raises:
            StageError: the `dvc` that started this stage has ended.
        """
        self._before_each()
        self._epoch += 1
        now = time.monotonic()
        if now - self._last >= seconds / 2:  # it was not taken from the state of an earlier process
            self._seconds.append(now - self._last)
        self._last = now
        self._show(f"{note}{self._left()}", quiet=self._quiet)

    def end(self, note: str = "") -> None:
        """Count the part as done, whether or not all its epochs were run; `note` is its result."""
        if note:
            self._before_each()
            self._show(f"{note}{self._left(self._ended + 1)}", part_alone=True)
        self._ended += 1
        self._epoch = 0
        if self._ended < self._count:
            self._progress.reset(self._bar, description=self._name())

    def _name(self) -> str:
        return f"{self._description} {self._ended + 1}/{self._count}"

    def _show(self, note: str, *, part_alone: bool = False, quiet: float = 0.0) -> None:
        name = self._name() if part_alone else f"{self._name()}, epoch {self._epoch}/{self._length}"
        self._progress.update(self._bar, completed=self._epoch, note=printable(note))
        now = time.monotonic()
        if not self._progress.console.is_terminal and now - self._printed >= quiet:
            self._printed = now
            print(f"{name}: {printable(note)}", flush=True)

    def _left(self, ended: int | None = None) -> str:
        """Return the time left as text: of the part, the stage and the study; nothing before an epoch was run."""
        if not self._seconds:
            return ""
        pace = sum(self._seconds) / len(self._seconds)
        of_part = 0 if ended else self._length - self._epoch
        of_stage = of_part + self._length * (self._count - (ended or self._ended + 1))
        times = [] if ended else [f"{duration(pace * of_part)} left"]
        times.append(f"stage {duration(pace * of_stage)}" + (" left" if ended else ""))
        if self._other_epochs is not None:
            times.append(f"study about {duration(pace * (of_stage + self._other_epochs))}")
        return f"; {', '.join(times)}"


class Console:
    """Console output and locking of a running stage."""

    def __init__(self, name: str, at_exit: ExitStack | None = None, saved: str = SAVED) -> None:
        self.name = name
        self._saved = saved
        self._at_exit = at_exit or ExitStack()
        self._dvc = os.getppid() if "DVC_STAGE" in os.environ else None
        self._terminal = Terminal(highlight=False, soft_wrap=True, emoji=False)
        self._started = time.monotonic()
        self._outlook: Outlook | None = None

    def alone(self) -> None:
        """Be the only process of this stage in this folder until the stage ends; wait while there is another.

        Raises:
            StageError: another process of the stage came while this one waited, or the `dvc` that started this one has
                ended.
        """
        folder = Path(".state/stages") / self.name.replace(" ", "-")
        self._at_exit.enter_context(latest(folder, self.say))
        self._require_dvc()

    def _require_dvc(self) -> None:
        """Raise StageError if `dvc` was killed: the next one may have other settings and use these outputs.

        A shell between the two that outlives `dvc` hides its end.
        """
        if self._dvc is not None and os.getppid() != self._dvc:
            raise StageError(f"the dvc process that started this stage has ended; {self._saved}")

    def in_study(self, outlook: Outlook) -> None:
        """Say how many stages of the study have results; from now on, `parts` says how long the study takes."""
        self._outlook = outlook
        self.say(f"{outlook.finished} of the {outlook.stages} stages of the study's nets have results")

    def say(self, text: str) -> None:
        """Print one line now."""
        self._terminal.print(f"{self.name}: {printable(text)}", markup=False)

    def made(self, text: str) -> None:
        """Print the stage's closing line: what it made, and how long that took."""
        self.say(f"{text} in {duration(time.monotonic() - self._started)}")

    @contextmanager
    def task(self, description: str, total: int, quiet: float = 0.0) -> Iterator[Task]:
        """Show work of `total` steps while the body runs; see `Task`."""
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        with self._progress(*columns) as progress:
            yield Task(progress, f"{self.name}: {printable(description)}", total, quiet, self._require_dvc)

    @contextmanager
    def parts(self, description: str, count: int, length: int, quiet: float = 0.0) -> Iterator[Parts]:
        """Show work of `count` parts of at most `length` epochs while the body runs; see `Parts`."""
        columns = (TextColumn("{task.description}, epoch", markup=False), BarColumn(), MofNCompleteColumn())
        other = self._outlook.other_epochs if self._outlook else None
        with self._progress(*columns) as progress:
            yield Parts(progress, f"{self.name}: {description}", count, length, quiet, other, self._require_dvc)

    def _progress(self, *columns: ProgressColumn) -> Progress:
        """Return bars with these columns and the note; they are shown on a terminal alone."""
        note = TextColumn("{task.fields[note]}", markup=False)
        terminal = self._terminal
        return Progress(*columns, note, console=terminal, disable=not terminal.is_terminal, transient=True)


@contextmanager
def stage(name: str, saved: str = SAVED) -> Iterator[Console]:
    """Run a stage's body; an error that a user can fix ends it with one line on stderr and exit status 1.

    Ctrl-C, SIGTERM and SIGHUP end it after the current operation, with the exit status that shells use for them. A
    signal that the process was told to ignore (nohup) stays ignored. A later signal ends it at once, even while
    training writes a checkpoint: every file is whole at any moment.

    With `--help`, print the docstring of the script that runs, and exit.

    Args:
        name: begins each line.
        saved: said after a signal: how to go on; empty where nothing is saved.
    """
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(sys.modules["__main__"].__doc__)
        sys.exit()
    with ExitStack() as at_exit:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # a name that the terminal cannot show ends no stage
                stream.reconfigure(errors="backslashreplace")
        for number in _STOPPED_BY:
            if (before := signal.getsignal(number)) is not signal.SIG_IGN:
                at_exit.callback(signal.signal, number, before)
                signal.signal(number, _stop)
        try:
            yield Console(name, at_exit, saved)
        except Exception as error:
            _end(name, error)
        except KeyboardInterrupt as stop:
            number = stop.args[0] if stop.args else signal.SIGINT
            print(f"{name}: stopped by {_STOPPED_BY[number]}" + (f"; {saved}" if saved else ""), file=sys.stderr)
            sys.exit(128 + number)
        finally:
            # DVC leaves Ctrl-C to the stage, and libraries that clean up at exit swallow it: the study would continue.
            atexit.register(signal.signal, signal.SIGINT, signal.SIG_DFL)


def _end(name: str, error: Exception) -> None:
    """End the process with an error that a user can fix, one line on stderr; raise any other."""
    if not (message := explain(error)):
        raise error
    for line in message.splitlines():
        print(f"{name}: {printable(line)}", file=sys.stderr)
    sys.exit(1)


def _stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - as signal handlers are called
    began = time.monotonic()

    def stop_at_once(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if time.monotonic() - began > _ONE_STOP:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    for again in _STOPPED_BY:
        if signal.getsignal(again) is not signal.SIG_IGN:
            signal.signal(again, stop_at_once)
    raise KeyboardInterrupt(signal.Signals(number))


def explain(error: Exception) -> str:
    """Return what a user can do about an error; nothing if it is a fault of the program."""
    if isinstance(error, StageError):
        return str(error)
    if isinstance(error, OSError):
        if error.errno in DISK_FULL:
            return str(disk_full(Path(error.filename or ".")))
        where = f": {error.filename}" if error.filename else ""
        return f"{error.strerror or str(error) or type(error).__name__}{where}"
    # torch's errors are recognised by name: importing torch takes seconds
    of_torch = type(error).__name__ == "OutOfMemoryError" or "DefaultCPUAllocator" in str(error)
    if isinstance(error, MemoryError) or of_torch:
        return "out of memory; free some, or use a smaller net, crop or batch, and run it again"
    return ""


def duration(seconds: float) -> str:
    """Return `seconds` as text: `0.4 s`, `3:20 min`, `2:05:00 h`, `3.5 days`; no library in the lock has this."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds >= 2 * 86400:
        return f"{seconds / 86400:.1f} days"
    if (whole := round(seconds)) < 60:
        return f"{whole} s"
    text = str(timedelta(seconds=whole))
    return f"{text} h" if whole >= 3600 else f"{text.removeprefix('0:').removeprefix('0')} min"
