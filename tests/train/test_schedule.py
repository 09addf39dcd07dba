import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim.lr_scheduler import CosineAnnealingLR, ReduceLROnPlateau

from vgg_ablation.train.schedule import DECREASES, cosine, plateau


def optimiser(rate: float) -> torch.optim.SGD:
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], rate)


@settings(max_examples=40)
@given(
    accuracies=st.lists(st.integers(0, 6).map(lambda correct: 100 * correct / 7), max_size=40),
    patience=st.integers(0, 5),
)
def test_plateau_is_torchs_reduce_on_plateau_three_times(accuracies: list[float], patience: int) -> None:
    """Section 3.1: the learning rate was decreased three times."""
    sgd = optimiser(1.0)
    reference = ReduceLROnPlateau(
        sgd, mode="max", factor=0.1, patience=patience, threshold=0, min_lr=0.1**DECREASES, eps=0
    )
    for accuracy in accuracies:
        reference.step(accuracy)
    assert plateau(accuracies, patience) == pytest.approx(sgd.param_groups[0]["lr"])
    assert plateau([*accuracies, *[0.0] * 40], patience) == pytest.approx(1e-3)


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")  # the rate alone matters here
@settings(max_examples=25)
@given(steps=st.integers(1, 60), rate=st.floats(1e-4, 1))
def test_cosine_is_torchs_cosine_annealing(steps: int, rate: float) -> None:
    sgd = optimiser(rate)
    reference = CosineAnnealingLR(sgd, T_max=steps)
    for step in range(steps):
        assert rate * cosine(step, steps) == pytest.approx(sgd.param_groups[0]["lr"], rel=1e-6, abs=1e-9 * rate)
        reference.step()
