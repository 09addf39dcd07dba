import math
from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.search_cost.until_good import (
    MethodTrial,
    best_within,
    expected_images_in_random_order,
    images_until_good,
    is_good,
)

Make = Callable[..., MethodTrial]


def test_a_search_costs_its_first_good_trial_and_all_before_it(make: Make) -> None:
    trials = [make(50, 100), make(60, 40), make(79.5, 100), make(80, 100)]
    assert images_until_good(trials, 80) == 240
    assert images_until_good([make(80, 70), make(80)], 80) == 70
    assert images_until_good([make(78.9)] * 40, 80) is None


@pytest.mark.parametrize("state", ["pruned", "diverged"])
def test_a_trial_that_is_not_complete_is_not_good(make: Make, state: str) -> None:
    assert images_until_good([make(80, 30, state), make(80, 100)], 80) == 130


def test_only_the_last_epoch_counts(make: Make) -> None:
    assert not is_good(replace(make(0), accuracies=(80.0, 50.0)), 80)


@given(correct=st.integers(6, 600))
def test_six_images_of_six_hundred_are_within_a_point_and_seven_are_not(make: Make, correct: int) -> None:
    best = round(100 * correct / 600, 2)
    assert is_good(make(round(100 * (correct - 6) / 600, 2)), best)
    if correct > 6:
        assert not is_good(make(round(100 * (correct - 7) / 600, 2)), best)


@pytest.mark.parametrize(("images", "best"), [(99, 0), (100, 50), (139, 50), (140, 50), (240, 70), (1000, 70)])
def test_the_best_so_far_is_that_of_complete_trials_that_have_ended(make: Make, images: int, best: float) -> None:
    assert best_within([make(50, 100), make(90, 40, "pruned"), make(70, 100)], images) == best


def test_the_expected_cost_of_a_grid_is_the_mean_over_all_orders(make: Make) -> None:
    grid = [make(80, 100), make(79.5, 70), make(20, 30), make(10, 100), make(0, 10, "diverged")]
    mean = fmean(images_until_good(order, 80) or math.nan for order in permutations(grid))
    assert math.isclose(expected_images_in_random_order(grid, 80), mean)
