from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch
from torch import nn

from vgg_ablation.device import Compute, choose_compute
from vgg_ablation.model.vgg import VGG
from vgg_ablation.train import memory
from vgg_ablation.train.memory import images_at_once
from vgg_ablation.train.step import TrainingStep


@pytest.fixture
def memory_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    return lambda size: monkeypatch.setattr(memory, "total_memory", lambda device: size)


def bytes_per_image(side: int, width: int) -> int:
    """Return what the one-convolution net below keeps per image: its input, and the output of its ReLU."""
    return 4 * side**2 * (3 + width)


@pytest.mark.parametrize(("side", "width"), [(8, 4), (32, 5)])
def test_an_image_takes_the_memory_of_its_activations(
    compute: Compute, memory_of: Callable[[float], None], side: int, width: int
) -> None:
    network = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.ReLU(inplace=True), nn.Flatten())
    own = 14 * sum(parameter.numel() for parameter in network.parameters())
    memory_of(2 * (own + 10 * bytes_per_image(side, width)))
    assert images_at_once(network, side, compute) == 10


@pytest.mark.parametrize(("limit", "share"), [("max", 1.0), ("1000000000", None), (None, 1.0), ("9" * 19, 1.0)])
def test_the_limit_of_a_container_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str | None, share: float | None
) -> None:
    monkeypatch.setattr(memory, "_CONTAINER_LIMIT", tmp_path / "memory.max")
    if limit:
        (tmp_path / "memory.max").write_text(limit + "\n")
    expected = 1e9 if share is None else share * psutil.virtual_memory().total
    assert memory.total_memory(torch.device("cpu")) == expected


@pytest.mark.parametrize("arch", ["A_LRN_BN", "E_BN"])
def test_measuring_changes_neither_the_net_nor_the_random_numbers(compute: Compute, arch: str) -> None:
    network = VGG(arch, 3, input_side=32, width=1 / 16).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    drawn = torch.get_rng_state()
    assert images_at_once(network, 32, compute) > 256
    assert network.training
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_a_step_that_fills_the_allowed_memory_fits() -> None:
    compute = choose_compute(1)
    network = VGG("E", 256).to(compute.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    count = images_at_once(network, 224, compute)
    images = torch.zeros(count, 3, 224, 224, device=compute.device).to(memory_format=torch.channels_last)
    take_step = TrainingStep(network, compute, learning_rate=0.1, momentum=0.9, weight_decay=5e-4, largest=count)
    take_step(images, torch.zeros(count, dtype=torch.int64, device=compute.device))
    torch.cuda.synchronize()
