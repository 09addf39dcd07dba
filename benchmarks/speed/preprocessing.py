"""The stage `preprocess` at full size, against only decoding and rescaling. Imports no torch."""

import os
import shutil
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from benchmarks.speed import peak_memory
from benchmarks.speed.results import Timing
from vgg_ablation.dataset.archive import Member, members
from vgg_ablation.dataset.decode import decode
from vgg_ablation.dataset.preprocess import preprocess
from vgg_ablation.runtime.console import Console
from vgg_ablation.runtime.settings import DataSettings, FixedScale, JitteredScale, ScalesSettings


class Preprocessing:
    """Work of the stage `preprocess` on an archive, without the start of its process."""

    def __init__(self, archive: Path, side: int) -> None:
        self._archive = archive
        self._settings = DataSettings(
            source=str(archive), categories="all", clutter=True, train_per_class=2, validation_fraction=0.5, splits=3,
            seed=0,
        )  # fmt: skip
        fixed = FixedScale(train=side, test=(side, side + 1, side + 2))
        jitter = JitteredScale(train=(side, 2 * side), test=(side, side + 1, 2 * side))
        self._scales = ScalesSettings(fixed=fixed, large=fixed, jitter=jitter)

    def repeat(self) -> Timing:
        """Time one run."""
        folder = self._archive.with_name("processed")
        peak_is_known = peak_memory.reset()
        start = time.perf_counter()
        summary = preprocess(self._archive, self._settings, self._scales, folder, Console("benchmark"))
        seconds = time.perf_counter() - start
        shutil.rmtree(folder)
        return Timing(seconds, summary["images"], peak_memory.peak_mib() if peak_is_known else None)


class Decoding:
    """The same files decoded and rescaled to the same two sizes on the same cores; the pixels are dropped."""

    def __init__(self, archive: Path, side: int) -> None:
        self._archive = archive
        self._sides = side, 2 * side
        self._members = members(archive)

    def repeat(self) -> Timing:
        """Time one run."""
        peak_is_known = peak_memory.reset()
        start = time.perf_counter()
        with self._archive.open("rb") as tar, ThreadPoolExecutor(os.cpu_count()) as pool:

            def work(member: Member, side: int) -> None:
                decode(os.pread(tar.fileno(), member.size, member.offset), side)

            for side in self._sides:
                deque(pool.map(partial(work, side=side), self._members), maxlen=0)
        seconds = time.perf_counter() - start
        return Timing(seconds, len(self._members), peak_memory.peak_mib() if peak_is_known else None)
