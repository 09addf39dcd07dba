"""The device that nets run on, its precision, determinism and threads, and how fast it multiplies matrices."""

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
    """Where and how nets are computed."""

    device: torch.device
    """A CUDA device where there is one, else the CPU."""
    precision: torch.dtype
    """Of matrix products and convolutions: bfloat16, float16 (with loss scaling) or float32. Weights stay float32."""

    def autocast(self) -> torch.autocast:
        """Return the context in which a forward pass runs in `precision`."""
        return torch.autocast(self.device.type, dtype=self.precision, enabled=self.precision != torch.float32)

    def __str__(self) -> str:
        return " in ".join(self.names.values())

    @property
    def names(self) -> dict[str, str]:
        """The device and the precision in words, as results record them."""
        cuda = self.device.type == "cuda"
        return {
            "device": torch.cuda.get_device_name(self.device) if cuda else "cpu",
            "precision": str(self.precision).removeprefix("torch."),
        }


def choose_compute(threads: int) -> Compute:
    """Return the best device here, with the whole process set for it: deterministic kernels, memory kept for reuse.

    `threads` is the number of CPU threads of tensor operations. It decides how sums are grouped, and so the last digits
    of results; more than one gains nothing for narrow nets, and is many times slower beside another program.

    bfloat16 where the processor multiplies it (Ampere and later; AVX512-BF16 and AMX), float16 on older GPUs.

    Raises:
        StageError: there is an NVIDIA GPU, and torch cannot use it.
    """
    # cuBLAS is deterministic only with a fixed workspace, and reads this when it is first used.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # The same switch as use_deterministic_algorithms, which would import the compiler: seconds in every stage.
    torch.set_deterministic_debug_mode("error")
    # Filling fresh memory guards against reading it unwritten, which costs a pass over each tensor and buys us nothing.
    torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]
    torch.set_num_threads(threads)
    if torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return Compute(torch.device("cuda"), torch.bfloat16 if native else torch.float16)
    _require_no_gpu()
    _keep_freed_memory()
    # The public way to ask a CPU for this does not exist yet.
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()  # noqa: SLF001
    return Compute(torch.device("cpu"), torch.bfloat16 if native else torch.float32)


def _require_no_gpu() -> None:
    """Raise StageError where a GPU would lie idle unasked: its study would take weeks on the CPU, without a word."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1") or not any(_DEVICES.glob("nvidia[0-9]*")):
        return
    built = f"for CUDA {torch.version.cuda}, for which the driver may be too old" if torch.version.cuda else "for CPUs"
    raise StageError(
        f"this machine has an NVIDIA GPU that torch {torch.__version__} cannot use: it was built {built}. "
        "CUDA_VISIBLE_DEVICES=-1 in the environment has the CPU used instead"
    )


def _keep_freed_memory() -> None:
    """Let the process keep the memory that it frees, where the C library is glibc; elsewhere nothing changes.

    glibc hands large tensors back to the system, and each step fetches them again, page by page, zeroed.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # another system's C library
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, -1)


_SIDE = {"cpu": 2048, "cuda": 8192}
_TIMES = 5


def product_rate(compute: Compute) -> float:
    """Return the operations a second of a product of two square matrices in the device's precision, the best of a few.

    A product of side n takes 2 n³ operations. A fraction of a second on two cores.
    """
    side = _SIDE[compute.device.type]
    # Random: a GPU multiplies constants faster than it does anything real.
    first = torch.rand(side, side, generator=torch.Generator().manual_seed(0)).to(compute.device, compute.precision)
    shortest = float("inf")
    for _ in range(_TIMES):
        began = time.perf_counter()
        torch.mm(first, first)
        if compute.device.type == "cuda":
            torch.cuda.synchronize(compute.device)
        shortest = min(shortest, time.perf_counter() - began)
    return 2 * side**3 / shortest
