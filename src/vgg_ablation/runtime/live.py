"""Learning curves that people can read while a trial or run trains, in the git-ignored folder `live/`.

TensorBoard's event files, where TensorBoard is installed, and a CSV file. No result depends on them.
"""

import csv
import errno
import importlib.util
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from vgg_ablation.errors import StageError
from vgg_ablation.files import write_json
from vgg_ablation.runtime.state import repository_root

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FOLDER = "live"
"""In the repository's root."""
CURVES, RESULT = "curves.csv", "result.json"


class LiveCurves:
    """Learning curves and result of one trial or run. Each epoch is written once, also if the work is interrupted.

    A file that cannot be written is reported once; the work continues without live curves.

    Args:
        name: folder below `FOLDER`, such as `C_BN/fixed/run-0`.
        state: state folder of the work: work with other settings has another folder here too.
        say: receives the reason if a file cannot be written.
    """

    def __init__(self, name: str, state: Path, say: Callable[[str], None]) -> None:
        self.folder = repository_root() / FOLDER / f"{name}-{state.name[:8]}"
        self._say = say
        self._works = True
        self._last: int | None = None
        """Latest epoch that is written; None: not known yet."""
        self._bare = False
        """TensorBoard is installed, and there were no event files."""
        self._writer: SummaryWriter | None = None

    def __enter__(self) -> "LiveCurves":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer:
            self._survive(self._writer.close)

    def add(self, epoch: Mapping[str, float | None], images_per_second: float) -> None:
        """Write an epoch that is not written yet: its number, from 1, as `epoch`, and other numbers by name."""
        self._survive(lambda: self._add({**epoch, "images_per_second": round(images_per_second, 1)}))

    def finish(self, hyper_parameters: Mapping[str, float | str], errors: Mapping[str, float]) -> None:
        """Write hyper-parameters and final errors in percent, by name, unless they are written already."""
        self._survive(lambda: self._finish(hyper_parameters, errors))

    def _survive(self, write: Callable[[], None]) -> None:
        try:
            if self._works:
                write()
        except (OSError, StageError) as error:
            self._works = False
            # `write_json` raises StageError on a full disk, with the advice to run it again.
            full = isinstance(error, StageError)
            reason = os.strerror(errno.ENOSPC) if full else error.strerror or str(error)
            self._say(f"{self.folder}: {reason}; continuing without live curves")

    def _add(self, row: Mapping[str, float | None]) -> None:
        number = int(row["epoch"] or 0)
        if number <= self._start():
            return
        # The table last: what an interruption left in the event files alone is purged, see `_open`.
        self._write_events([row])
        with (self.folder / CURVES).open("a", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, list(row), lineterminator="\n")
            if not file.tell():
                table.writeheader()
            table.writerow(row)
        self._last = number

    def _finish(self, hyper_parameters: Mapping[str, float | str], errors: Mapping[str, float]) -> None:
        self._start()
        if (self.folder / RESULT).exists() and not self._bare:
            return
        if writer := self._open():
            from torch.utils.tensorboard.summary import hparams

            final = {f"final/{name}": value for name, value in errors.items()}
            for summary in hparams(dict(hyper_parameters), final):
                writer._get_file_writer().add_summary(summary)  # noqa: SLF001 - `add_hparams` would add another run
            for name, value in final.items():
                writer.add_scalar(name, value)
            writer.flush()
        write_json(self.folder / RESULT, {"hyper_parameters": dict(hyper_parameters), "errors": dict(errors)})

    def _start(self) -> int:
        """Return the latest epoch that is written; fill missing event files from the table."""
        if self._last is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            rows = _read_rows(self.folder / CURVES)
            self._bare = _has_tensorboard() and not any(self.folder.glob("events.*"))
            self._last = 0
            if self._bare:
                self._write_events(rows)
            self._last = len(rows)
        return self._last

    def _write_events(self, rows: Sequence[Mapping[str, float | None]]) -> None:
        if rows and (writer := self._open()):
            for row in rows:
                for name, value in row.items():
                    if name != "epoch" and value is not None:
                        writer.add_scalar(name, value, int(row["epoch"] or 0))
            writer.flush()

    def _open(self) -> "SummaryWriter | None":
        if not self._writer and _has_tensorboard():
            from torch.utils.tensorboard import SummaryWriter

            # TensorBoard drops the epochs from this one on that are in older event files.
            self._writer = SummaryWriter(str(self.folder), purge_step=(self._last or 0) + 1)
        return self._writer


def _has_tensorboard() -> bool:
    return importlib.util.find_spec("tensorboard") is not None


def _read_rows(path: Path) -> list[dict[str, float | None]]:
    """Read a table of curves, which has each epoch from the first; remove what an interruption left unfinished."""
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    table = csv.DictReader(whole.decode(errors="replace").splitlines())
    rows: list[dict[str, float | None]] = []
    try:
        rows = [{name: float(value) if value else None for name, value in row.items()} for row in table]
        in_order = [row["epoch"] for row in rows] == list(range(1, len(rows) + 1))
        sound = in_order and "epoch" in (table.fieldnames or ())
    except (KeyError, TypeError, ValueError):
        sound = False
    if not sound:
        path.unlink()
        return []
    if whole != content:
        os.truncate(path, len(whole))
    return rows
