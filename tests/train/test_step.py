import itertools
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from vgg_ablation.device import Compute
from vgg_ablation.errors import StageError
from vgg_ablation.images.batches import RunImages
from vgg_ablation.model.vgg import VGG
from vgg_ablation.runtime.checkpoints import BackgroundCheckpoints
from vgg_ablation.train import checkpoint, step
from vgg_ablation.train.execution import Execution
from vgg_ablation.train.step import TrainingStep

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
IMAGES = torch.randn(7, 3, 32, 32, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(7) % 3


def narrow(arch: str = "A", **options: bool | float) -> VGG:
    torch.manual_seed(0)
    return VGG(arch, 3, input_side=32, width=1 / 16, **options).to(memory_format=torch.channels_last)  # pyright: ignore


def step_for(
    network: nn.Module, compute: Compute, largest: int = 256, say: Callable[[str], None] = pytest.fail
) -> TrainingStep:
    return TrainingStep(network, compute, learning_rate=0.1, momentum=0.9, weight_decay=5e-4, largest=largest, say=say)


def take_steps(take_step: TrainingStep, count: int, images: Tensor) -> list[tuple[float, int]]:
    """Take steps on the same batch, and return the loss and the count of errors of each."""
    torch.manual_seed(1)  # of the dropout
    return [(loss.item(), int(wrong)) for loss, wrong in (take_step(images, LABELS) for _ in range(count))]


@pytest.fixture
def in_double(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute the loss in double too, so that rounding is not taken for a mistake."""
    monkeypatch.setattr(Tensor, "float", Tensor.double)


@pytest.mark.usefixtures("in_double")
@pytest.mark.parametrize("largest", [1, 3])
def test_a_batch_in_parts_takes_the_steps_of_the_whole_batch(compute: Compute, largest: int) -> None:
    parts, whole = (narrow(dropout=0.5).double() for _ in range(2))
    found = take_steps(step_for(parts, compute, largest), 2, IMAGES.double())
    expected = take_steps(step_for(whole, compute), 2, IMAGES.double())
    assert [wrong for _, wrong in found] == [wrong for _, wrong in expected]
    assert [loss for loss, _ in found] == pytest.approx([loss for loss, _ in expected])
    for one, other in zip(parts.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("largest", [3, 4])
def test_parts_are_of_nearly_equal_size_and_within_the_limit(compute: Compute, largest: int) -> None:
    sizes: list[int] = []
    network = narrow()
    network.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    step_for(network, compute, largest)(IMAGES, LABELS)
    assert sum(sizes) == len(IMAGES)
    assert max(sizes) <= largest
    assert max(sizes) - min(sizes) <= 1


# Out of memory.


def out_of_memory(*_: object) -> None:
    raise torch.OutOfMemoryError


def in_forward_above(count: int) -> Callable[[VGG], None]:
    """Run out of memory with more than `count` images after the first dropout mask, before the second."""

    def plant(network: VGG) -> None:
        network.classifier[3].register_forward_hook(
            lambda _, inputs, __: out_of_memory() if len(inputs[0]) > count else None
        )

    return plant


def in_backward_above(count: int) -> Callable[[VGG], None]:
    """Run out of memory in the backward pass of more than `count` images, with some gradients computed."""

    def plant(network: VGG) -> None:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...], __: Tensor) -> None:
            inputs[0].register_hook(lambda gradient: out_of_memory() if len(gradient) > count else None)

        network.classifier[0].register_forward_hook(hook)

    return plant


def once_at_pass(number: int) -> Callable[[VGG], None]:
    """Run out of memory in one forward pass, counted from 1 over all steps, as if another program took some."""

    def plant(network: VGG) -> None:
        passes = itertools.count(1)
        network.classifier[5].register_forward_hook(lambda *_: out_of_memory() if next(passes) == number else None)

    return plant


class Scaled(Compute):
    """float16's loss scaling, computed in float32: convolutions in float16 are not deterministic on a CPU."""

    def autocast(self) -> torch.autocast:
        return torch.autocast("cpu", enabled=False)


CPU = torch.device("cpu")


FLOAT32 = Compute(CPU, torch.float32)


@pytest.mark.parametrize(
    ("compute", "largest", "exhaust", "at_once"),
    [
        (FLOAT32, 256, in_forward_above(2), 1),
        (FLOAT32, 256, in_backward_above(3), 3),
        (FLOAT32, 4, once_at_pass(2), 2),
        (Compute(CPU, torch.bfloat16), 256, in_backward_above(3), 3),
        (Scaled(CPU, torch.float16), 256, in_backward_above(3), 3),
    ],
)
def test_a_step_after_running_out_of_memory_has_the_bytes_of_one_with_fewer_images_from_the_start(
    compute: Compute, largest: int, exhaust: Callable[[VGG], None], at_once: int
) -> None:
    found, expected = narrow(), narrow()
    exhaust(found)
    lines: list[str] = []
    take_step = step_for(found, compute, largest, lines.append)
    assert take_step.scaler.is_enabled() == isinstance(compute, Scaled)
    take_steps(take_step, 2, IMAGES)
    take_steps(step_for(expected, compute, at_once), 2, IMAGES)
    assert lines
    for one, other in zip(found.parameters(), expected.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.usefixtures("in_double")
def test_a_step_after_running_out_of_memory_is_that_of_the_whole_batch(compute: Compute) -> None:
    found, expected = (narrow(dropout=0.5).double() for _ in range(2))
    in_backward_above(2)(found)
    take_steps(step_for(found, compute, say=lambda _: None), 2, IMAGES.double())
    take_steps(step_for(expected, compute), 2, IMAGES.double())
    for one, other in zip(found.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_the_new_number_of_images_is_reported_and_stays(compute: Compute) -> None:
    network = narrow("D")
    sizes: list[int] = []
    network.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    in_forward_above(2)(network)
    lines: list[str] = []
    take_steps(step_for(network, compute, say=lines.append), 2, IMAGES)
    assert lines == [
        "net D: the memory of cpu does not hold 7 images of side 32 at once; continuing with 3 images per pass",
        "net D: the memory of cpu does not hold 3 images of side 32 at once; continuing with 1 images per pass",
    ]
    assert sizes == [7, 3, *2 * 7 * [1]]


def test_tensors_of_the_failed_attempt_are_freed_before_the_next(compute: Compute) -> None:
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


def test_too_little_memory_for_one_image_is_one_clear_line(compute: Compute) -> None:
    network = narrow()
    in_backward_above(0)(network)
    before = [parameter.clone() for parameter in network.parameters()]
    with pytest.raises(StageError) as error:
        step_for(network, compute, say=lambda _: None)(IMAGES, LABELS)
    assert str(error.value) == (
        "net A: the memory of cpu does not hold one image of side 32; lower model.width or model.input_side, or run it "
        "with more memory"
    )
    assert all(torch.equal(old, new) for old, new in zip(before, network.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_batch_that_batch_normalisation_needs_whole_is_not_split(compute: Compute) -> None:
    network = narrow("A_BN")
    in_backward_above(6)(network)
    with pytest.raises(StageError) as error:
        step_for(network, compute)(IMAGES, LABELS)
    assert str(error.value) == (
        "net A_BN: the memory of cpu does not hold 7 images of side 32, and batch normalisation needs the whole batch; "
        "lower tune.batch_size, model.width or model.input_side, or run it with more memory"
    )


@pytest.mark.gpu
@needs_gpu
def test_on_a_gpu_a_batch_that_does_not_fit_goes_in_parts() -> None:
    compute = Compute(torch.device("cuda"), torch.float32)
    images = torch.zeros(2048, 3, 64, 64, device=compute.device).to(memory_format=torch.channels_last)
    labels = torch.zeros(2048, dtype=torch.int64, device=compute.device)
    network = VGG("A", 10, input_side=64, width=1 / 4)
    network.to(compute.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    lines: list[str] = []
    take_step = step_for(network, compute, len(labels), lines.append)

    # What the forward pass leaves for the backward pass is the least that the whole batch needs. A difference of peaks
    # is not: it holds workspaces of kernels, and cuDNN chooses kernels with smaller ones when memory is short.
    before = torch.cuda.memory_allocated()
    scores = network(images)
    kept = torch.cuda.memory_allocated() - before
    del scores
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    limit = torch.cuda.memory_reserved() + kept / 2
    torch.cuda.reset_peak_memory_stats()
    try:
        torch.cuda.set_per_process_memory_fraction(limit / torch.cuda.get_device_properties(0).total_memory)
        take_step(images, labels)
        torch.cuda.synchronize()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert lines[0].endswith("2048 images of side 64 at once; continuing with 1024 images per pass")
    assert torch.cuda.max_memory_reserved() <= limit


def test_a_scaled_step_that_overflows_changes_neither_weights_nor_momentum() -> None:
    """The first steps in float16 usually overflow, until the loss scale has been reduced."""
    network = narrow()
    take_step = step_for(network, Compute(torch.device("cpu"), torch.float16))
    take_step.scaler.load_state_dict({**take_step.scaler.state_dict(), "scale": 3e38})
    before = {name: value.clone() for name, value in network.state_dict().items()}
    take_steps(take_step, 1, IMAGES)
    assert take_step.scaler.get_scale() < 3e38, "it overflowed"
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(state["momentum_buffer"].any() for state in take_step.optimiser.state.values())


# Ways to compute the gradients.


def choose(monkeypatch: pytest.MonkeyPatch, execution: Execution) -> None:
    monkeypatch.setattr(step, "choose_execution", lambda *_, **__: execution)


@pytest.mark.parametrize("arch", ["A_LRN", "D_BN"])
def test_a_step_whose_convolutions_are_traced_as_one_program_is_the_eager_one(
    monkeypatch: pytest.MonkeyPatch, compute: Compute, arch: str
) -> None:
    """The compiler traces the convolutions; here torch's own kernels run what it has traced, which takes no minutes."""
    traced: list[torch.Size] = []

    def trace(module: nn.Module) -> Callable[[Tensor], Tensor]:
        torch.compiler.reset()
        program = torch.compile(module, fullgraph=True, dynamic=False, backend="aot_eager")

        def run(images: Tensor) -> Tensor:
            traced.append(images.shape)
            return program(images)

        return run

    expected = narrow(arch, dropout=0.5)
    wanted = take_steps(step_for(expected, compute), 3, IMAGES)
    choose(monkeypatch, "compiled")
    monkeypatch.setattr(step, "compiled", trace)
    found = narrow(arch, dropout=0.5)
    taken = take_steps(step_for(found, compute), 3, IMAGES)
    assert traced == 3 * [IMAGES.shape]
    assert [wrong for _, wrong in taken] == [wrong for _, wrong in wanted]
    for (name, one), other in zip(found.state_dict().items(), expected.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, msg=lambda text, name=name: f"{name}: {text}")


def test_parts_of_a_compiled_batch_after_running_out_of_memory_take_the_step_of_fewer_images_from_the_start(
    monkeypatch: pytest.MonkeyPatch, compute: Compute
) -> None:
    choose(monkeypatch, "compiled")
    programs: list[nn.Module] = []
    monkeypatch.setattr(step, "compiled", lambda module: programs.append(module) or module)
    found, expected = narrow(), narrow()
    in_backward_above(3)(found)
    take_steps(step_for(found, compute, say=lambda _: None), 2, IMAGES)
    assert programs == 2 * [found.features], "again for the new shapes"
    take_steps(step_for(expected, compute, 3), 2, IMAGES)
    assert all(torch.equal(one, other) for one, other in zip(found.parameters(), expected.parameters(), strict=True))


@pytest.mark.parametrize(("largest", "memory", "captured"), [(256, 256, True), (3, 256, False), (256, 3, False)])
def test_a_batch_is_captured_if_the_memory_holds_it_whole(
    monkeypatch: pytest.MonkeyPatch, compute: Compute, largest: int, memory: int, captured: bool
) -> None:
    """In place of the graph, its passes are taken one by one, on the images that it was made for."""
    replays: list[int] = []

    class PassByPass:
        def __init__(self, gradient: Callable[..., tuple[Tensor, Tensor]], network: nn.Module, *batch: Tensor) -> None:
            before = torch.get_rng_state()
            try:
                gradient(*batch)
            finally:
                torch.set_rng_state(before)
            network.zero_grad(set_to_none=True)
            self.gradient = gradient

        def __call__(self, *batch: Tensor) -> tuple[Tensor, Tensor]:
            replays.append(len(batch[0]))
            return self.gradient(*batch)

    choose(monkeypatch, "captured")
    monkeypatch.setattr(step, "CapturedGradient", PassByPass)
    found, expected = narrow(dropout=0.5), narrow(dropout=0.5)
    in_backward_above(memory)(found)
    take_steps(step_for(found, compute, largest, say=lambda _: None), 3, IMAGES)
    choose(monkeypatch, "eager")
    take_steps(step_for(expected, compute, min(largest, memory)), 3, IMAGES)
    assert replays == (3 * [7] if captured else [])
    assert all(map(torch.equal, found.parameters(), expected.parameters()))


def test_gradients_of_a_capture_that_ran_out_of_memory_are_dropped(
    monkeypatch: pytest.MonkeyPatch, compute: Compute
) -> None:
    class TooLarge:
        def __init__(self, gradient: Callable[..., object], _: nn.Module, *batch: Tensor) -> None:
            gradient(*batch)
            raise torch.OutOfMemoryError

    choose(monkeypatch, "captured")
    monkeypatch.setattr(step, "CapturedGradient", TooLarge)
    found, expected = narrow(dropout=0.0), narrow(dropout=0.0)
    take_steps(step_for(found, compute), 1, IMAGES)
    choose(monkeypatch, "eager")
    take_steps(step_for(expected, compute), 1, IMAGES)
    assert all(map(torch.equal, found.parameters(), expected.parameters()))


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize(
    ("execution", "arch", "precision"),
    [
        ("compiled", "A_LRN", torch.bfloat16),
        ("compiled", "D_BN", torch.bfloat16),
        ("compiled", "A", torch.float16),
        ("captured", "A_LRN", torch.bfloat16),
        ("captured", "D_BN", torch.float32),
        ("captured", "A", torch.float16),
    ],
)
@pytest.mark.usefixtures("deterministic")
def test_on_a_gpu_a_step_that_is_compiled_or_captured_is_the_eager_one_and_repeats_to_the_byte(
    monkeypatch: pytest.MonkeyPatch, execution: Execution, arch: str, precision: torch.dtype
) -> None:
    compute = Compute(torch.device("cuda"), precision)
    images = IMAGES.to(compute.device, memory_format=torch.channels_last)

    def trained(execution: Execution) -> tuple[list[float], VGG]:
        choose(monkeypatch, execution)
        network = narrow(arch, dropout=0.5).to(compute.device)
        take_step = step_for(network, compute)
        torch.manual_seed(1)
        return [take_step(images, LABELS.to(compute.device))[0].item() for _ in range(5)], network

    (losses, network), (again, repeated), (eager, _) = map(trained, (execution, execution, "eager"))
    assert losses == again
    for one, other in zip(network.state_dict().values(), repeated.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    assert losses == pytest.approx(eager, rel=0.05)
    assert losses[0] == pytest.approx(eager[0], rel=1e-2), "the same dropout"


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("execution", ["eager", "captured"])
@pytest.mark.parametrize("training_scale", [None, 34, (34, 34)])
@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
@pytest.mark.usefixtures("deterministic")
def test_no_step_of_an_epoch_and_no_copy_for_a_checkpoint_waits_for_the_gpu(
    images: RunImages,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    precision: torch.dtype,
    training_scale: int | tuple[int, int] | None,
    execution: Execution,
) -> None:
    checkpoints = BackgroundCheckpoints(tmp_path / "checkpoint", pytest.fail)
    compute = Compute(torch.device("cuda"), precision)
    batches = replace(images.batches, pixels=images.batches.pixels.resident(compute.device), device=compute.device)
    choose(monkeypatch, execution)
    take_step = step_for(narrow().to(compute.device), compute)
    draws = torch.Generator().manual_seed(0)
    for _ in range(2):
        take_step(*next(batches.training(images.training, 4, 0.1, draws)))  # captures the graph, which waits once a run
    batches = replace(batches, training_scale=training_scale)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for crops, labels in batches.training(images.training, 4, 0.1, draws):
            take_step(crops, labels)
        for crops, _ in batches.centre(images.validation, 4):
            take_step.network(crops)
        if precision == torch.bfloat16:  # the record of a checkpoint has the loss scale
            checkpoint.keep(checkpoints, take_step.network, take_step.optimiser, take_step.scaler, [])
    finally:
        torch.cuda.set_sync_debug_mode("default")


class Asks(TorchDispatchMode):
    """Fail at an operation that would wait for a GPU: its result depends on values, or it is a number."""

    def __torch_dispatch__(
        self, func: OpOverload, types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> object:
        assert not {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape} & {*func.tags}, func
        return func(*args, **(kwargs or {}))


def test_the_mode_notices_operations_that_wait() -> None:
    for wait in (lambda: IMAGES[0, 0, 0, 0].item(), lambda: IMAGES[IMAGES > 0], lambda: IMAGES.nonzero()):
        with pytest.raises(AssertionError), Asks():
            wait()


@pytest.mark.parametrize("arch", ["A_LRN", "D_BN"])
@pytest.mark.parametrize(
    "compute", [FLOAT32, Compute(CPU, torch.bfloat16), Scaled(CPU, torch.float16)], ids=lambda each: str(each.precision)
)
def test_no_step_asks_for_a_value_that_is_being_computed(compute: Compute, arch: str) -> None:
    take_step = step_for(narrow(arch, dropout=0.5), compute)
    with Asks():
        for _ in range(2):
            take_step(IMAGES, LABELS)
