import os
import pickle
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import torch
from safetensors.torch import load
from torch import Tensor, nn

from vgg_ablation.errors import StageError
from vgg_ablation.runtime.checkpoints import BackgroundCheckpoints, Checkpoints
from vgg_ablation.train import checkpoint
from vgg_ablation.train.epoch import Divergence, Epoch

HISTORY = [Epoch(1, 0.01, 2.5, 87.5, 2.25, 12.5, 7.5), Epoch(2, 0.01 / 3, 0.1 + 0.2, 200 / 3, 1e-17, 100 / 3, 0.7)]


class Trap:
    """Ends the tests if it is unpickled."""

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

    def save(self, checkpoints: BackgroundCheckpoints, history: list[Epoch]) -> None:
        checkpoint.keep(checkpoints, self.network, self.optimiser, self.scaler, history)
        checkpoints.write_kept()

    def load(self, checkpoints: Checkpoints) -> tuple[list[Epoch], Divergence | None]:
        saved = checkpoint.load(checkpoints, self.network)
        saved.restore(self.network, self.optimiser, self.scaler)
        return saved.history, saved.divergence

    @property
    def weights(self) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in self.network.state_dict().items()}

    @property
    def momentum(self) -> dict[str, Tensor]:
        buffers = {name: self.optimiser.state[one]["momentum_buffer"] for name, one in self.network.named_parameters()}
        return {name: buffer.clone() for name, buffer in buffers.items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    """Two checkpoints, of a run after one step and after three."""
    with BackgroundCheckpoints(tmp_path / "checkpoint", pytest.fail) as found:
        Run(steps=1, scale=64.0).save(found, HISTORY[:1])
        Run(steps=3, scale=128.0).save(found, HISTORY)
    return found


def test_a_checkpoint_holds_the_state_at_its_epoch_while_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = Event(), Event()
    write = Checkpoints.write

    def write_late(*arguments: Any) -> None:
        begun.set()
        assert go_on.wait(60)
        write(*arguments)

    monkeypatch.setattr(Checkpoints, "write", write_late)
    run = Run(steps=1)
    expected = run.weights, run.momentum
    with BackgroundCheckpoints(tmp_path / "checkpoint", pytest.fail) as checkpoints:
        run.save(checkpoints, HISTORY[:1])
        assert begun.wait(60)
        run.step(2)
        go_on.set()
    assert not same(run.weights, expected[0])
    loaded = Run(1)
    assert loaded.load(checkpoints)[0] == HISTORY[:1]
    assert same(loaded.weights, expected[0])
    assert same(loaded.momentum, expected[1])


def test_the_file_of_tensors_is_the_one_that_safetensors_reads() -> None:
    tensors = {
        "ä": torch.randn(2, 3),
        "scalar": torch.tensor(7),
        "bytes": torch.arange(5, dtype=torch.uint8),
        "none": torch.zeros(0, 4),
    }
    found = load(b"".join(checkpoint.pack_in_parts(tensors)))
    assert same(found, tensors)
    assert {name: value.dtype for name, value in found.items()} == {name: one.dtype for name, one in tensors.items()}


def test_history_weights_and_loss_scale_come_back(checkpoints: Checkpoints) -> None:
    run = Run(1)
    assert run.load(checkpoints) == (HISTORY, None)
    assert same(run.weights, Run(steps=3).weights)
    assert run.scaler.get_scale() == 128.0


@pytest.mark.parametrize("content", [b"", b"\x08\0\0\0\0\0\0\0{}", b"\xff" * 100, pickle.dumps(Trap())])
def test_bytes_that_are_not_tensors_are_refused_and_not_unpickled(checkpoints: Checkpoints, content: bytes) -> None:
    checkpoints.write(3, content)
    with pytest.raises(StageError, match="safetensors"):
        Run().load(checkpoints)


def test_a_checkpoint_of_another_net_is_refused_and_changes_nothing(checkpoints: Checkpoints, tmp_path: Path) -> None:
    run = Run(1)
    run.network[3] = nn.Linear(36, 5)
    before = run.weights
    with pytest.raises(StageError, match=rf"^{tmp_path}/checkpoint: .* 3\.bias is \(2,\) in it, \(5,\) in the net"):
        run.load(checkpoints)
    assert same(run.weights, before)
