import os
import pickle
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from vgg_ablation.errors import StageError
from vgg_ablation.runtime.checkpoints import Slots
from vgg_ablation.train import checkpoint
from vgg_ablation.train.epoch import Epoch

HISTORY = [Epoch(1, 0.01, 2.5, 2.25, 12.5, 7.5), Epoch(2, 0.01 / 3, 0.1 + 0.2, 1e-17, 100 / 3, 0.7)]


class Trap:
    """What would end the tests if it were ever unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return os._exit, (1,)


class Run:
    """A small net with convolutions, batch statistics and momentum, some steps into its training."""

    def __init__(self, seed: int = 0, steps: int = 0, scale: float = 2.0**16) -> None:
        torch.manual_seed(seed)
        layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(36, 2))
        self.network = layers.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.optimiser = torch.optim.SGD(self.network.parameters(), 0.1, 0.9, weight_decay=0.01, fused=True)
        self.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        self.step(steps)

    def step(self, steps: int) -> None:
        for seed in range(steps):
            images = torch.randn(5, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
            self.network(images).square().sum().backward()
            self.optimiser.step()
            self.optimiser.zero_grad()

    def save(self, slots: Slots, history: list[Epoch] = HISTORY) -> None:
        checkpoint.save(slots, self.network, self.optimiser, self.scaler, history)

    def load(self, slots: Slots) -> list[Epoch]:
        history, lost = checkpoint.load(slots, self.network, self.optimiser, self.scaler)
        assert lost is None
        return history

    @property
    def weights(self) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in self.network.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def slots(tmp_path: Path, said: list[str]) -> Slots:
    return Slots(tmp_path / "checkpoint", said.append)


@pytest.fixture
def saved(slots: Slots) -> Slots:
    """Two checkpoints, of a run after one step and after three."""
    Run(steps=1, scale=64.0).save(slots, HISTORY[:1])
    Run(steps=3, scale=128.0).save(slots)
    return slots


def test_the_history_comes_back_to_the_last_bit(saved: Slots) -> None:
    assert Run(1).load(saved) == HISTORY


def test_the_weights_come_back(saved: Slots) -> None:
    run = Run(1)
    run.load(saved)
    assert same(run.weights, Run(steps=3).weights)


def test_the_next_steps_are_those_of_the_run_that_was_saved(saved: Slots) -> None:
    """So the momentum came back."""
    run, uninterrupted = Run(1), Run(steps=3)
    run.load(saved)
    for one in (run, uninterrupted):
        one.step(2)
    assert same(run.weights, uninterrupted.weights)


def test_a_run_without_a_step_comes_back(slots: Slots) -> None:
    Run().save(slots)
    run = Run(1)
    run.load(slots)
    assert same(run.weights, Run().weights)


def test_the_loss_scale_comes_back(saved: Slots) -> None:
    run = Run(1)
    run.load(saved)
    assert run.scaler.get_scale() == 128.0


def test_nothing_saved_is_no_history(slots: Slots) -> None:
    assert Run().load(slots) == []


def test_a_damaged_checkpoint_is_named_and_the_run_goes_on_from_the_one_before(
    saved: Slots, tmp_path: Path, said: list[str]
) -> None:
    latest = tmp_path / "checkpoint.0"
    content = latest.read_bytes()
    latest.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    run = Run(1)
    assert run.load(saved) == HISTORY[:1]
    assert same(run.weights, Run(steps=1).weights)
    assert run.scaler.get_scale() == 64.0
    (line,) = said
    assert line.startswith(f"{latest}: damaged")


@pytest.mark.parametrize(
    "content",
    [pickle.dumps({"weights": [0.0]}), b"", b"\x08\0\0\0\0\0\0\0{}      "[:10], b"\xff" * 100, pickle.dumps(Trap())],
)
def test_bytes_that_are_no_tensors_are_refused_and_never_unpickled(slots: Slots, content: bytes) -> None:
    slots.write(1, content)
    with pytest.raises(StageError, match="not a whole safetensors file"):
        Run().load(slots)


def test_a_whole_checkpoint_of_another_net_is_refused_and_its_first_difference_named(
    saved: Slots, tmp_path: Path
) -> None:
    run = Run(1)
    run.network[3] = nn.Linear(36, 5)
    before = run.weights
    with pytest.raises(StageError, match=rf"^{tmp_path}/checkpoint: .* 3\.bias is \(2,\) in it, \(5,\) in the net"):
        run.load(saved)
    assert same(run.weights, before)
