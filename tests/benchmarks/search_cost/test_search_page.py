import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.search_cost.methods import METHODS
from benchmarks.search_cost.page import About, trials_from_csv, trials_to_csv, write_page
from benchmarks.search_cost.until_good import GRID, MethodTrial

Make = Callable[..., MethodTrial]
DOCS = Path(__file__).parents[3] / "docs"
ABOUT = About(
    "A", 0.125, "gp", 10, 40, 1, 3, (8, 8), (1e-4, 1e-1), (1e-5, 1e-2), 10, 600, "cpu", "float32", 2, 9.5,
    {"torch": "2"},
)  # fmt: skip


@pytest.fixture
def trials(make: Make) -> list[MethodTrial]:
    """A grid of 64 trials of 100 images, 5 of them good; the fourth trial of every search, at 400 images, is good."""
    grid = [make(80.5 if number == 7 else 80 if number < 4 else 20, trial=number) for number in range(64)]
    searches = [
        make(value, method=method, seed=seed, trial=number)
        for method in METHODS
        for seed in (0, 1)
        for number, value in enumerate((10, 20, 30, 80))
    ]
    return grid + searches


def change(trials: list[MethodTrial], method: str, *seeds: list[MethodTrial]) -> list[MethodTrial]:
    """Return the trials with other searches by one method."""
    others = [trial for trial in trials if trial.method != method]
    return others + [replace(trial, method=method, seed=seed) for seed, some in enumerate(seeds) for trial in some]


def row(text: str, start: str) -> list[str]:
    (found,) = (line for line in text.splitlines() if line.startswith(f"| {start}"))
    return [cell.strip() for cell in found.strip("|").split("|")]


def parts(page: str) -> tuple[str, str]:
    """Return the parts with the table of costs and with the table of the best so far."""
    costs, progress = page.split("## The best accuracy")
    return costs, progress


def test_costs_are_those_counted_by_hand(trials: list[MethodTrial]) -> None:
    costs, progress = parts(page := write_page(trials, ABOUT))
    assert row(costs, "`gp`")[2:] == ["400", "400 to 400", "6.2 %", "2 of 2"]
    assert [line.split("|")[3].strip() for line in costs.splitlines() if line.startswith("| grid")] == [
        "1,083",  # 100 * 65 / 6
        "6,400",
    ]
    assert row(progress, "`gp`")[1:] == ["80.0 [80.0, 80.0]"] * 3
    assert "5 of the grid's 64 trials are within 1 point" in page
    assert "80.5 % on 600 images has a standard error of 1.6 points" in page  # 100 * sqrt(0.805 * 0.195 / 600)
    assert "No other method compared here costs less." in page
    assert "overlaps with that of `tpe`, `halving` and `random`" in page


@pytest.mark.parametrize(("images", "verdict"), [(1600, "25 % or less is met"), (1610, "25 % or less is missed")])
def test_the_aim_is_a_quarter_of_the_grid(trials: list[MethodTrial], make: Make, images: int, verdict: str) -> None:
    assert verdict in write_page(change(trials, "gp", [make(80, images)], [make(80, images)]), ABOUT)


def test_a_seed_that_finds_nothing_counts_with_all_it_processed(trials: list[MethodTrial], make: Make) -> None:
    page = write_page(change(trials, "random", [make(80)], [make(20)] * 3), ABOUT)
    assert row(parts(page)[0], "`random`")[2:] == ["200", "100 to 300", "3.1 %", "1 of 2"]
    assert "`random` found no trial within a point in 1 of 2 seeds within 40 trials" in page


@pytest.mark.parametrize(("accuracy", "within"), [(79.5, "is within"), (79.4, "is not within")])
def test_the_papers_point_is_judged(trials: list[MethodTrial], make: Make, accuracy: float, within: str) -> None:
    page = write_page(change(trials, "gp", *2 * [[make(accuracy), make(80)]]), ABOUT)
    assert f"it reaches {accuracy} % here, which {within} a point" in page


def test_the_file_of_trials_holds_every_trial_with_its_curve(trials: list[MethodTrial], make: Make) -> None:
    diverged_at_once = replace(make(0, 0, "diverged"), images=10)
    assert trials_from_csv(trials_to_csv([*trials, diverged_at_once])) == [*trials, diverged_at_once]


def test_the_committed_page_is_made_from_the_committed_trials_and_facts() -> None:
    about = About(**json.loads((DOCS / "search-cost.json").read_text("utf-8")))
    trials = trials_from_csv((DOCS / "search-cost.csv").read_text("utf-8"))
    assert {trial.method for trial in trials} == {GRID, *METHODS}
    assert write_page(trials, about) == (DOCS / "search-cost.md").read_text("utf-8")
