"""`preprocess` at full size, against decoding and rescaling alone. Imports no torch."""

import os
import shutil
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vgg_ablation.benchmark import peak_memory
from vgg_ablation.benchmark.repetition import Repetition
from vgg_ablation.data.archive import Member, members
from vgg_ablation.data.pack import decode
from vgg_ablation.data.preprocess import preprocess
from vgg_ablation.data.settings import DataSettings
from vgg_ablation.pipeline.console import Stage


class Preprocessing:
    """What the stage `preprocess` does with an archive, its process's start left out."""

    def __init__(self, archive: Path, side: int) -> None:
        self._archive = archive
        self._settings = DataSettings(
            source=str(archive), categories="all", clutter=True, side=side, train_per_class=2, validation_fraction=0.5,
            splits=3, seed=0,
        )  # fmt: skip

    def repeat(self) -> Repetition:
        """Time one run of it."""
        folder = self._archive.with_name("processed")
        known = peak_memory.reset()
        began = time.perf_counter()
        summary = preprocess(self._archive, self._settings, folder, Stage("benchmark"))
        seconds = time.perf_counter() - began
        shutil.rmtree(folder)
        return Repetition(seconds, summary["images"], peak_memory.peak_mib() if known else None)


class Decoding:
    """The same files decoded and rescaled on the same cores, and dropped."""

    def __init__(self, archive: Path, side: int) -> None:
        self._archive = archive
        self._side = side
        self._members = members(archive)

    def repeat(self) -> Repetition:
        """Time one run of it."""
        known = peak_memory.reset()
        began = time.perf_counter()
        with self._archive.open("rb") as tar, ThreadPoolExecutor(os.cpu_count()) as pool:
            descriptor = tar.fileno()

            def work(member: Member) -> None:
                decode(os.pread(descriptor, member.size, member.offset), self._side)

            deque(pool.map(work, self._members), maxlen=0)
        return Repetition(time.perf_counter() - began, len(self._members), peak_memory.peak_mib() if known else None)
