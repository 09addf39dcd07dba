"""What a stage cost, written beside its results: the one output that differs each time the stage runs."""

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
    """What one stage cost, for one net where there is one: a line of the cost table, whose columns are these fields."""

    stage: str
    arch: str
    """Empty for a stage that all nets share."""
    scale: str
    """The training scale; empty for a stage that all of them share."""
    images: int
    """Images fetched, packed, trained on or classified; one that is seen twice counts twice."""
    seconds: float
    """From the process's start, imports included; work kept from an attempt that was cut off is counted too."""
    work_seconds: float
    """Of these the steps themselves: fetching or rendering, packing, training and validating, or classifying."""
    device: str
    """Its name."""
    precision: str
    """Of the nets' products; empty for a stage without nets."""
    threads: int
    share_of_limit: float | None
    """Operations of the nets in a second of work, over those of a plain matrix product here; None without nets."""
    machine: str
    """Its processor, cores and memory."""
    commit: str
    """Of the repository, with `+changes` where files differ from it; empty without git."""
    versions: str
    """Of Python and the libraries that results depend on."""


class Meter:
    """Adds up what a stage's work costs, as it goes on."""

    def __init__(self) -> None:
        self.images = 0
        self.operations = 0.0
        """Of convolutions and fully-connected layers, two a multiply-accumulate."""
        self.seconds = 0.0
        self.taken_over = 0.0
        """Seconds of work that an earlier process had done."""
        self._commit = describe_commit()  # now: by the stage's end another may be checked out
        self._last = time.perf_counter()

    def add(self, seconds: float, images: int, gmacs: float = 0.0) -> None:
        """Count a piece of work that has just ended, or was just found done: its seconds, images and 1e9 macs."""
        now = time.perf_counter()
        self.taken_over += max(0.0, seconds - (now - self._last))
        self._last = now
        self.seconds += seconds
        self.images += images
        self.operations += 2e9 * gmacs

    @contextmanager
    def work(self, images: int = 0, gmacs: float = 0.0) -> Iterator[None]:
        """Count the body as a piece of work; where only the work tells how many images there are, `count` them then."""
        self._last = time.perf_counter()
        yield
        self.add(time.perf_counter() - self._last, images, gmacs)

    def count(self, images: int) -> None:
        """Count images of work whose time is counted already."""
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
        """Write the stage's cost as `folder`/`stage`.csv.

        Args:
            folder: of the cost files of this net, or of the data.
            stage: its name in stages/dvc.yaml.
            arch: the net, if it is about one.
            scale: the training scale, if it is about one.
            device: its name.
            precision: of the nets' products, if there are nets.
            threads: of the work; by default one a core.
            rate: operations a second that the device can do, if there are nets; see `limit.product_rate`.
        """
        cost = Cost(
            stage=stage,
            arch=arch,
            scale=scale,
            images=self.images,
            seconds=round(_age() + self.taken_over, 3),
            work_seconds=round(self.seconds, 3),
            device=device,
            precision=precision,
            threads=threads or os.cpu_count() or 1,
            share_of_limit=round(self.operations / self.seconds / rate, 4) if rate and self.seconds else None,
            machine=describe_machine(),
            commit=self._commit,
            versions=", ".join([f"Python {python_version()}", *map(" ".join, library_versions().items())]),
        )
        write_table(folder / f"{stage}.csv", [field.name for field in fields(Cost)], [asdict(cost)])


def _age() -> float:
    """Seconds since this process started."""
    try:
        # psutil's time is right to a second alone here: its origin is the system's start in whole seconds.
        start = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        return time.clock_gettime(time.CLOCK_BOOTTIME) - start
    except (OSError, AttributeError):
        return time.time() - psutil.Process().create_time()
