from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from vgg_ablation.train import execution
from vgg_ablation.train.execution import CapturedGradient, choose_execution, compiled, has_compiler

# (net, side of the crops, width, batch size): milliseconds of a step on a GPU, eager, compiled and captured
MEASURED = {
    ("E", 224, 1.0, 256): {"eager": 77.4, "compiled": 59.4, "captured": 77.5},
    ("A", 224, 1.0, 256): {"eager": 40.9, "compiled": 27.7},
    ("E", 64, 0.25, 32): {"eager": 6.94, "captured": 1.26},
}


@pytest.mark.parametrize(("case", "milliseconds"), MEASURED.items())
def test_on_a_gpu_the_fastest_of_those_measured_is_chosen(
    case: tuple[str, int, float, int], milliseconds: dict[str, float]
) -> None:
    arch, side, width, batch = case
    assert choose_execution(arch, 256, side, width, batch, "cuda", compiler=True) == min(
        milliseconds, key=milliseconds.__getitem__
    )


def test_a_graph_is_not_chosen_where_it_gained_nothing() -> None:
    assert (
        choose_execution("E", 256, 224, 1.0, 32, "cuda", compiler=True) != "captured"
    )  # 12.9 ms eager, 13.2 ms captured


@pytest.mark.parametrize("case", MEASURED)
def test_on_a_cpu_nothing_is_compiled(case: tuple[str, int, float, int]) -> None:
    arch, side, width, batch = case
    assert choose_execution(arch, 256, side, width, batch, "cpu", compiler=True) == "eager"


@pytest.mark.parametrize(("case", "expected"), [*zip(MEASURED, ["eager", "eager", "captured"], strict=True)])
def test_without_a_compiler_nothing_is_compiled(case: tuple[str, int, float, int], expected: str) -> None:
    arch, side, width, batch = case
    assert choose_execution(arch, 256, side, width, batch, "cuda", compiler=False) == expected


@pytest.mark.parametrize(
    ("programs", "header", "expected"),
    [({"gcc"}, True, True), ({"clang"}, True, True), ({"cc"}, True, False), ({"gcc"}, False, False)],
)
def test_compiling_takes_a_compiler_that_triton_finds_and_pythons_header(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, programs: set[str], header: bool, expected: bool
) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(execution.shutil, "which", lambda name: f"/usr/bin/{name}" if name in programs else None)
    monkeypatch.setattr(execution.sysconfig, "get_path", lambda *_: str(tmp_path))
    if header:
        (tmp_path / "Python.h").touch()
    assert has_compiler(torch.device("cuda")) == expected
    assert not has_compiler(torch.device("cpu"))


def test_larger_batches_are_compiled_and_smaller_ones_captured() -> None:
    chosen = [choose_execution("D_BN", 10, 64, 0.5, 2**number, "cuda", compiler=True) for number in range(14)]
    assert chosen == sorted(chosen, key=["captured", "compiled"].index)
    assert set(chosen) == {"captured", "compiled"}


def gradient(module: nn.Module, run: Callable[[Tensor], Tensor], images: Tensor) -> list[Tensor]:
    module.zero_grad()
    run(images).square().sum().backward()
    return [parameter.grad.clone() for parameter in module.parameters() if parameter.grad is not None]


@pytest.mark.timeout(1800)  # the compiler for C++ takes minutes on a busy machine
def test_a_compiled_module_computes_what_the_eager_one_does_and_repeats_to_the_byte(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("repository")
    monkeypatch.setenv("DVC_ROOT", str(folder))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    torch.manual_seed(0)
    module, images = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True)), torch.randn(5, 3, 8, 8)
    expected = gradient(module, module, images)
    first = gradient(module, compiled(module), images)
    entries = {path for path in (folder / ".state" / "compiled").rglob("*") if path.suffix == ".cpp"}
    again = gradient(module, compiled(module), images)
    torch.testing.assert_close(first, expected)
    assert all(map(torch.equal, first, again))
    assert entries, "in the cache of the repository"
    assert entries == {path for path in (folder / ".state" / "compiled").rglob("*") if path.suffix == ".cpp"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_capture_leaves_random_numbers_running_statistics_and_gradients_as_they_were() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 1)).cuda()
    images, labels = torch.randn(8, 3, device="cuda"), torch.zeros(8, device="cuda")

    def run(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        loss = (network(images)[:, 0] - labels).square().mean()
        loss.backward()
        return loss.detach(), labels.sum()

    torch.manual_seed(1)
    expected, _ = run(images, labels)
    statistics = [buffer.clone() for buffer in network.buffers()]
    wanted = [parameter.grad for parameter in network.parameters()]
    network.zero_grad(set_to_none=True)
    for buffer, initial in zip(network.buffers(), (0.0, 1.0, 0), strict=True):
        buffer.fill_(initial)

    torch.manual_seed(1)
    graph = CapturedGradient(run, network, images + 1, labels)
    found, _ = graph(images, labels)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close([parameter.grad for parameter in network.parameters()], wanted)
    torch.testing.assert_close([*network.buffers()], statistics)
