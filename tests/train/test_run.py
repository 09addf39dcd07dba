import itertools
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, ReduceLROnPlateau, SequentialLR

from vgg_ablation.device import Compute
from vgg_ablation.images.batches import Batches, RunImages
from vgg_ablation.model.vgg import VGG, batch_in_parts
from vgg_ablation.runtime.checkpoints import VARIABLE, BackgroundCheckpoints
from vgg_ablation.train import run as run_module
from vgg_ablation.train import step
from vgg_ablation.train.epoch import Divergence, Epoch
from vgg_ablation.train.run import Point, Recipe, at_chance, derive_seed, train, validate
from vgg_ablation.train.step import TrainingStep


def narrow(arch: str = "A", *, seed: int = 0) -> VGG:
    torch.manual_seed(seed)
    network = VGG(arch, 2, input_side=32, width=1 / 16)
    return network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def linear(*, seed: int = 0) -> nn.Module:
    """A net whose gradient is a closed form: scores are a linear function of the pixels."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2))


def weights(network: nn.Module) -> bytes:
    return b"".join(value.numpy().tobytes() for value in network.state_dict().values())


class Trainer:
    """Training on the same images, device and checkpoints; the recipe and its point may change."""

    def __init__(self, images: RunImages, compute: Compute, recipe: Recipe, folder: Path) -> None:
        self.images, self.compute, self.recipe, self.file = images, compute, recipe, folder / "checkpoint"
        self.lines: list[str] = []

    def epochs(
        self, network: nn.Module, *, seed: int = 0, file: Path | None = None, **changes: object
    ) -> Iterator[Epoch]:
        names = {each.name for each in fields(Point)} & changes.keys()
        point = replace(self.recipe.point, **{name: changes.pop(name) for name in names})  # pyright: ignore
        recipe = replace(self.recipe, point=point, **changes)  # pyright: ignore[reportArgumentType]
        with BackgroundCheckpoints(file or self.file, self.lines.append) as checkpoints:
            yield from train(
                network, self.images.batches, self.images.training, self.images.validation, recipe, self.compute,
                seed=seed, largest=256, checkpoints=checkpoints, say=self.lines.append,
            )  # fmt: skip


@pytest.fixture
def trainer(images: RunImages, compute: Compute, recipe: Recipe, tmp_path: Path) -> Trainer:
    return Trainer(images, compute, recipe, tmp_path)


# What a run computes.


def test_a_step_is_the_closed_form_of_sgd_with_momentum_and_weight_decay(trainer: Trainer) -> None:
    """v = mu v + (g + wd w); w = w - lr v, with softmax regression's gradient, in float64."""
    network = linear()
    layer = network[1]  # pyright: ignore[reportIndexIssue]
    w, b = layer.weight.detach().double().numpy().copy(), layer.bias.detach().double().numpy().copy()
    v, u = np.zeros_like(w), np.zeros_like(b)
    rate, decay, momentum = 0.01, 0.05, 0.9
    for number in (1, 2, 3):
        crops = torch.Generator().manual_seed(derive_seed(0, number, "crops"))
        ((images, labels),) = trainer.images.batches.training(trainer.images.training, 16, 0.1, crops)
        x = images.flatten(1).double().numpy()
        scores = x @ w.T + b
        p = np.exp(scores - scores.max(1, keepdims=True))
        error = (p / p.sum(1, keepdims=True) - np.eye(2)[labels]) / len(x)
        v, u = momentum * v + error.T @ x + decay * w, momentum * u + error.sum(0) + decay * b
        w, b = w - rate * v, b - rate * u
    list(trainer.epochs(
        network, batch_size=256, epochs=3, schedule="plateau", patience=9, learning_rate=rate, weight_decay=decay,
        momentum=momentum,
    ))  # fmt: skip
    np.testing.assert_allclose(layer.weight.detach(), w, atol=1e-5)
    np.testing.assert_allclose(layer.bias.detach(), b, atol=1e-5)


@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step")  # SequentialLR itself uses it
@pytest.mark.parametrize("warming", [0, 1, 3])
def test_the_learning_rates_and_weights_of_all_steps_are_those_of_torchs_warm_up_and_cosine(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch, warming: int
) -> None:
    reference = linear()
    optimiser = torch.optim.SGD(reference.parameters(), 0.01, 0.9, weight_decay=5e-4, foreach=False)
    cosine = CosineAnnealingLR(optimiser, T_max=12 - warming)
    schedule = cosine
    if warming:
        rise = LinearLR(optimiser, start_factor=1 / warming, total_iters=max(1, warming - 1))
        schedule = SequentialLR(optimiser, [rise, cosine], milestones=[warming])
    rates: list[float] = []
    for number in (1, 2, 3):
        crops = torch.Generator().manual_seed(derive_seed(0, number, "crops"))
        for images, labels in trainer.images.batches.training(trainer.images.training, 4, 0.1, crops):
            rates.append(optimiser.param_groups[0]["lr"])
            optimiser.zero_grad()
            cross_entropy(reference(images), labels).backward()
            optimiser.step()
            schedule.step()
    taken: list[float] = []

    class Recorded(TrainingStep):
        def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
            taken.append(self.learning_rate)
            return super().__call__(images, labels)

    monkeypatch.setattr(run_module, "TrainingStep", Recorded)
    network = linear()
    history = list(trainer.epochs(network, batch_size=4, warm_up=warming / 12))
    assert taken == pytest.approx(rates, rel=1e-12)
    assert [epoch.learning_rate for epoch in history] == taken[::4]
    for one, other in zip(network.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_the_plateau_schedule_follows_the_validation_accuracy_as_torchs_does(trainer: Trainer) -> None:
    history = list(trainer.epochs(linear(), epochs=8, schedule="plateau", patience=1))
    optimiser = torch.optim.SGD(linear().parameters(), 0.01)
    reference = ReduceLROnPlateau(optimiser, mode="max", factor=0.1, patience=1, threshold=0, min_lr=1e-5, eps=0)
    for epoch in history:
        assert epoch.learning_rate == pytest.approx(optimiser.param_groups[0]["lr"])
        assert epoch.validation_accuracy is not None
        reference.step(epoch.validation_accuracy)
    assert history[-1].learning_rate < 0.01


def test_the_training_loss_and_error_are_means_over_the_epochs_crops(trainer: Trainer) -> None:
    """With a rate of next to nothing the weights stay, and the mean can be taken afterwards."""
    network = linear(seed=1)
    (epoch,) = trainer.epochs(network, epochs=1, learning_rate=1e-30, weight_decay=0.0)
    crops = torch.Generator().manual_seed(derive_seed(0, 1, "crops"))
    found = list(trainer.images.batches.training(trainer.images.training, 8, 0.1, crops))
    inputs, labels = (torch.cat(parts) for parts in zip(*found, strict=True))
    scores = network(inputs)
    assert epoch.train_loss == pytest.approx(cross_entropy(scores, labels).item(), rel=1e-5)
    assert 0 < epoch.train_error < 100
    assert epoch.train_error == pytest.approx(100 * np.mean(scores.detach().numpy().argmax(1) != labels.numpy()))


def test_validation_is_of_the_centre_crops(trainer: Trainer, images: RunImages, compute: Compute) -> None:
    network = linear()
    whole = [images.batches.pixels.image(number) for number in images.validation.tolist()]
    crops = torch.stack([image[1:33, 2:34] for image in whole])
    mean, deviation = images.batches.colour.mean, images.batches.colour.deviation
    scores = network(((crops / 255 - mean) / deviation).permute(0, 3, 1, 2))
    labels = images.batches.pixels.labels[images.validation]
    expected = cross_entropy(scores, labels).item(), 100 * (scores.argmax(1) == labels).double().mean().item()
    assert validate(network, images.batches, images.validation, compute) == pytest.approx(expected, rel=1e-5)


# Reproducibility.


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_the_weights_are_those_of_a_plain_loop_of_torch_to_the_last_bit(
    trainer: Trainer, precision: torch.dtype
) -> None:
    """So nothing that is measured during the steps changes them."""
    trainer.compute = Compute(torch.device("cpu"), precision)
    reference, network = narrow(), narrow()
    reference.train()
    optimiser = torch.optim.SGD(reference.parameters(), 0.01, 0.9, weight_decay=5e-4, fused=True)
    for number in (1, 2):
        crops = torch.Generator().manual_seed(derive_seed(0, number, "crops"))
        torch.manual_seed(derive_seed(0, number, "dropout"))
        for images, labels in trainer.images.batches.training(trainer.images.training, 8, 0.1, crops):
            with batch_in_parts(reference, len(labels)) as select, trainer.compute.autocast():
                select(slice(None))
                scores = reference(images)
            cross_entropy(scores.float(), labels).backward()
            optimiser.step()
            optimiser.zero_grad()
    list(trainer.epochs(network, epochs=2, schedule="plateau", patience=9))
    assert weights(network) == weights(reference)


def test_the_seed_alone_decides_the_bytes(trainer: Trainer, tmp_path: Path) -> None:
    """Not what other code draws from the global generator."""
    networks = narrow(), narrow()
    history = list(trainer.epochs(networks[0], epochs=2, file=tmp_path / "a"))
    again = []
    for epoch in trainer.epochs(networks[1], epochs=2, file=tmp_path / "b"):
        again.append(epoch)
        torch.manual_seed(99)
    assert again == history
    assert weights(networks[0]) == weights(networks[1])


def test_all_nets_see_the_same_crops_and_other_ones_in_each_epoch(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []
    original = Batches.training

    def recorded(batches: Batches, images: Tensor, size: int, shift: float, generator: torch.Generator) -> Any:
        seeds.append(generator.initial_seed())
        return original(batches, images, size, shift, generator)

    monkeypatch.setattr(Batches, "training", recorded)
    for arch in ("A", "C"):
        list(trainer.epochs(narrow(arch), epochs=2, file=tmp_path / arch))
    assert seeds[:2] == seeds[2:]
    assert len(set(seeds)) == 2


# Resuming.


def interrupted(trainer: Trainer, network: nn.Module, epochs: int, **changes: Any) -> None:
    """Train for some epochs of a run."""
    run = trainer.epochs(network, **changes)
    for _ in range(epochs):
        next(run)
    run.close()  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(("schedule", "epochs"), [("cosine", 1), ("plateau", 2)])
def test_an_interrupted_run_resumes_with_the_bytes_of_an_uninterrupted_one(
    trainer: Trainer, tmp_path: Path, schedule: str, epochs: int
) -> None:
    uninterrupted = narrow("A_BN")
    history = list(trainer.epochs(uninterrupted, schedule=schedule, file=tmp_path / "uninterrupted"))
    interrupted(trainer, narrow("A_BN"), epochs, schedule=schedule)
    resumed = narrow("A_BN", seed=7)  # its own weights do not matter
    assert list(trainer.epochs(resumed, schedule=schedule)) == history
    assert weights(resumed) == weights(uninterrupted)
    assert trainer.lines == [f"resuming after epoch {epochs}/3"]


def test_a_stopped_run_resumes_after_its_last_finished_epoch(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uninterrupted, resumed = narrow("A_BN"), narrow("A_BN")
    history = list(trainer.epochs(uninterrupted, file=tmp_path / "uninterrupted"))
    steps = itertools.count(1)

    class Stopped(TrainingStep):
        def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
            if next(steps) == 6:  # the second of the third epoch
                raise KeyboardInterrupt
            return super().__call__(images, labels)

    with monkeypatch.context() as patched:
        patched.setenv(VARIABLE, "60")
        patched.setattr(run_module, "TrainingStep", Stopped)
        with pytest.raises(KeyboardInterrupt):
            list(trainer.epochs(narrow("A_BN")))
    assert list(trainer.epochs(resumed)) == history
    assert weights(resumed) == weights(uninterrupted)
    assert trainer.lines == ["resuming after epoch 2/3"]


def test_a_run_interrupted_between_two_checkpoints_repeats_the_epochs_since_the_latest(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uninterrupted, resumed = narrow("A_BN"), narrow("A_BN")
    history = list(trainer.epochs(uninterrupted, file=tmp_path / "uninterrupted"))
    written = iter([True, False, False])
    with monkeypatch.context() as patched:
        patched.setattr(BackgroundCheckpoints, "due", lambda *_: next(written))
        interrupted(trainer, narrow("A_BN"), 2)
    assert list(trainer.epochs(resumed)) == history
    assert weights(resumed) == weights(uninterrupted)
    assert trainer.lines == ["resuming after epoch 1/3"]


def test_an_epoch_that_was_interrupted_or_whose_checkpoint_is_damaged_is_repeated(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uninterrupted = narrow()
    history = list(trainer.epochs(uninterrupted, file=tmp_path / "uninterrupted"))
    interrupted(trainer, narrow(), 2)
    latest = tmp_path / "checkpoint.1"
    latest.write_bytes(latest.read_bytes()[:-1])

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Batches, "centre", interrupt)  # in the validation of epoch 2
        with pytest.raises(KeyboardInterrupt):
            list(trainer.epochs(narrow()))
    resumed = narrow()
    assert list(trainer.epochs(resumed)) == history
    assert weights(resumed) == weights(uninterrupted)


def test_a_finished_run_is_read_and_not_repeated(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    network, again = narrow(), narrow()
    history = list(trainer.epochs(network))
    monkeypatch.setattr(Batches, "training", lambda *_: pytest.fail("it was trained again"))
    assert list(trainer.epochs(again)) == history
    assert weights(again) == weights(network)


# Divergence.


@pytest.mark.parametrize(
    ("make", "changes", "kind", "message"),
    [
        (linear, {"learning_rate": 1e38}, "diverged", "diverged in epoch 1: the loss is (nan|inf)"),
        (linear, {"learning_rate": 1e5}, "exploded", r"exploded in epoch \d: the loss is \d\.\de\+\d\d"),
        # The only step of the epoch is taken after its loss is known.
        (
            linear,
            {"learning_rate": 1e38, "batch_size": 16},
            "exploded",
            "exploded in epoch 1: the norm of the weights is inf",
        ),
        # The weights are finite, the output of eleven layers is not.
        (
            narrow,
            {"learning_rate": 1e8, "batch_size": 16},
            "exploded",
            "exploded in epoch 1: the validation loss is (nan|inf)",
        ),
    ],
)
def test_a_run_that_cannot_recover_ends_with_the_kind_and_cause(
    trainer: Trainer, make: Callable[[], nn.Module], changes: dict[str, Any], kind: str, message: str
) -> None:
    with pytest.raises(Divergence) as error:
        list(trainer.epochs(make(), **changes))
    assert error.value.kind == kind
    assert re.fullmatch(message, str(error.value))


def test_a_diverged_run_diverges_again_without_training(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    network, again = linear(), linear()
    epochs = trainer.epochs(network)
    history = [next(epochs), next(epochs)]
    with torch.no_grad():
        network[1].bias[0] = math.nan  # pyright: ignore[reportIndexIssue]
    with pytest.raises(Divergence, match=r"^diverged in epoch 3: the loss is nan$") as first:
        next(epochs)
    monkeypatch.setattr(Batches, "training", lambda *_: pytest.fail("it was trained again"))
    epochs = trainer.epochs(again)
    assert [next(epochs), next(epochs)] == history
    with pytest.raises(Divergence) as second:
        next(epochs)
    assert vars(second.value) == vars(first.value)
    assert weights(again) == weights(network)


def test_a_loss_of_tens_of_times_ln_k_is_not_a_divergence(trainer: Trainer) -> None:
    network = linear()
    with torch.no_grad():
        network[1].weight.mul_(300)  # pyright: ignore[reportIndexIssue]
    history = list(trainer.epochs(network, epochs=12))
    assert 10 * math.log(2) < max(epoch.train_loss for epoch in history) < 100 * math.log(2)
    assert history[-1].validation_accuracy == 100


def test_a_run_whose_memory_holds_half_a_batch_says_so_and_continues(trainer: Trainer) -> None:
    def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if len(inputs[0]) > 4 and torch.is_grad_enabled():
            raise torch.OutOfMemoryError

    network = narrow()
    network.classifier.register_forward_pre_hook(hook)
    assert len(list(trainer.epochs(network))) == 3
    assert trainer.lines == [
        "net A: the memory of cpu does not hold 8 images of side 32 at once; continuing with 4 images per pass"
    ]


@pytest.mark.parametrize(
    ("training", "validation", "guesses"), [(1.0, 1.0, True), (0.9, 1.5, False), (1.0, 0.9, False)]
)
def test_a_run_is_at_chance_if_both_losses_are_about_ln_k(training: float, validation: float, guesses: bool) -> None:
    """A net that overfits has a low training loss; one that begins to learn under dropout a low validation loss."""
    last = Epoch(1, 0.01, training * math.log(256), 99.0, validation * math.log(256), 1.0, 1.0)
    assert at_chance(last, 256) == guesses


@pytest.mark.parametrize(("training", "guesses"), [(1.0, True), (0.9, False)])
def test_without_validation_images_the_training_loss_alone_counts(training: float, guesses: bool) -> None:
    assert at_chance(Epoch(1, 0.01, training * math.log(256), 99.0, None, None, 1.0), 256) == guesses


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(
    ("precision", "execution"),
    [
        (torch.float16, "captured"),
        (torch.bfloat16, "captured"),
        (torch.float32, "captured"),
        (torch.bfloat16, "compiled"),
        (torch.bfloat16, "eager"),
    ],
)
def test_on_a_gpu_an_interrupted_run_resumes_with_the_bytes_of_an_uninterrupted_one(
    trainer: Trainer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    precision: torch.dtype,
    execution: str,
    deterministic: None,
) -> None:
    monkeypatch.setattr(step, "choose_execution", lambda *_, **__: execution)
    device = torch.device("cuda")
    trainer.compute = Compute(device, precision)
    batches = trainer.images.batches
    trainer.images = replace(
        trainer.images, batches=replace(batches, pixels=batches.pixels.resident(device), device=device)
    )
    uninterrupted = narrow().to(device)
    history = list(trainer.epochs(uninterrupted, file=tmp_path / "uninterrupted"))
    interrupted(trainer, narrow().to(device), 2)
    resumed = narrow().to(device)
    assert list(trainer.epochs(resumed)) == history
    assert weights(resumed.cpu()) == weights(uninterrupted.cpu())
