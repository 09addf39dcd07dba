"""Work of a program's process: one piece at a time, timed."""

import gc
import pkgutil
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.speed import peak_memory
from benchmarks.speed.cases import EPOCH, INPUT, STEP, Case
from benchmarks.speed.programs.loader import Program, WithLoader
from benchmarks.speed.results import Timing
from vgg_ablation.device import Compute, choose_compute, matmul_rate

_CLASSES = {
    "article": "article:Article",
    "torchvision": "torchvision_library:Torchvision",
    "torchvision compiled": "torchvision_library:Compiled",
    "timm": "timm_library:Timm",
    "ours": "ours:Ours",
}
_SHORTEST = 0.2  # seconds: shorter work is repeated until a timing has taken as long


class Device:
    """The device that our program chooses. Choosing changes the process, so use it in a process of its own."""

    def describe(self) -> dict[str, str | int]:
        """Return `kind` (cpu or cuda), `device`, `precision` and the CPU's `threads`."""
        compute = choose_compute(torch.get_num_threads())
        return {"kind": compute.device.type, **compute.names, "threads": torch.get_num_threads()}


class MatrixProducts:
    """Large matrix products on a device, with the framework's defaults."""

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)

    def rate(self, precision: str) -> float:
        """Return FLOP/s, the best of a few products."""
        return matmul_rate(Compute(self._device, getattr(torch, precision)))


@dataclass
class Session:
    """Program `name`, at work on at most one case."""

    name: str
    device: str
    """`cpu` or `cuda`."""
    precision: str
    """The device's fast one."""
    _program: Program | None = None
    _batch: tuple[Tensor, Tensor] | None = None

    def open(self, case: Case) -> str:
        """Set the program up for a case, after freeing the previous one; return its precision."""
        self._program = self._batch = None
        gc.collect()
        peak_memory.give_back()
        self._empty_cache()
        # Imported here, so that only the program that needs a missing library fails.
        make = pkgutil.resolve_name(f"benchmarks.speed.programs.{_CLASSES[self.name]}")
        self._program = make(case, self.device, self.precision)
        return self._opened.precision

    def load_with(self, processes: int) -> None:
        """Load images with so many processes beside this one."""
        assert isinstance(self._program, WithLoader)  # noqa: S101 - only these are asked
        self._program.load_with(processes)

    def repeat(self, measure: str) -> Timing:
        """Time one repetition of a measure: the mean of as many passes as fill a fifth of a second."""
        work = {INPUT: self._input, STEP: self._step, EPOCH: self._epoch}[measure]
        if measure != INPUT:
            if self._batch is None:
                self._batch = next(iter(self._opened.batches()))
            self._step()  # not timed: the first one after a sleep is slow
        peak_is_known = self._reset_peak()
        passes = images = 0
        self._synchronize()
        start = time.perf_counter()
        while (seconds := time.perf_counter() - start) < _SHORTEST:
            images += work()
            self._synchronize()
            passes += 1
        timing = Timing(seconds / passes, images // passes, self._peak_mib() if peak_is_known else None)
        self._empty_cache()
        return timing

    @property
    def _opened(self) -> Program:
        assert self._program is not None  # noqa: S101 - a case is opened first
        return self._program

    def _input(self) -> int:
        return sum(len(labels) for _, labels in self._opened.batches())

    def _step(self) -> int:
        assert self._batch is not None  # noqa: S101 - `repeat` has loaded it
        self._opened.train(*self._batch)
        return len(self._batch[1])

    def _epoch(self) -> int:
        images = 0
        for batch in self._opened.batches():
            self._opened.train(*batch)
            images += len(batch[1])
        return images

    def _synchronize(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()

    def _reset_peak(self) -> bool:
        """Start a new memory peak; return whether this system can."""
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
            return True
        return peak_memory.reset()

    def _peak_mib(self) -> float | None:
        return torch.cuda.max_memory_allocated() / 2**20 if self.device == "cuda" else peak_memory.peak_mib()

    def _empty_cache(self) -> None:
        if self.device == "cuda":  # leave the memory to the other programs
            torch.cuda.empty_cache()
