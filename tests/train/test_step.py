import itertools
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch
from torch import Tensor, nn

from vgg_ablation.device import Compute
from vgg_ablation.errors import StageError
from vgg_ablation.images.batches import RunImages
from vgg_ablation.model.table1 import ARCHITECTURES
from vgg_ablation.model.vgg import VGG
from vgg_ablation.train import memory
from vgg_ablation.train.memory import images_at_once
from vgg_ablation.train.step import TrainingStep

IMAGES = torch.randn(7, 3, 32, 32, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(7) % 3


def narrow(arch: str = "C", **options: bool | float) -> VGG:
    torch.manual_seed(0)
    return VGG(arch, 3, input_side=32, width=1 / 16, **options).to(memory_format=torch.channels_last)  # pyright: ignore


def step_for(
    network: nn.Module, compute: Compute, largest: int = 256, say: Callable[[str], None] = pytest.fail
) -> TrainingStep:
    return TrainingStep(network, compute, learning_rate=0.1, momentum=0.9, weight_decay=5e-4, largest=largest, say=say)


def take_steps(take_step: TrainingStep, count: int, images: Tensor) -> None:
    torch.manual_seed(1)  # of the dropout
    for _ in range(count):
        take_step(images, LABELS)


@pytest.fixture
def in_double(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the loss be in double as well, to tell rounding from mistakes."""
    monkeypatch.setattr(Tensor, "float", Tensor.double)


@pytest.mark.usefixtures("in_double")
@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("largest", [1, 2, 3, 5, 6, 7, 100])
def test_a_batch_in_parts_takes_the_same_steps(compute: Compute, largest: int, dropout: float) -> None:
    parts, whole = (narrow(dropout=dropout).double() for _ in range(2))
    take_steps(step_for(parts, compute, largest), 3, IMAGES.double())
    take_steps(step_for(whole, compute), 3, IMAGES.double())
    for one, other in zip(parts.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_a_whole_batch_has_the_dropout_of_a_plain_pass(compute: Compute) -> None:
    network = narrow(dropout=0.5)
    torch.manual_seed(1)
    expected = nn.functional.cross_entropy(network(IMAGES), LABELS)
    torch.manual_seed(1)
    assert torch.equal(step_for(network, compute)(IMAGES, LABELS), expected.detach())


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


# Memory that runs out.


def out_of_memory(*_: object) -> None:
    raise torch.OutOfMemoryError


def in_forward_above(count: int) -> Callable[[VGG], None]:
    """Let memory run out halfway through the convolutions when more than `count` images come at once."""

    def plant(network: VGG) -> None:
        network.features[6].register_forward_hook(
            lambda _, inputs, __: out_of_memory() if len(inputs[0]) > count else None
        )

    return plant


def in_backward_above(count: int) -> Callable[[VGG], None]:
    """Let memory run out when the gradients of more than `count` images come by, some being there already."""

    def plant(network: VGG) -> None:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...], __: Tensor) -> None:
            inputs[0].register_hook(lambda gradient: out_of_memory() if len(gradient) > count else None)

        network.classifier[0].register_forward_hook(hook)

    return plant


def in_dropout_above(count: int) -> Callable[[VGG], None]:
    """Let memory run out when the first mask is drawn and the second is not."""

    def plant(network: VGG) -> None:
        network.classifier[3].register_forward_hook(
            lambda _, inputs, __: out_of_memory() if len(inputs[0]) > count else None
        )

    return plant


def once_at_pass(number: int) -> Callable[[VGG], None]:
    """Let memory run out at one forward pass, counted from 1 over all steps: other programs take some, now and then."""

    def plant(network: VGG) -> None:
        passes = itertools.count(1)
        network.classifier[5].register_forward_hook(lambda *_: out_of_memory() if next(passes) == number else None)

    return plant


class Scaled(Compute):
    """float16 with its loss scale, but computed in float32: a CPU's convolutions in float16 are not deterministic."""

    def autocast(self) -> torch.autocast:
        return torch.autocast("cpu", enabled=False)


CPU = torch.device("cpu")


@pytest.mark.parametrize(
    "compute",
    [Compute(CPU, torch.float32), Compute(CPU, torch.bfloat16), Scaled(CPU, torch.float16)],
    ids=["float32", "bfloat16", "scaled"],
)
@pytest.mark.parametrize(
    ("largest", "exhaust", "at_once"),
    [
        (256, in_forward_above(6), 3),
        (256, in_forward_above(2), 1),
        (4, in_forward_above(3), 2),
        (256, in_backward_above(3), 3),
        (256, in_backward_above(1), 1),
        (256, in_dropout_above(4), 3),
        (256, once_at_pass(1), 3),
        (4, once_at_pass(2), 2),
    ],
)
def test_a_step_whose_memory_ran_out_is_taken_as_with_fewer_images_from_the_start(
    compute: Compute, largest: int, exhaust: Callable[[VGG], None], at_once: int
) -> None:
    found, expected = narrow(), narrow()
    exhaust(found)
    lines: list[str] = []
    take_step = step_for(found, compute, largest, lines.append)
    assert take_step.scaler.is_enabled() == isinstance(compute, Scaled)
    take_steps(take_step, 3, IMAGES)
    take_steps(step_for(expected, compute, at_once), 3, IMAGES)
    assert lines
    for one, other in zip(found.parameters(), expected.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.usefixtures("in_double")
def test_a_step_whose_memory_ran_out_is_that_of_the_whole_batch(compute: Compute) -> None:
    found, expected = (narrow(dropout=0.5).double() for _ in range(2))
    in_backward_above(2)(found)
    take_steps(step_for(found, compute, say=lambda _: None), 3, IMAGES.double())
    take_steps(step_for(expected, compute), 3, IMAGES.double())
    for one, other in zip(found.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_the_loss_of_a_step_taken_again_counts_each_image_once(compute: Compute) -> None:
    network = narrow(dropout=0.0)
    expected = nn.functional.cross_entropy(network(IMAGES), LABELS)
    once_at_pass(2)(network)
    loss = step_for(network, compute, largest=4, say=lambda _: None)(IMAGES, LABELS)
    torch.testing.assert_close(loss, expected.detach())


def test_people_are_told_how_many_images_are_too_many_and_how_many_are_tried(compute: Compute) -> None:
    network = narrow("D")
    in_forward_above(2)(network)
    lines: list[str] = []
    step_for(network, compute, say=lines.append)(IMAGES, LABELS)
    assert lines == [
        "net D: the memory of cpu does not hold 7 images of side 32 at once; it goes on with 3 at once",
        "net D: the memory of cpu does not hold 3 images of side 32 at once; it goes on with 1 at once",
    ]


def test_what_was_too_much_once_is_not_tried_again(compute: Compute) -> None:
    network = narrow()
    sizes: list[int] = []
    network.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    in_forward_above(3)(network)
    take_steps(step_for(network, compute, say=lambda _: None), 2, IMAGES)
    assert sizes == [7, 3, 2, 2, 3, 2, 2]


def test_what_was_held_when_memory_ran_out_is_free_when_the_step_is_taken_again(compute: Compute) -> None:
    network = narrow()
    held: list[weakref.ref] = []
    alive: list[int] = []

    def count_alive(*_: object) -> None:
        gradients = [parameter for parameter in network.parameters() if parameter.grad is not None]
        alive.append(len(gradients) + sum(reference() is not None for reference in held))
        held.clear()

    network.register_forward_pre_hook(count_alive)
    for layer in [*network.features, *network.classifier]:
        layer.register_forward_hook(lambda _, __, output: held.append(weakref.ref(output)))
    in_backward_above(6)(network)
    step_for(network, compute, say=lambda _: None)(IMAGES, LABELS)
    assert alive[:2] == [0, 0]


@pytest.mark.parametrize("exhaust", [in_forward_above(0), in_backward_above(0)])
def test_memory_for_not_even_one_image_is_one_clear_line(compute: Compute, exhaust: Callable[[VGG], None]) -> None:
    network = narrow()
    exhaust(network)
    before = [parameter.clone() for parameter in network.parameters()]
    with pytest.raises(StageError) as error:
        step_for(network, compute, say=lambda _: None)(IMAGES, LABELS)
    assert str(error.value) == (
        "net C: the memory of cpu does not hold one image of side 32; lower model.width or model.input_side, or run it "
        "with more memory"
    )
    assert all(torch.equal(old, new) for old, new in zip(before, network.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("exhaust", [in_forward_above(6), in_backward_above(6)])
def test_a_batch_that_normalisation_needs_whole_is_not_split(compute: Compute, exhaust: Callable[[VGG], None]) -> None:
    network = narrow(batch_norm=True)
    take_step = step_for(network, compute)
    exhaust(network)
    with pytest.raises(StageError) as error:
        take_step(IMAGES + 1, LABELS)
    assert str(error.value) == (
        "net C: the memory of cpu does not hold 7 images of side 32, and batch normalisation needs the whole batch; "
        "lower train.batch_size, model.width or model.input_side, or run it with more memory"
    )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_batch_that_a_gpu_does_not_hold_goes_in_parts() -> None:
    compute = Compute(torch.device("cuda"), torch.float32)
    images = torch.zeros(512, 3, 64, 64, device=compute.device).to(memory_format=torch.channels_last)
    labels = torch.zeros(512, dtype=torch.int64, device=compute.device)

    def peak(largest: int, say: Callable[[str], None] = pytest.fail) -> int:
        network = VGG("A", 10, input_side=64, width=1 / 4)
        network.to(compute.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        step_for(network, compute, largest, say)(images, labels)
        torch.cuda.synchronize()
        return torch.cuda.max_memory_reserved()

    between = (peak(16) + peak(512)) / 2
    lines: list[str] = []
    try:
        torch.cuda.set_per_process_memory_fraction(between / torch.cuda.get_device_properties(0).total_memory)
        assert peak(512, lines.append) <= between
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert lines


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


def test_a_scaled_step_that_overflows_leaves_weights_and_momentum_as_they_were() -> None:
    """The first steps in float16 overflow as a rule, until the scale of the loss has come down."""
    network = narrow()
    take_step = step_for(network, Compute(torch.device("cpu"), torch.float16))
    take_step.scaler.load_state_dict({**take_step.scaler.state_dict(), "scale": 3e38})
    before = {name: value.clone() for name, value in network.state_dict().items()}
    take_steps(take_step, 1, IMAGES)
    assert take_step.scaler.get_scale() < 3e38, "it overflowed"
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(take_step.optimiser.state.values())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_step_on_a_gpu_that_fills_the_allowed_memory_fits() -> None:
    from vgg_ablation.device import choose_compute

    compute = choose_compute(1)
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
