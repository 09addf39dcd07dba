import math
from dataclasses import replace
from itertools import permutations
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_trial import Make

from benchmarks.search_cost.cost import (
    best_within,
    expected_images_in_random_order,
    images_of,
    images_until_good,
    is_good,
)


def test_a_trial_costs_what_it_processed_and_all_before_it(made_up: Make) -> None:
    trials = [made_up(50, 100), made_up(60, 40), made_up(79.5, 100), made_up(80, 100)]
    assert images_until_good(trials, 80) == 240


def test_a_first_trial_that_is_good_costs_itself(made_up: Make) -> None:
    assert images_until_good([made_up(80, 70), made_up(80)], 80) == 70


def test_without_a_good_trial_there_is_no_cost(made_up: Make) -> None:
    assert images_until_good([made_up(78.9)] * 40, 80) is None
    assert images_until_good([], 80) is None


@pytest.mark.parametrize("state", ["pruned", "diverged"])
def test_a_trial_that_cannot_be_chosen_is_not_good(made_up: Make, state: str) -> None:
    assert images_until_good([made_up(80, 30, state), made_up(80, 100)], 80) == 130


def test_a_trial_that_diverged_at_once_has_no_curve(made_up: Make) -> None:
    assert made_up(80, 0, "diverged").accuracy == 0


def test_only_the_last_epoch_counts(made_up: Make) -> None:
    assert not is_good(replace(made_up(0), accuracies=(80.0, 50.0)), 80)


@given(correct=st.integers(6, 600))
def test_six_images_of_six_hundred_are_within_a_point_and_seven_are_not(made_up: Make, correct: int) -> None:
    """Whatever the rounding of their ratios."""
    best = 100 * correct / 600
    assert is_good(made_up(100 * (correct - 6) / 600), best)
    if correct > 6:
        assert not is_good(made_up(100 * (correct - 7) / 600), best)


@pytest.mark.parametrize(("images", "best"), [(99, 0), (100, 50), (139, 50), (140, 50), (240, 70), (1000, 70)])
def test_the_best_on_the_way_is_that_of_trials_that_have_ended(made_up: Make, images: int, best: float) -> None:
    assert best_within([made_up(50, 100), made_up(90, 40, "pruned"), made_up(70, 100)], images) == best


@pytest.mark.parametrize(("count", "good"), [(1, 1), (63, 1), (63, 4), (63, 63), (10, 3)])
def test_a_grid_in_random_order_has_its_first_good_trial_at_the_mean_place(
    made_up: Make, count: int, good: int
) -> None:
    grid = [made_up(80)] * good + [made_up(20)] * (count - good)
    assert math.isclose(expected_images_in_random_order(grid, 80), 100 * (count + 1) / (good + 1))


def test_trials_of_different_cost_are_averaged_over_all_orders(made_up: Make) -> None:
    grid = [made_up(80, 100), made_up(79.5, 70), made_up(20, 30), made_up(10, 100), made_up(0, 10, "diverged")]
    every = fmean(images_until_good(order, 80) or math.nan for order in permutations(grid))
    assert math.isclose(expected_images_in_random_order(grid, 80), every)


def test_all_trials_together_cost_their_sum(made_up: Make) -> None:
    assert images_of([made_up(1, 30), made_up(2, 50)]) == 80
