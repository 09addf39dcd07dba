"""One timing, and the timings of one measure. Imports no torch."""

from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Repetition:
    """One timing."""

    seconds: float
    """Of one pass."""
    images: int = 0
    """That went through in the pass; 0 where the measure is not about images."""
    peak_memory_mib: float | None = None
    """Of the process that did it."""

    @property
    def value(self) -> float:
        """Images a second, or seconds where the measure is not about images."""
        return self.images / self.seconds if self.images else self.seconds


@dataclass(frozen=True)
class Measured:
    """The repetitions of one measure by one contestant."""

    measure: str
    contestant: str
    repetitions: tuple[Repetition, ...]
    net: str | None = None
    pixels: int | None = None
    precision: str | None = None
    loader_workers: int | None = None
    """Processes that load images beside the training; None for contestants that have no such choice."""

    @property
    def median(self) -> float:
        """Of the repetitions' values."""
        return median(repetition.value for repetition in self.repetitions)
