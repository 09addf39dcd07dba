"""`preprocess` at full size, against decoding and rescaling alone. Imports no torch."""

import os
import shutil
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from benchmarks.speed import peak_memory
from benchmarks.speed.repetition import Repetition
from vgg_ablation.dataset.archive import Member, members
from vgg_ablation.dataset.pack import decode
from vgg_ablation.dataset.preprocess import preprocess
from vgg_ablation.runtime.console import Stage
from vgg_ablation.runtime.settings import DataSettings, FixedScale, JitteredScale, ScalesSettings


class Preprocessing:
    """What the stage `preprocess` does with an archive, its process's start left out."""

    def __init__(self, archive: Path, side: int) -> None:
        self._archive = archive
        self._settings = DataSettings(
            source=str(archive), categories="all", clutter=True, train_per_class=2, validation_fraction=0.5, splits=3,
            seed=0,
        )  # fmt: skip
        self._scales = _scales(side)

    def repeat(self) -> Repetition:
        """Time one run of it."""
        folder = self._archive.with_name("processed")
        known = peak_memory.reset()
        began = time.perf_counter()
        summary = preprocess(self._archive, self._settings, self._scales, folder, Stage("benchmark"))
        seconds = time.perf_counter() - began
        shutil.rmtree(folder)
        return Repetition(seconds, summary["images"], peak_memory.peak_mib() if known else None)


class Decoding:
    """The same files decoded and rescaled on the same cores, as often and to the same sizes, and dropped."""

    def __init__(self, archive: Path, side: int) -> None:
        self._archive = archive
        scales = _scales(side)
        self._sides = (scales.fixed.train, scales.largest)
        self._members = members(archive)

    def repeat(self) -> Repetition:
        """Time one run of it."""
        known = peak_memory.reset()
        began = time.perf_counter()
        with self._archive.open("rb") as tar, ThreadPoolExecutor(os.cpu_count()) as pool:
            descriptor = tar.fileno()

            def work(member: Member, side: int) -> None:
                decode(os.pread(descriptor, member.size, member.offset), side)

            for side in self._sides:
                deque(pool.map(partial(work, side=side), self._members), maxlen=0)
        return Repetition(time.perf_counter() - began, len(self._members), peak_memory.peak_mib() if known else None)


def _scales(side: int) -> ScalesSettings:
    """Return scales of which the fixed one is `side`, and the largest, as in the paper, twice that."""
    fixed = FixedScale(train=side, test=(side, side + 1, side + 2))
    jitter = JitteredScale(train=(side, 2 * side), test=(side, side + 1, 2 * side))
    return ScalesSettings(fixed=fixed, large=fixed, jitter=jitter)
