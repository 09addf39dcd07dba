"""Slots of this machine for units of work: its cores, memory and GPUs."""

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from vgg_ablation.device import choose_compute
from vgg_ablation.errors import StageError
from vgg_ablation.model.vgg import VGG
from vgg_ablation.parallel.counts import count_images
from vgg_ablation.parallel.units import Work
from vgg_ablation.train.memory import step_memory, total_memory

_LOCKS = Path("/tmp")  # noqa: S108 - not TMPDIR, which may be another folder in each job of a machine
_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_PROCESS = 1.0e9  # bytes of a process without its net
_SHARE = 0.8  # of the memory; the rest is for other programs


@dataclass
class Slot:
    """A place for one process: cores, or a GPU."""

    name: str
    """Such as `GPU 3`; empty for cores."""
    environment: dict[str, str] = field(default_factory=dict)
    """Variables of its process."""
    lease: FileLock | None = None
    """Held while the slot is used, so that no other study on this machine uses the same GPU."""

    def acquire(self) -> bool:
        """Take the slot, unless another study has it; return whether that succeeded."""
        if self.lease is None:
            return True
        try:
            self.lease.acquire(timeout=0)
        except Timeout:
            return False
        return True

    def release(self) -> None:
        """Give the slot back."""
        if self.lease is not None:
            self.lease.release(force=True)


@dataclass(frozen=True)
class Machine:
    """Devices of a machine, as torch sees them."""

    device: str
    """Device and precision, such as `cpu in bfloat16`."""
    gpus: tuple[str, ...]
    """Identifiers of the visible GPUs of one kind; empty where nets are trained on the CPU."""
    memory: float
    """Bytes of memory."""
    step: float
    """Bytes of the largest training step of the study."""

    def slots(self, threads: int, count: int | None = None) -> list[Slot]:
        """Return a slot per GPU, or per `threads` cores as far as the memory suffices; at least one.

        `count`: with GPUs at most this number; on the CPU exactly this number.
        """
        if self.gpus:
            return [
                Slot(
                    f"GPU {number}",
                    # Left alone where there is one: it may be part of a GPU, which has another kind of name.
                    {"CUDA_VISIBLE_DEVICES": gpu} if len(self.gpus) > 1 else {},
                    FileLock(_LOCKS / f"vgg-ablation-{gpu}.lock", mode=0o666),
                )
                for number, gpu in enumerate(self.gpus[:count])
            ]
        fitting = min(count_cores() // threads, int(_SHARE * self.memory / (_PROCESS + self.step)))
        return [Slot("") for _ in range(count or max(1, fitting))]


def count_cores() -> int:
    """Return the cores that this process may use: its affinity, and the quota of its container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = _QUOTA.read_text().split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):  # another system, or `max`
        return cores


def probe_machine(work: Work, archs: Sequence[str]) -> Machine:
    """Look at this machine in a process of its own: what torch takes on a GPU is given back when it ends.

    Raises:
        StageError: torch cannot use the GPU, or the process was killed.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(_probe, work, tuple(archs)).result()
        except BrokenProcessPool:
            raise StageError("the process that looks at this machine was killed; is there enough memory?") from None


def _probe(work: Work, archs: tuple[str, ...]) -> Machine:
    study = work.study
    compute = choose_compute(study.compute.threads)
    if compute.device.type == "cuda":
        # Those of the first one's kind, which `dvc repro` uses: results name the device.
        every = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
        same = [each for each in every if (each.name, each.total_memory) == (every[0].name, every[0].total_memory)]
        gpus = tuple(f"GPU-{each.uuid}" for each in same)
        return Machine(str(compute), gpus, memory=0, step=0)
    model, classes = study.model, count_images(study.data).classes
    steps = [
        step_memory(VGG(arch, classes, **model.model_dump()), model.input_side, max(study.tune.batch_size), compute)
        for arch in archs
    ]
    return Machine(str(compute), (), total_memory(compute.device), max(steps))
