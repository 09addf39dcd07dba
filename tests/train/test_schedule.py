import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import CosineAnnealingLR, ReduceLROnPlateau

from vgg_ablation.train.schedule import DECREASES, cosine, plateau

ACCURACIES = st.lists(st.integers(0, 6).map(lambda correct: 100 * correct / 7), max_size=40)


def optimiser(rate: float) -> torch.optim.SGD:
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], rate)


@given(accuracies=ACCURACIES, patience=st.integers(0, 5))
def test_plateau_is_torchs_reduce_on_plateau_three_times(accuracies: list[float], patience: int) -> None:
    sgd = optimiser(1.0)
    reference = ReduceLROnPlateau(
        sgd, mode="max", factor=0.1, patience=patience, threshold=0, min_lr=0.1**DECREASES, eps=0
    )
    for accuracy in accuracies:
        reference.step(accuracy)
    assert plateau(accuracies, patience) == pytest.approx(sgd.param_groups[0]["lr"])


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")  # the rate alone is of interest
@given(steps=st.integers(1, 60), rate=st.floats(1e-4, 1))
def test_cosine_is_torchs_cosine_annealing(steps: int, rate: float) -> None:
    sgd = optimiser(rate)
    reference = CosineAnnealingLR(sgd, T_max=steps)
    for step in range(steps):
        assert rate * cosine(step, steps) == pytest.approx(sgd.param_groups[0]["lr"], rel=1e-6, abs=1e-9 * rate)
        reference.step()


@given(accuracies=ACCURACIES, patience=st.integers(0, 5))
def test_plateau_never_goes_below_the_papers_last_rate(accuracies: list[float], patience: int) -> None:
    """Section 3.1: the learning rate was decreased three times."""
    assert plateau([*accuracies, *[0.0] * 40], patience) == pytest.approx(1e-3)


@pytest.mark.parametrize("accuracies", [[], [10.0], [10.0, 20.0, 30.0], [30.0, 20.0], [30.0, 30.0]])
def test_plateau_keeps_the_rate_until_patience_is_exceeded(accuracies: list[float]) -> None:
    assert plateau(accuracies, patience=1) == 1.0


def test_cosine_is_half_way_down_in_the_middle() -> None:
    assert cosine(50, 100) == pytest.approx(0.5)


@given(steps=st.integers(2, 1000))
def test_cosine_falls_from_one_and_never_reaches_zero(steps: int) -> None:
    shares = [cosine(step, steps) for step in range(steps)]
    assert shares[0] == 1
    assert all(late < early for early, late in itertools.pairwise(shares))
    assert shares[-1] == pytest.approx(math.sin(math.pi / (2 * steps)) ** 2)
    assert shares[-1] > 0
