import os
import platform
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from vgg_ablation import device
from vgg_ablation.device import Compute, choose_compute, matmul_rate
from vgg_ablation.errors import StageError

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def switches() -> Iterator[None]:
    """Restore the process's switches."""
    before, workspace = torch.get_deterministic_debug_mode(), os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    threads = torch.get_num_threads()
    filling = torch.utils.deterministic.fill_uninitialized_memory  # pyright: ignore[reportAttributeAccessIssue]
    yield
    torch.set_deterministic_debug_mode(before)
    torch.set_num_threads(threads)
    torch.utils.deterministic.fill_uninitialized_memory = filling  # pyright: ignore[reportAttributeAccessIssue]
    if workspace is None:
        os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(device, "_DEVICES", Path("no devices"))


@pytest.mark.parametrize(
    ("avx512", "amx", "precision"),
    [(False, False, torch.float32), (True, False, torch.bfloat16), (False, True, torch.bfloat16)],
)
def test_a_cpu_computes_in_bfloat16_if_it_has_instructions_for_it(
    monkeypatch: pytest.MonkeyPatch, no_gpu: None, avx512: bool, amx: bool, precision: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert choose_compute(1) == Compute(CPU, precision)


@pytest.mark.parametrize(("native", "precision"), [(True, torch.bfloat16), (False, torch.float16)])
def test_a_gpu_computes_in_float16_if_it_only_emulates_bfloat16(
    monkeypatch: pytest.MonkeyPatch, native: bool, precision: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_90a", "compute_120"])
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0) if native else (7, 5))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *, including_emulation: including_emulation or native)
    assert choose_compute(1) == Compute(torch.device("cuda"), precision)


def test_a_gpu_older_than_torchs_kernels_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_120"])
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla V100")
    with pytest.raises(
        StageError, match=r"^Tesla V100 has compute capability 7\.0, torch .* needs 7\.5; to use the CPU"
    ):
        choose_compute(1)


@pytest.mark.parametrize(("built", "why"), [("13.2", "for CUDA 13.2, for which the driver may be"), (None, "for CPUs")])
def test_a_gpu_that_torch_cannot_use_is_an_error_unless_the_cpu_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, no_gpu: None, built: str | None, why: str
) -> None:
    monkeypatch.setattr(device, "_DEVICES", tmp_path)
    monkeypatch.setattr(torch.version, "cuda", built)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    (tmp_path / "nvidiactl").touch()  # as in a container that was given no GPU
    assert choose_compute(1).device == CPU
    (tmp_path / "nvidia0").touch()
    with pytest.raises(StageError, match=rf"NVIDIA GPU that torch .* cannot use: it was built {why}"):
        choose_compute(1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert choose_compute(1).device == CPU


def test_the_number_of_threads_is_set(no_gpu: None) -> None:
    choose_compute(3)
    assert torch.get_num_threads() == 3


def test_kernels_are_deterministic(no_gpu: None) -> None:
    torch.set_deterministic_debug_mode("default")
    choose_compute(1)
    assert torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_autocast_multiplies_in_the_precision(precision: torch.dtype) -> None:
    with Compute(CPU, precision).autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == precision


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc returns freed memory to the system so early")
def test_freed_memory_is_reused_without_page_faults() -> None:
    program = (
        "import resource, torch; from vgg_ablation.device import choose_compute; choose_compute(1);"
        "count = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt;"
        "step = lambda: sum(torch.ones(20_000_000).sum() for _ in range(5));"
        "faults = lambda before: (step(), count() - before)[1];"
        "step(); print(min(faults(count()) for _ in range(3)))"  # the system may take pages of an idle process
    )
    faults = int(subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout)
    assert faults < 5 * 20_000_000 * 4 / resource.getpagesize() / 10


def test_another_c_library_than_glibc_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device.ctypes, "CDLL", lambda _: object())
    device._keep_freed_memory()


def test_the_matmul_rate_is_two_operations_per_multiply_accumulate_in_the_shortest_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(device._SIDE, "cpu", 10)
    ticks = iter([0.0, 5.0, 5.0, 7.0, 7.0, 11.0, 11.0, 14.0, 14.0, 20.0])
    monkeypatch.setattr(device.time, "perf_counter", lambda: next(ticks))
    assert matmul_rate(Compute(CPU, torch.float32)) == 2 * 10**3 / 2.0
