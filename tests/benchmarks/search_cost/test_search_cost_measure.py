import math
from pathlib import Path

import pytest

from benchmarks.search_cost.cost import GRID
from benchmarks.search_cost.measure import Measured, Plan, measure
from benchmarks.search_cost.methods import METHODS, grid_points, random_points
from benchmarks.search_cost.page import document, table
from vgg_ablation.runtime.console import Stage
from vgg_ablation.runtime.params import read_params

ROOT = Path(__file__).parents[3]


def test_the_grid_covers_the_space_evenly_ends_included(plan: Plan) -> None:
    points = grid_points(plan.tune, (4, 3))
    assert len(set(points)) == 12
    rates, decays = (sorted({point[axis] for point in points}) for axis in (0, 1))
    assert rates == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1])
    assert [decays[0], decays[-1]] == [1e-5, 1e-2]


def test_random_points_lie_in_the_space_and_follow_the_seed(plan: Plan) -> None:
    settings = plan.tune.model_copy(update={"trials": 200})
    points = list(random_points(settings))
    assert points == list(random_points(settings))
    assert points[0] != next(random_points(settings.model_copy(update={"seed": 1})))
    assert all(1e-4 <= rate <= 1e-1 and 1e-5 <= decay <= 1e-2 for rate, decay in points)
    middle = sum(math.log10(rate) for rate, _ in points) / len(points)
    assert abs(middle + 2.5) < 4 * 3 / math.sqrt(12 * len(points))


def test_the_plan_for_the_sample_validates_on_more_images_of_the_same_kind() -> None:
    plan = Plan.of_study(read_params(ROOT / "params.yaml"))
    assert plan.data.validation_per_class == 60
    assert plan.data.train_per_class - plan.data.validation_per_class == 48
    assert plan.side == 72


@pytest.fixture(scope="module")
def repeated(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> tuple[Measured, Measured, Path]:
    """A tiny measurement of everything, and what a second call makes of the first one's state."""
    folder = tmp_path_factory.mktemp("search-cost")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("DVC_ROOT", raising=False)
        return measure(plan, 2, Stage("test")), measure(plan, 1, Stage("test")), folder


def test_everything_is_measured(plan: Plan, repeated: tuple[Measured, Measured, Path]) -> None:
    measured = repeated[0]
    assert [trial.trial for trial in measured.grid] == [0, 1, 2, 3]
    assert {trial.method for trial in measured.grid} == {GRID}
    assert list(measured.searches) == list(METHODS)
    assert (measured.facts.training_images, measured.facts.validation_images) == (32, 40)
    for seeds in measured.searches.values():
        assert [trials[0].seed for trials in seeds] == [0, 1]
        for trials in seeds:
            assert 1 <= len(trials) <= plan.tune.trials
            assert all(trial.images == 32 and len(trial.accuracies) == 1 for trial in trials)


def test_a_search_ends_once_it_is_good_enough(plan: Plan, repeated: tuple[Measured, Measured, Path]) -> None:
    """A quarter of this grid is one trial."""
    measured = repeated[0]
    for trials in (trials for seeds in measured.searches.values() for trials in seeds):
        good = [trial.accuracy >= measured.best - 1 for trial in trials]
        assert not any(good[:-1])
        assert good[-1] or len(trials) == plan.tune.trials


def test_a_second_call_computes_nothing_and_gives_the_same_page(
    plan: Plan, repeated: tuple[Measured, Measured, Path]
) -> None:
    """The time is that of the stored epochs, to the last digit."""
    first, second, _ = repeated
    assert second == first
    assert table(second) == table(first)
    assert document(plan, second, "") == document(plan, first, "")


def test_all_state_is_under_one_folder(repeated: tuple[Measured, Measured, Path]) -> None:
    folder = repeated[2]
    assert [path.name for path in folder.iterdir()] == [".state"]
    assert [path.name for path in (folder / ".state").iterdir()] == ["search-cost"]
    assert not list(folder.rglob("*.partial"))
