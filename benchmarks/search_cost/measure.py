"""The measurement: a dense grid first, then searches until each is nearly as good, in processes of one thread each."""

import multiprocessing
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from itertools import product
from pathlib import Path

from benchmarks.search_cost.cost import GRID, Trial, images_of, images_until_good
from benchmarks.search_cost.curves import Curves
from benchmarks.search_cost.images import prepare
from benchmarks.search_cost.methods import METHODS, Facts, Trainer, grid_points
from vgg_ablation.device import choose_compute
from vgg_ablation.images.batches import RunImages
from vgg_ablation.runtime.console import Stage
from vgg_ablation.runtime.cost import Meter
from vgg_ablation.runtime.params import Params
from vgg_ablation.runtime.settings import DataSettings, ModelSettings, ScalesSettings, TrainSettings, TuneSettings
from vgg_ablation.train.epoch import Epoch
from vgg_ablation.train.experiment import Experiment
from vgg_ablation.train.run import Recipe

ARCH = "A"
TRAIN_PER_CLASS, VALIDATION_PER_CLASS = 48, 60
"""Images a category: to train on as many as in `sample`, to validate on five times as many."""
GRID_SHAPE = 9, 7
"""Learning rates, weight decays."""
SEEDS = 5
BUDGET = 40
"""Trials that a search is cut off after."""
AIM = 0.25
"""Of what the whole grid costs; a search goes on that far at least, so that what is found by then can be compared."""


@dataclass(frozen=True)
class Plan:
    """All that determines the trials."""

    data: DataSettings
    side: int
    """Smallest side of the images in pixels: that of the fixed training scale."""
    model: ModelSettings
    train: TrainSettings
    tune: TuneSettings
    """Its `trials` are those that a search is cut off after, its `seed` is not used."""
    grid: tuple[int, int]
    """Learning rates, weight decays."""
    seeds: int
    """Searches by each method."""

    @classmethod
    def of_study(cls, params: Params) -> "Plan":
        """Return the plan for a study's model, training and search, with more images to validate on.

        Raises:
            SettingsError: a setting is wrong.
        """
        images = TRAIN_PER_CLASS + VALIDATION_PER_CLASS
        changes = {"train_per_class": images, "validation_fraction": VALIDATION_PER_CLASS / images, "splits": 1}
        return cls(
            data=params.section("data", DataSettings).model_copy(update=changes),
            side=params.section("scales", ScalesSettings).fixed.train,
            model=params.section("model", ModelSettings),
            train=params.section("train", TrainSettings),
            tune=params.section("tune", TuneSettings).model_copy(update={"trials": BUDGET}),
            grid=GRID_SHAPE,
            seeds=SEEDS,
        )


@dataclass(frozen=True)
class Measured:
    """What came of the plan."""

    grid: list[Trial]
    searches: dict[str, list[list[Trial]]]
    """By method, the trials of each seed in their order."""
    facts: Facts
    seconds: float
    """Of all epochs, each on one thread."""

    @property
    def best(self) -> float:
        """The grid's best accuracy, percent."""
        return max(trial.accuracy for trial in self.grid)


def measure(plan: Plan, processes: int, report: Stage) -> Measured:
    """Carry out the plan; what an earlier call stored is not computed again. More processes change the time alone."""
    folder = prepare(plan.data, plan.side, report)
    # Spawned, as a fork of a process in which torch has computed may hang.
    with multiprocessing.get_context("spawn").Pool(processes, initializer=_start_worker) as pool:
        count = len(grid_points(plan.tune, plan.grid))
        grid: list[Trial] = []
        with report.task("trial of the grid", count, quiet=5.0) as task:
            for trial in pool.imap(partial(_try_grid_point, plan, folder), range(count)):
                grid.append(trial)
                task.advance(f"{trial.accuracy:.1f} %, {trial.state}")
        best = max(trial.accuracy for trial in grid)
        searches: dict[str, list[list[Trial]]] = {method: [] for method in METHODS}
        # From the last method to the first: those that prune nothing take longest.
        tasks = list(product(reversed(METHODS), range(plan.seeds)))
        with report.task("search", len(tasks)) as task:
            search = partial(_search, plan, folder, best, AIM * images_of(grid))
            for trials in pool.imap_unordered(search, tasks):
                method, seed = trials[0].method, trials[0].seed
                searches[method].append(trials)
                task.advance(f"{method}, seed {seed}: {max(trial.accuracy for trial in trials):.1f} %")
        for found in searches.values():
            found.sort(key=lambda trials: trials[0].seed)
        facts, seconds = pool.apply(_look_around, (plan, folder))
    return Measured(grid, searches, facts, seconds)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends its workers


def _try_grid_point(plan: Plan, folder: Path, number: int) -> Trial:
    return _trainer(plan, folder).full_trial(GRID, 0, number, grid_points(plan.tune, plan.grid)[number])


def _search(plan: Plan, folder: Path, best: float, enough: float, task: tuple[str, int]) -> list[Trial]:
    """Search until a trial is good and `enough` images were processed, or until the trials are used up."""
    trials: list[Trial] = []
    for trial in _trainer(plan, folder).search(*task):
        trials.append(trial)
        if images_until_good(trials, best) is not None and images_of(trials) >= enough:
            break
    return trials


def _look_around(plan: Plan, folder: Path) -> tuple[Facts, float]:
    trainer = _trainer(plan, folder)
    return trainer.facts, trainer.curves.seconds()


@cache
def _trainer(plan: Plan, folder: Path) -> Trainer:
    """Open the images, once a process."""
    compute = choose_compute(threads=1)
    images = RunImages.open(folder, 0, plan.model.input_side, compute.device)
    experiment = Experiment(ARCH, 0, images, plan.model, compute, print, Meter())

    def train(learning_rate: float, weight_decay: float, checkpoint: Path) -> Iterator[Epoch]:
        recipe = Recipe(learning_rate, weight_decay, **{**plan.train.model_dump(), "epochs": plan.tune.epochs})
        return experiment.train(recipe, checkpoint)[1]

    state = experiment.folder(
        "search-cost/curves", plan.train.batch_size, train=plan.train.model_dump(), epochs=plan.tune.epochs
    )
    batch_size = min(plan.train.batch_size, len(images.training))
    facts = Facts(
        training_images=len(images.training) // batch_size * batch_size,
        validation_images=len(images.validation),
        **compute.names,
    )
    return Trainer(Curves(state, train, plan.tune.epochs), plan.tune, len(images.batches.pixels.categories), facts)
