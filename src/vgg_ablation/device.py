"""Device and precision of the computation, determinism, threads, and the speed of a matrix product."""

import ctypes
import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from vgg_ablation.errors import StageError

_DEVICES = Path("/dev")
_M_MMAP_MAX, _M_TRIM_THRESHOLD = -4, -1  # of malloc.h


@dataclass(frozen=True)
class Compute:
    """Device and precision of a net's forward and backward passes."""

    device: torch.device
    """CUDA if available, else the CPU."""
    precision: torch.dtype
    """Type of matrix products and convolutions: bfloat16, float16 (loss scaling) or float32. Weights stay float32."""

    def autocast(self) -> torch.autocast:
        """Return the context in which a forward pass runs in `precision`."""
        return torch.autocast(self.device.type, dtype=self.precision, enabled=self.precision != torch.float32)

    def __str__(self) -> str:
        return " in ".join(self.names.values())

    @property
    def names(self) -> dict[str, str]:
        """Device and precision as results record them."""
        cuda = self.device.type == "cuda"
        return {
            "device": torch.cuda.get_device_name(self.device) if cuda else "cpu",
            "precision": str(self.precision).removeprefix("torch."),
        }


def choose_compute(threads: int) -> Compute:
    """Return the best device of this machine, and set up the process: deterministic kernels, freed memory kept.

    The precision is bfloat16 where the processor multiplies it (Ampere and later; AVX512-BF16 and AMX), float16 on
    older GPUs, else float32.

    Args:
        threads: CPU threads of tensor operations. They decide how sums are grouped, and so the last digits of results.
            More than one gains nothing for narrow nets, and is many times slower while another program runs.

    Raises:
        StageError: the machine has an NVIDIA GPU that torch cannot use.
    """
    # cuBLAS is deterministic only with a fixed workspace; it reads this variable at its first use.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # As torch.use_deterministic_algorithms, which imports the compiler: that takes seconds.
    torch.set_deterministic_debug_mode("error")
    # Filling uninitialised memory costs a pass over each tensor, and no operation here reads it before writing.
    torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]
    torch.set_num_threads(threads)
    if torch.cuda.is_available():
        _require_supported_gpu()
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return Compute(torch.device("cuda"), torch.bfloat16 if native else torch.float16)
    _require_no_gpu()
    _keep_freed_memory()
    # torch has no public function for this yet.
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()  # noqa: SLF001
    return Compute(torch.device("cpu"), torch.bfloat16 if native else torch.float32)


def _require_supported_gpu() -> None:
    """Raise StageError if torch has no kernels for the GPU, because it is too old."""
    architectures = [name.removeprefix("sm_").rstrip("af") for name in torch.cuda.get_arch_list() if "sm_" in name]
    major, minor = torch.cuda.get_device_capability()
    if architectures and 10 * major + minor < (oldest := min(map(int, architectures))):
        raise StageError(
            f"{torch.cuda.get_device_name()} has compute capability {major}.{minor}, torch {torch.__version__} needs "
            f"{oldest / 10}; to use the CPU instead, set CUDA_VISIBLE_DEVICES=-1 in the environment"
        )


def _require_no_gpu() -> None:
    """Raise StageError if a GPU would silently be left unused: a study for it takes weeks on the CPU."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1") or not any(_DEVICES.glob("nvidia[0-9]*")):
        return
    built = f"for CUDA {torch.version.cuda}, for which the driver may be too old" if torch.version.cuda else "for CPUs"
    raise StageError(
        f"this machine has an NVIDIA GPU that torch {torch.__version__} cannot use: it was built {built}; "
        "to use the CPU instead, set CUDA_VISIBLE_DEVICES=-1 in the environment"
    )


def _keep_freed_memory() -> None:
    """Make glibc keep freed memory in the process; other C libraries are left alone.

    By default glibc returns large tensors to the system, and each step gets them back page by page, zeroed.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # not glibc
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, -1)


_SIDE = {"cpu": 2048, "cuda": 8192}
_REPETITIONS = 5


def matmul_rate(compute: Compute) -> float:
    """Measure the speed of a product of two square matrices in the given precision, in operations per second.

    A product of side n takes 2 n³ operations. The fastest of a few repetitions counts; they take less than a second.
    """
    side = _SIDE[compute.device.type]
    # Random values: a GPU multiplies constant matrices faster than real ones.
    matrix = torch.rand(side, side, generator=torch.Generator().manual_seed(0)).to(compute.device, compute.precision)
    shortest = float("inf")
    for _ in range(_REPETITIONS):
        began = time.perf_counter()
        torch.mm(matrix, matrix)
        if compute.device.type == "cuda":
            torch.cuda.synchronize(compute.device)
        shortest = min(shortest, time.perf_counter() - began)
    return 2 * side**3 / shortest
