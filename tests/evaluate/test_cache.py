from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vgg_ablation.evaluate.cache import compute_once
from vgg_ablation.runtime.checkpoints import Slots

POSTERIORS = torch.rand(7, 3, generator=torch.Generator().manual_seed(0)).softmax(1)


@pytest.fixture
def counted() -> tuple[Callable[[], Tensor], list[None]]:
    """Return a computation, and a list that is one longer each time it runs."""
    runs: list[None] = []

    def compute() -> Tensor:
        runs.append(None)
        return POSTERIORS

    return compute, runs


def test_posteriors_are_computed_once(tmp_path: Path, counted: tuple[Callable[[], Tensor], list[None]]) -> None:
    compute, runs = counted
    results = [compute_once(Slots(tmp_path / "centre", pytest.fail), compute) for _ in range(3)]
    assert all(torch.equal(found, POSTERIORS) for found, _ in results)
    assert len(runs) == 1


def test_what_they_cost_is_kept_with_them(tmp_path: Path, counted: tuple[Callable[[], Tensor], list[None]]) -> None:
    (_, first), (_, second) = (compute_once(Slots(tmp_path / "centre", pytest.fail), counted[0]) for _ in range(2))
    assert first == second > 0


def test_protocols_are_kept_apart(tmp_path: Path, counted: tuple[Callable[[], Tensor], list[None]]) -> None:
    compute, runs = counted
    for protocol in ("centre", "dense"):
        compute_once(Slots(tmp_path / protocol, pytest.fail), compute)
    assert len(runs) == 2


def test_damaged_posteriors_are_computed_again(
    tmp_path: Path, counted: tuple[Callable[[], Tensor], list[None]]
) -> None:
    compute, runs = counted
    said: list[str] = []
    for _ in range(2):
        found, _ = compute_once(Slots(tmp_path / "centre", said.append), compute)
        assert torch.equal(found, POSTERIORS)
        (tmp_path / "centre.0").write_bytes(b"torn")
    assert len(runs) == 2
    assert len(said) == 1
