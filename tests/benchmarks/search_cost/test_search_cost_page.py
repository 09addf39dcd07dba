import io
from dataclasses import replace

import pandas as pd
import pytest
from made_up_trial import Make

from benchmarks.search_cost.cost import Trial
from benchmarks.search_cost.measure import Measured, Plan
from benchmarks.search_cost.methods import METHODS, Facts
from benchmarks.search_cost.page import document, table
from vgg_ablation.errors import StageError

MADE = "By hand."
GRID_IMAGES = 6400


@pytest.fixture
def measured(made_up: Make) -> Measured:
    """A grid of 64 trials of 100 images, 5 of them good; every method's fourth trial, at 400 images, is too."""

    def seeds(method: str) -> list[list[Trial]]:
        return [
            [made_up(value, method=method, seed=seed, trial=number) for number, value in enumerate((10, 20, 30, 80))]
            for seed in (0, 1)
        ]

    grid = [made_up(80.5 if number == 7 else 80 if number < 4 else 20, trial=number) for number in range(64)]
    return Measured(grid, {method: seeds(method) for method in METHODS}, Facts(10, 600, "cpu", "float32"), 1234.5)


def change(measured: Measured, method: str, *seeds: list[Trial]) -> Measured:
    return replace(measured, searches={**measured.searches, method: list(seeds)})


def line(page: str, start: str) -> list[str]:
    (found,) = (row for row in page.splitlines() if row.startswith(f"| {start}") and "images" not in row)
    return [cell.strip() for cell in found.strip("|").split("|")]


def cost_of(page: str, method: str) -> list[str]:
    return line(page.split("## The best accuracy")[0], f"`{method}`")


def test_the_same_measurement_gives_the_same_page(plan: Plan, measured: Measured) -> None:
    assert document(plan, measured, MADE) == document(plan, measured, MADE)
    assert table(measured) == table(measured)


def test_the_costs_are_those_that_can_be_counted(plan: Plan, measured: Measured) -> None:
    page = document(plan, measured, MADE)
    assert cost_of(page, "gp")[2:] == ["400", "400 to 400", "6.2 %", "2 of 2"]
    whole = [row for row in page.splitlines() if row.startswith("| grid")]
    assert [[cell.strip() for cell in row.split("|")][3] for row in whole] == ["1,083", "6,400"]  # 100 * 65 / 6
    assert "5 of the grid's 64 trials are within 1 point" in page
    assert "80.5 % on 600 images has a standard error of 1.6 points" in page


def test_the_cheapest_is_named(plan: Plan, measured: Measured, made_up: Make) -> None:
    good = [made_up(80, method="halving")]
    page = document(plan, change(measured, "halving", good, good), MADE)
    assert "Cheapest is `halving`, at 1.6 %." in page
    assert "The lowest median is that of `halving`; no other method's range touches its own." in page


def test_where_ours_is_cheapest_no_other_is_named(plan: Plan, measured: Measured) -> None:
    page = document(plan, measured, MADE)
    assert "No other method compared here costs less." in page
    assert "overlaps with that of `tpe`, `halving` and `random`" in page


@pytest.mark.parametrize(("images", "verdict"), [(1600, "25 % or less is met"), (1610, "25 % or less is missed")])
def test_the_aim_is_a_quarter_of_the_grid(
    plan: Plan, measured: Measured, made_up: Make, images: int, verdict: str
) -> None:
    good = [made_up(80, images, method="gp")]
    assert verdict in document(plan, change(measured, "gp", good, good), MADE)


def test_a_seed_that_finds_nothing_counts_as_all_it_processed(plan: Plan, measured: Measured, made_up: Make) -> None:
    good, bad = [made_up(80, method="random")], [made_up(20, method="random")] * 3
    page = document(plan, change(measured, "random", good, bad), MADE)
    assert cost_of(page, "random")[2:] == ["200", "100 to 300", "3.1 %", "1 of 2"]
    assert "`random` found no trial within a point in 1 of 2 seeds within 3 trials" in page


@pytest.mark.parametrize(("accuracy", "within"), [(79.5, "is within"), (79.4, "is not within")])
def test_the_papers_point_which_ours_tries_first_is_judged(
    plan: Plan, measured: Measured, made_up: Make, accuracy: float, within: str
) -> None:
    trials = [made_up(accuracy, method="gp"), made_up(80, method="gp")]
    page = document(plan, change(measured, "gp", trials, trials), MADE)
    assert f"it reaches {accuracy} % here, which {within} a point" in page


def test_a_search_that_does_not_start_at_the_papers_point_is_not_said_to(
    plan: Plan, measured: Measured, made_up: Make
) -> None:
    trials = [replace(made_up(80, method="gp"), learning_rate=2e-2)]
    assert "paper's point" not in document(plan, change(measured, "gp", trials, trials), MADE)


def test_the_best_on_the_way_is_compared_up_to_a_quarter(plan: Plan, measured: Measured) -> None:
    page = document(plan, measured, MADE).split("## The best accuracy")[1]
    assert line(page, "`gp`")[1:] == ["80.0 [80.0, 80.0]"] * 3


def test_the_surest_is_the_method_with_the_least_bad_worst_seed(plan: Plan, measured: Measured, made_up: Make) -> None:
    early, late, never = [[made_up(80)], [made_up(20)] * 8 + [made_up(80)], [made_up(20)] * 2]
    found = change(change(measured, "tpe", early, late), "halving", early, never)
    for method in ("gp", "random"):
        found = change(found, method, [made_up(20)] * 5 + [made_up(80)], [made_up(20)] * 6 + [made_up(80)])
    page = document(plan, found, MADE)
    assert "Cheapest is `halving`" in page
    assert "it is least bad for `gp`, at 10.9 % of the grid's cost" in page


def test_a_study_whose_search_was_not_compared_is_told_so(plan: Plan, measured: Measured) -> None:
    other = replace(plan, tune=plan.tune.model_copy(update={"pruner": "median"}))
    with pytest.raises(StageError, match="gp, tpe, halving, random"):
        document(other, measured, MADE)


def test_the_page_says_how_it_was_made(plan: Plan, measured: Measured) -> None:
    assert f"{MADE} All epochs together took 1,23" in document(plan, measured, MADE)


def test_the_table_holds_every_trial_with_its_curve(measured: Measured) -> None:
    rows = pd.read_csv(io.StringIO(table(measured)))
    assert len(rows) == 64 + len(METHODS) * 2 * 4
    assert list(rows["method"].unique()) == ["grid", *METHODS]
    assert rows["accuracies"][7] == " ".join(["80.50"] * 10)
    assert rows["losses"][0] == " ".join(["1.0000"] * 10)
