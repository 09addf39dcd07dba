"""Cost of a stage, written beside its results: the one output that differs each time the stage runs."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from platform import python_version

import psutil

from vgg_ablation.files import write_table
from vgg_ablation.runtime.provenance import describe_commit, describe_machine
from vgg_ablation.runtime.state import library_versions


@dataclass(frozen=True)
class Cost:
    """A row of the cost table, whose columns are these fields: one stage, for one net where there is one."""

    stage: str
    arch: str
    """Empty for a stage that all nets share."""
    scale: str
    """Training scale; empty for a stage that all of them share."""
    images: int
    """Images fetched, packed, trained on or classified; an image used twice counts twice."""
    seconds: float
    """From the start of the process; work saved by earlier attempts included."""
    work_seconds: float
    """Part of `seconds` spent in the work itself: fetching, packing, training and validating, or classifying."""
    checkpoint_seconds: float | None
    """Part of `seconds` in which training waited between epochs for checkpoints; None for stages without runs."""
    device: str
    """Name of the device."""
    precision: str
    """Precision of matrix products; empty for a stage without nets."""
    threads: int
    share_of_limit: float | None
    """Operations of the nets per second of work, divided by those of a plain matrix product; None without nets."""
    machine: str
    """Processor, cores and memory."""
    commit: str
    """Git commit, with `+changes` if files differ from it; empty without git."""
    versions: str
    """Versions of Python and the libraries that results depend on."""


class Meter:
    """Adds up the cost of a stage's work.

    Args:
        commit: what `write` names as the commit; None: the present one, which git says.
    """

    def __init__(self, commit: str | None = None) -> None:
        self.images = 0
        self.operations = 0.0
        """Floating-point operations of convolutions and fully-connected layers: two per multiply-accumulate."""
        self.seconds = 0.0
        self.taken_over = 0.0
        """Seconds of work done by earlier processes."""
        self.checkpoint_seconds = 0.0
        """Time in which training waited for checkpoints."""
        # Now: another may be checked out before the stage ends.
        self._commit = describe_commit() if commit is None else commit
        self._last = time.perf_counter()

    def add(self, seconds: float, images: int, gmacs: float = 0.0) -> None:
        """Count work that has just ended, or was found in the state: its seconds, images and 1e9 multiply-adds."""
        now = time.perf_counter()
        self.taken_over += max(0.0, seconds - (now - self._last))
        self._last = now
        self.seconds += seconds
        self.images += images
        self.operations += 2e9 * gmacs

    @contextmanager
    def work(self, images: int = 0, gmacs: float = 0.0) -> Iterator[None]:
        """Count the body as work; if only the body knows the number of images, `count` them afterwards."""
        self._last = time.perf_counter()
        yield
        self.add(time.perf_counter() - self._last, images, gmacs)

    def count(self, images: int) -> None:
        """Count images of work whose time is already counted."""
        self.images += images

    def write(
        self,
        folder: Path,
        stage: str,
        *,
        arch: str = "",
        scale: str = "",
        device: str = "cpu",
        precision: str = "",
        threads: int | None = None,
        rate: float | None = None,
    ) -> None:
        """Write the stage's cost as `folder`/cost.csv.

        Args:
            folder: folder of the stage's outputs.
            stage: its name in stages/dvc.yaml.
            arch: the net, for a stage of one net.
            scale: the training scale, for a stage of one scale.
            device: its name.
            precision: precision of the nets' matrix products, if there are nets.
            threads: threads of the work; by default one per core.
            rate: operations per second that the device can do, if there are nets; see `device.matmul_rate`.
        """
        age = max(0.0, time.time() - psutil.Process().create_time())  # of this process
        cost = Cost(
            stage=stage,
            arch=arch,
            scale=scale,
            images=self.images,
            seconds=round(max(age + self.taken_over, self.seconds), 3),
            work_seconds=round(self.seconds, 3),
            checkpoint_seconds=round(self.checkpoint_seconds, 3) if stage == "train" else None,
            device=device,
            precision=precision,
            threads=threads or os.cpu_count() or 1,
            share_of_limit=round(self.operations / self.seconds / rate, 4) if rate and self.seconds else None,
            machine=describe_machine(),
            commit=self._commit,
            versions=", ".join([f"Python {python_version()}", *map(" ".join, library_versions().items())]),
        )
        write_table(folder / "cost.csv", [field.name for field in fields(Cost)], [asdict(cost)])
