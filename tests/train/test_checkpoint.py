from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vgg_ablation.train import checkpoint
from vgg_ablation.train.epoch import Epoch

HISTORY = [Epoch(1, 0.01, 2.5, 2.25, 12.5, 7.5), Epoch(2, 0.01 / 3, 0.1 + 0.2, 1e-17, 100 / 3, 0.7)]


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

    def save(self, path: Path) -> None:
        checkpoint.save(path, self.network, self.optimiser, self.scaler, HISTORY)

    def load(self, path: Path) -> list[Epoch]:
        return checkpoint.load(path, self.network, self.optimiser, self.scaler)

    @property
    def weights(self) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in self.network.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    Run(steps=3, scale=128.0).save(tmp_path / "checkpoint.safetensors")
    return tmp_path / "checkpoint.safetensors"


def test_the_history_comes_back_to_the_last_bit(saved: Path) -> None:
    assert Run(1).load(saved) == HISTORY


def test_the_weights_come_back(saved: Path) -> None:
    run = Run(1)
    run.load(saved)
    assert same(run.weights, Run(steps=3).weights)


def test_the_next_steps_are_those_of_the_run_that_was_saved(saved: Path) -> None:
    """So the momentum came back."""
    run, uninterrupted = Run(1), Run(steps=3)
    run.load(saved)
    for one in (run, uninterrupted):
        one.step(2)
    assert same(run.weights, uninterrupted.weights)


def test_a_run_without_a_step_comes_back(tmp_path: Path) -> None:
    Run().save(tmp_path / "file")
    run = Run(1)
    run.load(tmp_path / "file")
    assert same(run.weights, Run().weights)


def test_the_loss_scale_comes_back(saved: Path) -> None:
    run = Run(1)
    run.load(saved)
    assert run.scaler.get_scale() == 128.0


def test_no_file_is_no_history(tmp_path: Path) -> None:
    assert Run().load(tmp_path / "absent") == []


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True))
@example(share=0.0)
@example(share=0.5)
def test_a_file_cut_short_counts_as_none(saved: Path, share: float) -> None:
    cut = saved.with_name("cut")
    whole = saved.read_bytes()
    cut.write_bytes(whole[: int(share * len(whole))])
    run = Run(1)
    assert run.load(cut) == []
    assert same(run.weights, Run(1).weights)


def rewritten(path: Path, *, tensors: dict[str, Tensor] | None = None, **metadata: str) -> None:
    """Write the file again with other tensors or other metadata."""
    with safe_open(path, framework="pt") as file:
        before = file.metadata()
    save_file(load_file(path) if tensors is None else tensors, path, before | metadata)


def without_metadata(path: Path) -> None:
    save_file(load_file(path), path)


def of_another_net(path: Path) -> None:
    rewritten(path, tensors={"network.0.weight": torch.zeros(2, 2)})


def with_a_weight_missing(path: Path) -> None:
    rewritten(path, tensors={name: value for name, value in load_file(path).items() if name != "network.3.bias"})


def with_a_broken_history(path: Path) -> None:
    rewritten(path, history="[{")


def with_a_history_of_other_columns(path: Path) -> None:
    rewritten(path, history='[{"epoch": 1}]')


def with_a_broken_scale(path: Path) -> None:
    rewritten(path, scaler="{")


def with_text_before_it(path: Path) -> None:
    path.write_bytes(b"\0 no checkpoint" + path.read_bytes())


@pytest.mark.parametrize(
    "damage",
    [without_metadata, of_another_net, with_a_weight_missing, with_a_broken_history, with_a_history_of_other_columns,
     with_a_broken_scale, with_text_before_it],
)  # fmt: skip
def test_a_damaged_file_counts_as_none(saved: Path, damage: Callable[[Path], None]) -> None:
    damage(saved)
    run = Run(1)
    assert run.load(saved) == []
    assert same(run.weights, Run(1).weights)


@pytest.mark.parametrize("error", [OSError(28, "No space left"), SafetensorError("I/O error: No space left")])
def test_a_failure_while_saving_is_an_os_error_and_keeps_the_checkpoint_before(
    saved: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    before = saved.read_bytes()

    def fail(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
        path.write_bytes(b"half")
        raise error

    monkeypatch.setattr(checkpoint, "save_file", fail)
    with pytest.raises(OSError, match="No space"):
        Run(steps=5).save(saved)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]
