from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch
from torch import Tensor, nn

from vgg_ablation.data.batches import RunImages
from vgg_ablation.model.configurations import ARCHITECTURES
from vgg_ablation.model.vgg import VGG
from vgg_ablation.pipeline.compute import Compute
from vgg_ablation.train import memory
from vgg_ablation.train.memory import images_at_once
from vgg_ablation.train.step import TrainingStep

IMAGES = torch.randn(7, 3, 32, 32, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(7) % 3


def narrow(arch: str = "C", **options: bool | float) -> VGG:
    torch.manual_seed(0)
    return VGG(arch, 3, input_side=32, width=1 / 16, **options).to(memory_format=torch.channels_last)  # pyright: ignore


def step_for(network: nn.Module, compute: Compute, largest: int = 256) -> TrainingStep:
    return TrainingStep(network, compute, learning_rate=0.1, momentum=0.9, weight_decay=5e-4, largest=largest)


def weights_after(steps: int, compute: Compute, largest: int) -> list[Tensor]:
    network = narrow(dropout=0.0).double()
    take_step = step_for(network, compute, largest)
    for _ in range(steps):
        take_step(IMAGES.double(), LABELS)
    return [parameter.detach() for parameter in network.parameters()]


@pytest.mark.parametrize("largest", [1, 2, 3, 5, 6, 7, 100])
def test_a_batch_in_parts_takes_the_same_steps(compute: Compute, largest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tensor, "float", Tensor.double)  # the loss too in double, to tell rounding from mistakes
    for part, whole in zip(weights_after(3, compute, largest), weights_after(3, compute, 256), strict=True):
        torch.testing.assert_close(part, whole, rtol=1e-10, atol=1e-12)


def test_the_loss_of_a_batch_in_parts_is_its_mean(compute: Compute) -> None:
    network = narrow(dropout=0.0)
    expected = nn.functional.cross_entropy(network(IMAGES), LABELS)
    torch.testing.assert_close(step_for(network, compute, largest=2)(IMAGES, LABELS), expected.detach())


@pytest.mark.parametrize("largest", [1, 3, 4])
def test_no_part_is_larger_than_allowed(compute: Compute, largest: int) -> None:
    sizes: list[int] = []
    network = narrow()
    network.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    step_for(network, compute, largest)(IMAGES, LABELS)
    assert sum(sizes) == len(IMAGES)
    assert max(sizes) <= largest
    assert max(sizes) - min(sizes) <= 1


def test_the_rate_can_be_set_between_steps(compute: Compute) -> None:
    network = narrow()
    take_step = step_for(network, compute)
    take_step.learning_rate = 0.0
    before = [parameter.clone() for parameter in network.parameters()]
    take_step(IMAGES, LABELS)
    assert take_step.learning_rate == 0
    assert all(torch.equal(old, new) for old, new in zip(before, network.parameters(), strict=True))


# How many images fit.


@pytest.fixture
def memory_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    return lambda size: monkeypatch.setattr(memory, "_memory", lambda device: size)


def kept_by_an_activation_count(side: int, width: int) -> int:
    """Bytes that a step of the one-convolution net below keeps per image: its input, and the output ReLU looks at."""
    return 4 * side**2 * (3 + width)


@pytest.mark.parametrize(("side", "width"), [(8, 4), (32, 5)])
def test_an_image_takes_what_its_activations_take(
    compute: Compute, memory_of: Callable[[float], None], side: int, width: int
) -> None:
    network = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.ReLU(inplace=True), nn.Flatten())
    own = 14 * sum(parameter.numel() for parameter in network.parameters())
    memory_of(2 * (own + 10 * kept_by_an_activation_count(side, width)))
    assert images_at_once(network, side, compute) == 10


@pytest.mark.parametrize(("limit", "share"), [("max", 1.0), ("1000000000", None), (None, 1.0), ("9" * 19, 1.0)])
def test_a_container_has_the_memory_it_may_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str | None, share: float | None
) -> None:
    monkeypatch.setattr(memory, "_CONTAINERS_LIMIT", tmp_path / "memory.max")
    if limit:
        (tmp_path / "memory.max").write_text(limit + "\n")
    expected = 1e9 if share is None else share * psutil.virtual_memory().total
    assert memory._memory(torch.device("cpu")) == expected


def test_one_image_is_tried_in_any_memory(compute: Compute, memory_of: Callable[[float], None]) -> None:
    memory_of(1.0)
    assert images_at_once(narrow(), 32, compute) == 1


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_asking_changes_nothing(compute: Compute, arch: str) -> None:
    network = narrow(arch, batch_norm=True).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    drawn = torch.get_rng_state()
    assert images_at_once(network, 32, compute) > 256
    assert network.training
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_step_on_a_gpu_that_fills_the_allowed_memory_fits() -> None:
    from vgg_ablation.pipeline.compute import choose_compute

    compute = choose_compute()
    network = VGG("E", 256).to(compute.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    count = images_at_once(network, 224, compute)
    images = torch.zeros(count, 3, 224, 224, device=compute.device).to(memory_format=torch.channels_last)
    step_for(network, compute, count)(images, torch.zeros(count, dtype=torch.int64, device=compute.device))
    torch.cuda.synchronize()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_no_step_of_an_epoch_waits_for_the_gpu(images: RunImages) -> None:
    compute = Compute(torch.device("cuda"), torch.bfloat16)
    batches = replace(images.batches, pixels=images.batches.pixels.resident(compute.device), device=compute.device)
    take_step = step_for(narrow().to(compute.device), compute)
    draws = torch.Generator().manual_seed(0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for crops, labels in batches.training(images.training, 4, 0.1, draws):
            take_step(crops, labels)
    finally:
        torch.cuda.set_sync_debug_mode("default")
