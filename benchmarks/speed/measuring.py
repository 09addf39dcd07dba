"""What a contestant's process does: one piece of work at a time, timed."""

import gc
import pkgutil
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.speed import peak_memory
from benchmarks.speed.contestants.contestant import Contestant
from benchmarks.speed.contestants.with_loader import WithLoader
from benchmarks.speed.forms import EPOCH, INPUT, STEP, Case
from benchmarks.speed.repetition import Repetition

_CLASSES = {
    "article": "article:Article",
    "good_practice": "good_practice:GoodPractice",
    "timm": "timm_library:Timm",
    "ours": "ours:Ours",
}
_SHORTEST = 0.2  # seconds that a timing lasts at least: shorter work is repeated until then


@dataclass
class Session:
    """The contestant `name`, at work on one case at most: nothing of a case is held when the next is opened."""

    name: str
    device: str
    """`cpu` or `cuda`."""
    precision: str
    """The fast one of the device."""
    _contestant: Contestant | None = None
    _batch: tuple[Tensor, Tensor] | None = None

    def open(self, case: Case) -> str:
        """Make the contestant for a case; return its precision."""
        # Only here, so that a library that is missing is missed by the one that needs it.
        make = pkgutil.resolve_name(f"benchmarks.speed.contestants.{_CLASSES[self.name]}")
        self._contestant = opened = make(case, self.device, self.precision)
        return opened.precision

    def load_with(self, workers: int) -> None:
        """Load images with so many processes beside this one."""
        assert isinstance(self._contestant, WithLoader)  # noqa: S101 - the others are not asked
        self._contestant.load_with(workers)

    def release(self) -> None:
        """Let go of the case."""
        self._contestant = self._batch = None
        gc.collect()
        peak_memory.give_back()
        self._empty_cache()

    def repeat(self, measure: str) -> Repetition:
        """Time one repetition of a measure."""
        work = {INPUT: self._input, STEP: self._take_step, EPOCH: self._epoch}[measure]
        if measure != INPUT and self._batch is None:
            for batch in self._opened.batches():
                self._batch = batch
        if measure != INPUT:
            self._take_step()  # a process that slept has its first step to itself
        known = self._reset_peak()
        passes = images = 0
        seconds = 0.0
        while seconds < _SHORTEST:
            taken, seen = self._timed(work)
            seconds += taken
            images += seen
            passes += 1
        repetition = Repetition(seconds / passes, images // passes, self._peak_mib() if known else None)
        self._empty_cache()
        return repetition

    @property
    def _opened(self) -> Contestant:
        assert self._contestant is not None  # noqa: S101 - a case is opened first
        return self._contestant

    def _input(self) -> int:
        return sum(len(labels) for _, labels in self._opened.batches())

    def _take_step(self) -> int:
        assert self._batch is not None  # noqa: S101 - `repeat` has loaded it
        self._opened.train(*self._batch)
        return len(self._batch[1])

    def _epoch(self) -> int:
        images = 0
        for batch in self._opened.batches():
            self._opened.train(*batch)
            images += len(batch[1])
        return images

    def _timed(self, work: Callable[[], int]) -> tuple[float, int]:
        """Return the seconds that `work` takes, and what it returns."""
        if self.device != "cuda":
            began = time.perf_counter()
            images = work()
            return time.perf_counter() - began, images
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize()
        start.record()
        images = work()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1000, images

    def _reset_peak(self) -> bool:
        """Return whether the peak will be that of what follows."""
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
            return True
        return peak_memory.reset()

    def _peak_mib(self) -> float | None:
        return torch.cuda.max_memory_allocated() / 2**20 if self.device == "cuda" else peak_memory.peak_mib()

    def _empty_cache(self) -> None:
        """Leave the GPU's memory to the other processes."""
        if self.device == "cuda":
            torch.cuda.empty_cache()
