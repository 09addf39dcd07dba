import os
import pickle
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from vgg_ablation.errors import StageError
from vgg_ablation.runtime.checkpoints import Checkpoints
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

    def save(self, checkpoints: Checkpoints, history: list[Epoch], divergence: Divergence | None = None) -> None:
        checkpoint.save(checkpoints, self.network, self.optimiser, self.scaler, history, divergence)

    def load(self, checkpoints: Checkpoints) -> tuple[list[Epoch], Divergence | None]:
        return checkpoint.load(checkpoints, self.network, self.optimiser, self.scaler)

    @property
    def weights(self) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in self.network.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    """Two checkpoints, of a run after one step and after three."""
    found = Checkpoints(tmp_path / "checkpoint", pytest.fail)
    Run(steps=1, scale=64.0).save(found, HISTORY[:1])
    Run(steps=3, scale=128.0).save(found, HISTORY)
    return found


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
