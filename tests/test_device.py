import os
import platform
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from vgg_ablation import device as compute_module
from vgg_ablation.device import Compute, choose_compute
from vgg_ablation.errors import StageError

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def switches() -> Iterator[None]:
    """Put the process's switches back."""
    before, workspace = torch.get_deterministic_debug_mode(), os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    threads = torch.get_num_threads()
    filling = torch.utils.deterministic.fill_uninitialized_memory  # pyright: ignore[reportAttributeAccessIssue]
    yield
    torch.set_deterministic_debug_mode(before)
    torch.set_num_threads(threads)
    torch.utils.deterministic.fill_uninitialized_memory = filling  # pyright: ignore[reportAttributeAccessIssue]
    if workspace is None:
        os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


def a_cpu(monkeypatch: pytest.MonkeyPatch, *, avx512: bool, amx: bool) -> None:
    """Have this machine be one without a GPU and with these instructions."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(compute_module, "_DEVICES", Path("no devices"))
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)


@pytest.mark.parametrize(
    ("avx512", "amx", "precision"),
    [(False, False, torch.float32), (True, False, torch.bfloat16), (False, True, torch.bfloat16)],
)
def test_a_cpu_computes_in_bfloat16_where_it_multiplies_it(
    monkeypatch: pytest.MonkeyPatch, avx512: bool, amx: bool, precision: torch.dtype
) -> None:
    a_cpu(monkeypatch, avx512=avx512, amx=amx)
    assert choose_compute(1) == Compute(CPU, precision)


@pytest.mark.parametrize(("native", "precision"), [(True, torch.bfloat16), (False, torch.float16)])
def test_a_gpu_computes_in_float16_where_it_only_emulates_bfloat16(
    monkeypatch: pytest.MonkeyPatch, native: bool, precision: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *, including_emulation: including_emulation or native)
    assert choose_compute(1) == Compute(torch.device("cuda"), precision)


@pytest.mark.parametrize(("built", "why"), [("13.2", "for CUDA 13.2, for which the driver may be"), (None, "for CPUs")])
def test_a_gpu_that_torch_cannot_use_does_not_lie_idle_unasked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, built: str | None, why: str
) -> None:
    """A study for a GPU takes weeks on a CPU: nobody should find out by waiting."""
    a_cpu(monkeypatch, avx512=False, amx=False)
    monkeypatch.setattr(compute_module, "_DEVICES", tmp_path)
    monkeypatch.setattr(torch.version, "cuda", built)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    (tmp_path / "nvidiactl").touch()  # as in a container that was given no GPU
    assert choose_compute(1).device == CPU
    (tmp_path / "nvidia0").touch()
    with pytest.raises(StageError, match=rf"NVIDIA GPU that torch .* cannot use: it was built {why}"):
        choose_compute(1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert choose_compute(1).device == CPU


@pytest.mark.parametrize("threads", [1, 3])
def test_the_study_sets_the_number_of_threads(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    a_cpu(monkeypatch, avx512=False, amx=False)
    torch.set_num_threads(2)
    choose_compute(threads)
    assert torch.get_num_threads() == threads


def test_kernels_are_deterministic_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    a_cpu(monkeypatch, avx512=False, amx=False)
    torch.set_deterministic_debug_mode("default")
    choose_compute(1)
    assert torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_matrix_products_run_in_the_precision(precision: torch.dtype) -> None:
    with Compute(CPU, precision).autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == precision


def test_results_record_device_and_precision_in_words() -> None:
    assert Compute(CPU, torch.bfloat16).names == {"device": "cpu", "precision": "bfloat16"}


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives freed memory back so eagerly")
def test_freed_memory_is_kept_for_the_next_step() -> None:
    """Large tensors that come and go cost no page faults once the process has had as many."""
    program = (
        "import resource, torch; from vgg_ablation.device import choose_compute; choose_compute(1);"
        "count = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt;"
        "step = lambda: sum(torch.ones(2_000_000).sum() for _ in range(5));"
        "step(); before = count(); step(); print(count() - before)"
    )
    faults = int(subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout)
    assert faults < 5 * 2_000_000 * 4 / resource.getpagesize() / 10


def test_without_glibc_nothing_is_kept_and_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other:
        """A C library without `mallopt`."""

    monkeypatch.setattr(compute_module.ctypes, "CDLL", lambda _: Other())
    compute_module._keep_freed_memory()
