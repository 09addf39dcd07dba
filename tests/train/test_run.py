import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import CosineAnnealingLR, ReduceLROnPlateau

from vgg_ablation.device import Compute
from vgg_ablation.images.batches import Batches, RunImages
from vgg_ablation.model.vgg import VGG
from vgg_ablation.runtime.checkpoints import Slots
from vgg_ablation.train import run as run_module
from vgg_ablation.train.epoch import Epoch
from vgg_ablation.train.run import DivergedError, Recipe, at_chance, derive_seed, train, validate


def narrow(arch: str = "A", *, seed: int = 0, batch_norm: bool = False) -> VGG:
    torch.manual_seed(seed)
    network = VGG(arch, 2, input_side=32, width=1 / 16, batch_norm=batch_norm)
    return network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def linear() -> nn.Module:
    """A net whose gradient is a closed form: scores are a linear function of the pixels."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2))


def weights(network: nn.Module) -> bytes:
    return b"".join(value.numpy().tobytes() for value in network.state_dict().values())


class Trainer:
    """Training on the same images, device and checkpoints; the recipe may change."""

    def __init__(self, images: RunImages, compute: Compute, recipe: Recipe, folder: Path) -> None:
        self.images, self.compute, self.recipe, self.file = images, compute, recipe, folder / "checkpoint"
        self.lines: list[str] = []

    def epochs(
        self, network: nn.Module, *, seed: int = 0, file: Path | None = None, **changes: object
    ) -> Iterator[Epoch]:
        recipe = replace(self.recipe, **changes)  # pyright: ignore[reportArgumentType]
        return train(
            network, self.images.batches, self.images.training, self.images.validation, recipe, self.compute,
            seed=seed, largest=256, checkpoints=Slots(file or self.file, self.lines.append),
            say=self.lines.append,
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
        network, batch_size=16, epochs=3, schedule="plateau", patience=9, learning_rate=rate, weight_decay=decay,
        momentum=momentum,
    ))  # fmt: skip
    np.testing.assert_allclose(layer.weight.detach(), w, atol=1e-5)
    np.testing.assert_allclose(layer.bias.detach(), b, atol=1e-5)


def test_the_cosine_schedule_moves_the_weights_as_torchs_does(trainer: Trainer) -> None:
    reference = linear()
    optimiser = torch.optim.SGD(reference.parameters(), 0.01, 0.9, weight_decay=5e-4, foreach=False)
    schedule = CosineAnnealingLR(optimiser, T_max=3 * 4)
    for number in (1, 2, 3):
        crops = torch.Generator().manual_seed(derive_seed(0, number, "crops"))
        for images, labels in trainer.images.batches.training(trainer.images.training, 4, 0.1, crops):
            optimiser.zero_grad()
            cross_entropy(reference(images), labels).backward()
            optimiser.step()
            schedule.step()
    network = linear()
    list(trainer.epochs(network, batch_size=4, epochs=3))
    for one, other in zip(network.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_the_plateau_schedule_follows_the_validation_accuracy_as_torchs_does(trainer: Trainer) -> None:
    history = list(trainer.epochs(linear(), epochs=12, schedule="plateau", patience=1))
    optimiser = torch.optim.SGD(linear().parameters(), 0.01)
    reference = ReduceLROnPlateau(optimiser, mode="max", factor=0.1, patience=1, threshold=0, min_lr=1e-5, eps=0)
    for epoch in history:
        assert epoch.learning_rate == pytest.approx(optimiser.param_groups[0]["lr"])
        reference.step(epoch.validation_accuracy)
    assert history[-1].learning_rate < 0.01


def test_the_recorded_rate_is_that_of_the_epochs_first_step(trainer: Trainer) -> None:
    history = list(trainer.epochs(linear(), epochs=4))
    assert [epoch.learning_rate for epoch in history] == pytest.approx(
        [0.01 * (1 + math.cos(math.pi * done / 4)) / 2 for done in range(4)]
    )


def test_the_training_loss_is_the_mean_over_the_epochs_crops(trainer: Trainer) -> None:
    """With a rate of next to nothing the weights stay, and the mean can be taken afterwards."""
    network = linear()
    (epoch,) = trainer.epochs(network, epochs=1, learning_rate=1e-30, weight_decay=0.0)
    crops = torch.Generator().manual_seed(derive_seed(0, 1, "crops"))
    found = list(trainer.images.batches.training(trainer.images.training, 8, 0.1, crops))
    inputs, labels = (torch.cat(parts) for parts in zip(*found, strict=True))
    assert epoch.train_loss == pytest.approx(cross_entropy(network(inputs), labels).item(), rel=1e-5)


def test_validation_is_of_the_centre_crops(trainer: Trainer, images: RunImages, compute: Compute) -> None:
    network = linear()
    whole = [images.batches.pixels.image(number) for number in images.validation.tolist()]
    crops = torch.stack([image[1:33, 2:34] for image in whole])
    mean, deviation = images.batches.colour.mean, images.batches.colour.deviation
    scores = network(((crops / 255 - mean) / deviation).permute(0, 3, 1, 2))
    labels = images.batches.pixels.labels[images.validation]
    expected = cross_entropy(scores, labels).item(), 100 * (scores.argmax(1) == labels).double().mean().item()
    assert validate(network, images.batches, images.validation, compute) == pytest.approx(expected, rel=1e-5)


def test_validation_is_without_dropout(images: RunImages, compute: Compute) -> None:
    network = narrow().train()
    one, other = (validate(network, images.batches, images.validation, compute) for _ in range(2))
    assert one == other


def test_validation_in_small_batches_is_the_same(
    images: RunImages, compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = validate(linear(), images.batches, images.validation, compute)
    monkeypatch.setattr(run_module, "_VALIDATION_BATCH", 3)
    assert validate(linear(), images.batches, images.validation, compute) == pytest.approx(whole, rel=1e-5)


def test_a_net_learns_two_classes(trainer: Trainer) -> None:
    history = list(trainer.epochs(narrow(), epochs=12))
    assert history[-1].train_loss < 0.5 * math.log(2)


def test_epochs_are_counted_from_one(trainer: Trainer) -> None:
    assert [epoch.epoch for epoch in trainer.epochs(linear())] == [1, 2, 3, 4, 5]


def test_a_batch_larger_than_the_training_set_is_the_training_set(trainer: Trainer, tmp_path: Path) -> None:
    large, whole = linear(), linear()
    list(trainer.epochs(large, batch_size=256, file=tmp_path / "a"))
    list(trainer.epochs(whole, batch_size=16, file=tmp_path / "b"))
    assert weights(large) == weights(whole)


def test_in_bfloat16_the_weights_stay_float32(trainer: Trainer) -> None:
    trainer.compute = Compute(torch.device("cpu"), torch.bfloat16)
    network = narrow()
    list(trainer.epochs(network, epochs=1))
    assert {value.dtype for value in network.state_dict().values()} == {torch.float32}


# Reproducibility.


def test_the_same_seed_gives_the_same_bytes(trainer: Trainer, tmp_path: Path) -> None:
    networks = narrow(), narrow()
    histories = [list(trainer.epochs(network, epochs=2, file=tmp_path / str(n))) for n, network in enumerate(networks)]
    assert histories[0] == histories[1]
    assert weights(networks[0]) == weights(networks[1])


def test_what_others_draw_from_the_global_generator_does_not_matter(trainer: Trainer, tmp_path: Path) -> None:
    networks = narrow(), narrow()
    list(trainer.epochs(networks[0], epochs=2, file=tmp_path / "a"))
    for _ in trainer.epochs(networks[1], epochs=2, file=tmp_path / "b"):
        torch.manual_seed(99)
    assert weights(networks[0]) == weights(networks[1])


def test_another_seed_gives_another_run(trainer: Trainer, tmp_path: Path) -> None:
    one, other = (list(trainer.epochs(linear(), epochs=1, seed=seed, file=tmp_path / str(seed))) for seed in (0, 1))
    assert one != other


@pytest.fixture
def crop_seeds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seeds that crops are drawn from, as they are used."""
    seeds: list[int] = []
    original = Batches.training

    def recording(
        batches: Batches, images: Tensor, batch_size: int, colour_shift: float, generator: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        seeds.append(generator.initial_seed())
        return original(batches, images, batch_size, colour_shift, generator)

    monkeypatch.setattr(Batches, "training", recording)
    return seeds


def test_all_nets_see_the_same_crops(trainer: Trainer, crop_seeds: list[int], tmp_path: Path) -> None:
    for arch in ("A", "C"):
        list(trainer.epochs(narrow(arch), epochs=2, file=tmp_path / arch))
    assert crop_seeds[:2] == crop_seeds[2:]


def test_each_epoch_has_crops_of_its_own(trainer: Trainer, crop_seeds: list[int]) -> None:
    list(trainer.epochs(linear(), epochs=4))
    assert len(set(crop_seeds)) == 4


@given(st.lists(st.lists(st.integers(0, 99) | st.sampled_from(["a", "b"]), max_size=3), min_size=2, unique_by=str))
def test_seeds_of_different_paths_differ_and_fit_a_generator(paths: list[list[int | str]]) -> None:
    seeds = [derive_seed(*path) for path in paths]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


# Interruption.


@pytest.mark.parametrize("schedule", ["cosine", "plateau"])
@pytest.mark.parametrize("stopped_after", [1, 3, 4])
def test_an_interrupted_run_goes_on_as_if_it_had_not_been(
    trainer: Trainer, tmp_path: Path, schedule: str, stopped_after: int
) -> None:
    uninterrupted = narrow(batch_norm=True)
    history = list(trainer.epochs(uninterrupted, schedule=schedule, file=tmp_path / "uninterrupted"))

    interrupted = trainer.epochs(narrow(batch_norm=True), schedule=schedule)
    for _ in range(stopped_after):
        next(interrupted)
    interrupted.close()  # pyright: ignore[reportAttributeAccessIssue]
    resumed = narrow(batch_norm=True, seed=7)  # whose own weights do not matter any more
    assert list(trainer.epochs(resumed, schedule=schedule)) == history
    assert weights(resumed) == weights(uninterrupted)


def test_a_run_whose_latest_checkpoint_is_damaged_repeats_its_epoch(trainer: Trainer, tmp_path: Path) -> None:
    uninterrupted = narrow()
    history = list(trainer.epochs(uninterrupted, file=tmp_path / "uninterrupted"))
    interrupted = trainer.epochs(narrow())
    for _ in range(3):
        next(interrupted)
    interrupted.close()  # pyright: ignore[reportAttributeAccessIssue]
    latest = tmp_path / "checkpoint.1"
    latest.write_bytes(latest.read_bytes()[:-1])
    resumed = narrow()
    assert list(trainer.epochs(resumed)) == history
    assert weights(resumed) == weights(uninterrupted)


def test_a_run_interrupted_within_an_epoch_repeats_it(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uninterrupted = narrow()
    list(trainer.epochs(uninterrupted, epochs=3, file=tmp_path / "uninterrupted"))
    interrupted = trainer.epochs(narrow(), epochs=3)
    next(interrupted)
    with monkeypatch.context() as patched:
        patched.setattr(Batches, "centre", interrupt)
        with pytest.raises(KeyboardInterrupt):
            next(interrupted)
    resumed = narrow()
    list(trainer.epochs(resumed, epochs=3))
    assert weights(resumed) == weights(uninterrupted)


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_finished_run_is_read_and_not_repeated(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    network, again = narrow(), narrow()
    history = list(trainer.epochs(network))
    monkeypatch.setattr(Batches, "training", lambda *_: pytest.fail("it was trained again"))
    assert list(trainer.epochs(again)) == history
    assert weights(again) == weights(network)


@pytest.mark.parametrize("finished", [1, 2, 3, 4])
def test_a_run_goes_on_after_the_latest_epoch_and_says_so(trainer: Trainer, finished: int) -> None:
    interrupted = trainer.epochs(linear())
    for _ in range(finished):
        next(interrupted)
    interrupted.close()  # pyright: ignore[reportAttributeAccessIssue]
    list(trainer.epochs(linear()))
    assert trainer.lines == [f"going on after epoch {finished}/5"]


# Runs that fail.


def lost(trainer: Trainer, network: nn.Module, **changes: object) -> DivergedError:
    """Train until the run is given up, and return why."""
    with pytest.raises(DivergedError) as error:
        list(trainer.epochs(network, **changes))  # pyright: ignore[reportArgumentType]
    return error.value


def test_a_weight_that_is_no_number_is_a_run_that_diverged(trainer: Trainer) -> None:
    network = narrow()
    with torch.no_grad():
        network.named_layers()["conv2_1"].weight[0] = math.nan
    error = lost(trainer, network)
    assert (str(error), error.reason) == ("diverged in epoch 1: the loss is nan", "diverged")


def test_a_pixel_that_is_no_number_is_a_run_that_diverged(trainer: Trainer) -> None:
    colour = replace(trainer.images.batches.colour, mean=torch.tensor([0.5, math.nan, 0.5]))
    trainer.images = replace(trainer.images, batches=replace(trainer.images.batches, colour=colour))
    assert str(lost(trainer, linear())) == "diverged in epoch 1: the loss is nan"


@pytest.mark.parametrize("make", [narrow, linear])
def test_a_rate_that_no_net_survives_is_a_run_that_diverged(trainer: Trainer, make: Callable[[], nn.Module]) -> None:
    assert re.fullmatch("diverged in epoch 1: the loss is (nan|inf)", str(lost(trainer, make(), learning_rate=1e38)))


def test_the_epoch_that_was_lost_is_named_and_no_other(trainer: Trainer) -> None:
    network = linear()
    epochs = trainer.epochs(network)
    for _ in range(2):
        next(epochs)
    with torch.no_grad():
        network[1].bias[0] = math.nan  # pyright: ignore[reportIndexIssue]
    with pytest.raises(DivergedError, match=r"^diverged in epoch 3: the loss is nan$") as error:
        next(epochs)
    assert error.value.epoch == 3


def test_a_loss_beyond_all_measure_is_a_run_that_exploded(trainer: Trainer) -> None:
    error = lost(trainer, linear(), learning_rate=1e5)
    assert error.reason == "exploded"
    assert re.fullmatch(rf"exploded in epoch {error.epoch}: the loss is \d\.\de\+\d\d", str(error))


def test_a_loss_of_tens_of_times_that_of_guessing_is_survived(trainer: Trainer) -> None:
    network = linear()
    with torch.no_grad():
        network[1].weight.mul_(300)  # pyright: ignore[reportIndexIssue]
    history = list(trainer.epochs(network, epochs=12))
    assert 10 * math.log(2) < max(epoch.train_loss for epoch in history) < 100 * math.log(2)
    assert history[-1].validation_accuracy == 100


def test_weights_beyond_all_measure_after_a_finite_loss_are_a_run_that_exploded(trainer: Trainer) -> None:
    """The epoch's only step is taken after its loss is known."""
    error = lost(trainer, linear(), batch_size=16, learning_rate=1e38)
    assert (str(error), error.reason) == ("exploded in epoch 1: the norm of the weights is inf", "exploded")


def test_a_validation_loss_that_is_no_number_after_a_finite_loss_is_a_run_that_exploded(trainer: Trainer) -> None:
    """The weights are finite, what eleven layers make of them is not."""
    error = lost(trainer, narrow(), batch_size=16, learning_rate=1e8)
    assert error.reason == "exploded"
    assert re.fullmatch("exploded in epoch 1: the validation loss is (nan|inf)", str(error))


def test_a_run_whose_memory_holds_half_a_batch_says_so_and_goes_on(trainer: Trainer) -> None:
    def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if len(inputs[0]) > 4 and torch.is_grad_enabled():
            raise torch.OutOfMemoryError

    network = narrow()
    network.classifier.register_forward_pre_hook(hook)
    assert len(list(trainer.epochs(network))) == 5
    assert trainer.lines == [
        "net A: the memory of cpu does not hold 8 images of side 32 at once; it goes on with 4 at once"
    ]


def test_a_run_that_was_lost_is_lost_again_without_an_epoch(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    network, again = linear(), linear()
    epochs = trainer.epochs(network)
    history = [next(epochs), next(epochs)]
    with torch.no_grad():
        network[1].bias[0] = math.nan  # pyright: ignore[reportIndexIssue]
    with pytest.raises(DivergedError) as first:
        next(epochs)
    monkeypatch.setattr(Batches, "training", lambda *_: pytest.fail("it was trained again"))
    epochs = trainer.epochs(again)
    assert [next(epochs), next(epochs)] == history
    with pytest.raises(DivergedError) as second:
        next(epochs)
    assert vars(second.value) == vars(first.value)
    assert weights(again) == weights(network)


def test_a_net_to_start_from_that_was_lost_is_named() -> None:
    error = DivergedError(3, 1.0, "exploded", "the loss is 4.1e+07", net="A, to start from,")
    assert str(error) == "A, to start from, exploded in epoch 3: the loss is 4.1e+07"


@pytest.mark.parametrize("classes", [2, 10, 256])
def test_guessing_is_at_chance(classes: int) -> None:
    scores, labels = torch.zeros(classes, classes), torch.arange(classes)
    loss = cross_entropy(scores, labels).item()
    assert at_chance(Epoch(1, 0.01, loss, loss, 100 / classes, 1.0), classes)


@pytest.mark.parametrize(("training", "validation"), [(0.9, 1.5), (1.0, 0.9), (0.5, 0.5)])
def test_one_loss_well_below_that_of_guessing_is_not_at_chance(training: float, validation: float) -> None:
    """A net that overfits has the one, a net that begins to learn under dropout the other."""
    assert not at_chance(Epoch(1, 0.01, training * math.log(256), validation * math.log(256), 1.0, 1.0), 256)


@pytest.fixture
def deterministic(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Switch on what `choose_compute` does for a GPU."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("error")
    yield
    torch.set_deterministic_debug_mode(before)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16, torch.float32])
def test_on_a_gpu_an_interrupted_run_goes_on_as_if_it_had_not_been(
    trainer: Trainer, tmp_path: Path, precision: torch.dtype, deterministic: None
) -> None:
    device = torch.device("cuda")
    trainer.compute = Compute(device, precision)
    batches = trainer.images.batches
    trainer.images = replace(
        trainer.images, batches=replace(batches, pixels=batches.pixels.resident(device), device=device)
    )
    uninterrupted = narrow().to(device)
    history = list(trainer.epochs(uninterrupted, file=tmp_path / "uninterrupted"))
    interrupted = trainer.epochs(narrow().to(device))
    for _ in range(2):
        next(interrupted)
    interrupted.close()  # pyright: ignore[reportAttributeAccessIssue]
    resumed = narrow().to(device)
    assert list(trainer.epochs(resumed)) == history
    assert weights(resumed.cpu()) == weights(uninterrupted.cpu())
