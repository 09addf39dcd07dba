import math
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import pytest

from benchmarks.search_cost.measure import Facts, Plan, Trainer, measure
from benchmarks.search_cost.methods import METHODS, grid_points, method_of, random_points
from benchmarks.search_cost.until_good import GRID, MethodTrial
from vgg_ablation.dataset.splits import validation_images
from vgg_ablation.errors import StageError
from vgg_ablation.files import read_json
from vgg_ablation.runtime.console import Console
from vgg_ablation.runtime.params import read_params
from vgg_ablation.runtime.settings import StudySettings

ROOT = Path(__file__).parents[3]


def test_the_grid_covers_the_space_evenly_with_both_ends(plan: Plan) -> None:
    points = grid_points(plan.study.tune, (4, 3))
    rates, decays = (sorted({point[axis] for point in points}) for axis in (0, 1))
    assert rates == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1])
    assert decays == pytest.approx([1e-5, 1e-3, 1e-1])
    assert len(set(points)) == 12


def test_random_points_are_log_uniform_in_the_space_and_follow_the_seed(plan: Plan) -> None:
    settings = plan.study.tune.model_copy(update={"trials": 200})
    points = list(random_points(settings))
    assert points == list(random_points(settings))
    assert points[0] != next(random_points(settings.model_copy(update={"seed": 1})))
    assert all(1e-4 <= rate <= 1e-1 and 1e-5 <= decay <= 1e-1 for rate, decay in points)
    middle = sum(math.log10(rate) for rate, _ in points) / len(points)
    assert abs(middle + 2.5) < 4 * 3 / math.sqrt(12 * len(points))


def test_a_search_that_is_not_compared_is_refused_with_those_that_are(plan: Plan) -> None:
    with pytest.raises(StageError, match="gp, tpe, halving, random"):
        method_of(plan.study.tune.model_copy(update={"pruner": "median"}))


def test_the_plan_has_the_images_and_the_space_of_the_page_whatever_the_study() -> None:
    plan = Plan.of_study(read_params(ROOT / "params.yaml").whole(StudySettings))
    page, tune = read_json(ROOT / "docs" / "search-cost.json"), plan.study.tune
    assert list(plan.grid) == page["grid"]
    for name in ("epochs", "trials", "round_size", "random_trials"):
        assert getattr(tune, name) == page[name]
    for name in ("learning_rate", "weight_decay"):
        assert [getattr(tune, name).low, getattr(tune, name).high] == page[name]
    drawn = int(plan.study.data.train_per_class)
    assert validation_images(drawn, plan.study.data.validation_fraction) == 60
    assert drawn - 60 == 48


class Measured(NamedTuple):
    """A measurement in another process, and its folder of images."""

    trials: list[MethodTrial]
    facts: Facts
    folder: Path

    def of(self, method: str, seed: int = 0) -> list[MethodTrial]:
        return [trial for trial in self.trials if (trial.method, trial.seed) == (method, seed)]


@pytest.fixture(scope="module")
def measured(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Measured:
    folder = tmp_path_factory.mktemp("search-cost")
    return Measured(*measure(plan, 1, folder, Console("test")), folder)


def test_everything_is_measured_in_order(measured: Measured) -> None:
    assert (measured.facts.training_images, measured.facts.validation_images) == (32, 40)
    assert [trial.trial for trial in measured.of(GRID)] == [0, 1, 2, 3]
    assert list(dict.fromkeys((trial.method, trial.seed) for trial in measured.trials)) == [
        (GRID, 0),
        *((method, seed) for method in METHODS for seed in (0, 1)),
    ]
    assert all(trial.images == 32 and len(trial.accuracies) == 1 for trial in measured.trials)


def test_a_search_ends_when_it_is_good_enough(plan: Plan, measured: Measured) -> None:
    """A quarter of this grid is one trial."""
    best = max(trial.accuracy for trial in measured.of(GRID))
    for method in METHODS:
        good = [trial.accuracy >= best - 1 for trial in measured.of(method)]
        assert not any(good[:-1])
        assert good[-1] or len(good) == plan.study.tune.trials


@pytest.mark.usefixtures("torch_as_before")
def test_a_search_in_this_process_gives_the_same_trials(plan: Plan, measured: Measured) -> None:
    trials = list(islice(Trainer(plan, measured.folder).search("gp", 1), len(measured.of("gp", 1))))
    assert trials == measured.of("gp", 1)
