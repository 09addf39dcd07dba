"""The measurement: a dense grid first, then searches until each is nearly as good, in processes of one thread each."""

import multiprocessing
import signal
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from io import BytesIO
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

from optuna.trial import FrozenTrial

from benchmarks.search_cost.methods import METHODS, grid_points, random_points
from benchmarks.search_cost.until_good import GRID, MethodTrial, images_of, images_until_good
from vgg_ablation.dataset.preprocess import preprocess
from vgg_ablation.dataset.sample import CATEGORIES, render_sample
from vgg_ablation.device import choose_compute
from vgg_ablation.images.batches import RunImages
from vgg_ablation.runtime.checkpoints import BackgroundCheckpoints
from vgg_ablation.runtime.console import Console
from vgg_ablation.runtime.cost import Meter
from vgg_ablation.runtime.settings import StudySettings
from vgg_ablation.train.epoch import Divergence, Epoch
from vgg_ablation.train.experiment import Experiment
from vgg_ablation.train.run import Point, Recipe
from vgg_ablation.train.search import Trial, run_trial

ARCH = "A_BN"
TRAIN_PER_CLASS, VALIDATION_PER_CLASS = 48, 60
"""Images a category."""
LEARNING_RATE, WEIGHT_DECAY = (1e-4, 1e-1), (1e-5, 1e-2)
"""Space of the searches and the grid: wide, so that most points are bad. In that of `sample` nearly all are good."""
EPOCHS = 10
"""Epochs of a trial that is not pruned."""
ROUND_SIZE, RANDOM_TRIALS = 1, 3
"""Trials of a round, and trials before a sampler uses what it has seen."""
GRID_SHAPE = 9, 7
"""Learning rates, weight decays."""
SEEDS = 5
BUDGET = 40
"""Most trials of a search."""
AIM = 0.25
"""Share of the grid's cost; every search continues until it has cost as much, so that all can be compared there."""


@dataclass(frozen=True)
class Plan:
    """All that determines the trials."""

    study: StudySettings
    """Settings of the study, one batch size. `tune.trials` is the budget of one search; `tune.seed` is not used."""
    grid: tuple[int, int]
    """Learning rates, weight decays."""
    seeds: int
    """Searches a method."""

    @classmethod
    def of_study(cls, study: StudySettings) -> "Plan":
        """Return the plan for a study's model, training and search method, with images and a space of its own."""
        images = TRAIN_PER_CLASS + VALIDATION_PER_CLASS
        share = {"train_per_class": images, "validation_fraction": VALIDATION_PER_CLASS / images, "splits": 1}
        data = study.data.model_copy(update=share)
        # The grid has no axis of batch sizes: all trials have the largest.
        own: dict[str, object] = {
            "trials": BUDGET,
            "epochs": EPOCHS,
            "round_size": ROUND_SIZE,
            "random_trials": RANDOM_TRIALS,
        }
        for name, (low, high) in {"learning_rate": LEARNING_RATE, "weight_decay": WEIGHT_DECAY}.items():
            own[name] = getattr(study.tune, name).model_copy(update={"low": low, "high": high})
        tune = study.tune.model_copy(update=own | {"batch_size": study.tune.batch_size[-1:]})
        return cls(study.model_copy(update={"data": data, "tune": tune}), GRID_SHAPE, SEEDS)


@dataclass(frozen=True)
class Facts:
    """Images and machine, as a process reports them."""

    training_images: int
    """Training images of an epoch: whole batches."""
    validation_images: int
    device: str
    precision: str


class Trainer:
    """Runs trials on the images in `folder`: all start from the same weights and see the same crops."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self._study = plan.study
        self._points = grid_points(plan.study.tune, plan.grid)
        (self._batch_size,) = plan.study.tune.batch_size
        compute = choose_compute(threads=1)
        images = RunImages.open(folder, 0, plan.study.model.input_side, compute.device)
        self._experiment = Experiment(ARCH, 0, images, plan.study.model, compute, print, Meter())
        training_images, _ = self._experiment.epoch_work(self._batch_size)
        self.facts = Facts(training_images, len(images.validation), **compute.names)

    def grid_trial(self, number: int) -> MethodTrial:
        """Train at one point of the grid."""
        return self._to_the_end(GRID, 0, number, self._points[number])

    def search(self, method: str, seed: int) -> Iterator[MethodTrial]:
        """Yield the trials of one search as they end."""
        # Trials are seeded by the search's seed plus their number: leave room for all of one search.
        settings = self._study.tune.model_copy(update={"seed": seed * self._study.tune.trials})
        how = METHODS[method]
        if how.settings is None:
            yield from (self._to_the_end(method, seed, *each) for each in enumerate(random_points(settings)))
            return
        curve: list[Epoch] = []

        def objective(point: Point) -> Iterator[Epoch]:
            curve.clear()
            for epoch in self._epochs(point):
                curve.append(epoch)
                yield epoch

        settings = settings.model_copy(update=how.settings)
        trials: list[FrozenTrial] = []
        for number in range(settings.trials):
            earlier = trials[: number - number % settings.round_size]
            trials.append(run_trial(objective, len(CATEGORIES), settings, earlier, number, how.pruner))
            found = Trial.of(trials[-1])
            state = found.state if found.outcome in ("", "at chance") else "diverged"
            point = found.learning_rate, found.weight_decay
            yield self._trial(method, seed, found.trial, state, point, found.epochs, curve)

    def search_until_good(self, best: float, enough: float, method: str, seed: int) -> list[MethodTrial]:
        """Search until a trial is good and `enough` images were processed, or until the trials are used up."""
        trials: list[MethodTrial] = []
        for trial in self.search(method, seed):
            trials.append(trial)
            if images_until_good(trials, best) is not None and images_of(trials) >= enough:
                break
        return trials

    def _to_the_end(self, method: str, seed: int, number: int, point: tuple[float, float]) -> MethodTrial:
        curve: list[Epoch] = []
        try:
            curve.extend(self._epochs(Point(*point, self._batch_size)))
        except Divergence as error:
            return self._trial(method, seed, number, "diverged", point, error.epoch, curve)
        return self._trial(method, seed, number, "complete", point, len(curve), curve)

    def _epochs(self, point: Point) -> Iterator[Epoch]:
        with TemporaryDirectory() as folder, BackgroundCheckpoints(Path(folder) / "checkpoint", print) as checkpoints:
            recipe = Recipe.of(self._study.train, point, self._study.tune.epochs)
            yield from self._experiment.train(recipe, checkpoints)[1]

    def _trial(
        self, method: str, seed: int, number: int, state: str, point: tuple[float, float], run: int, curve: list[Epoch]
    ) -> MethodTrial:
        return MethodTrial(
            method, seed, number, state, *point, images=run * self.facts.training_images,
            accuracies=tuple(round(each, 2) for epoch in curve if (each := epoch.validation_accuracy) is not None),
            losses=tuple(round(each, 4) for epoch in curve if (each := epoch.validation_loss) is not None),
            seconds=sum(epoch.seconds for epoch in curve),
        )  # fmt: skip


_trainer = cache(Trainer)  # once a process


def _grid_trial(plan: Plan, folder: Path, number: int) -> MethodTrial:
    return _trainer(plan, folder).grid_trial(number)


def _search(plan: Plan, folder: Path, best: float, enough: float, task: tuple[str, int]) -> list[MethodTrial]:
    return _trainer(plan, folder).search_until_good(best, enough, *task)


def _facts(plan: Plan, folder: Path) -> Facts:
    return _trainer(plan, folder).facts


def _ignore_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C and ends its workers


def measure(plan: Plan, processes: int, folder: Path, console: Console) -> tuple[list[MethodTrial], Facts]:
    """Return the trials of the grid and of all searches, in the order of methods and seeds.

    The number of processes changes only the time. `folder` holds the images.
    """
    _prepare(plan.study, folder, console)
    # Spawned, as a fork of a process in which torch has computed may hang.
    with multiprocessing.get_context("spawn").Pool(processes, initializer=_ignore_interrupt) as pool:
        grid: list[MethodTrial] = []
        count = len(grid_points(plan.study.tune, plan.grid))
        with console.task("grid point", count, quiet=5.0) as task:
            for trial in pool.imap(partial(_grid_trial, plan, folder), range(count)):
                grid.append(trial)
                task.advance(f"{trial.accuracy:.1f} %, {trial.state}")
        best = max(trial.accuracy for trial in grid)
        searches: dict[tuple[str, int], list[MethodTrial]] = {}
        # The last methods first: those without a pruner take longest.
        todo = list(product(reversed(METHODS), range(plan.seeds)))
        with console.task("search", len(todo)) as task:
            for trials in pool.imap_unordered(partial(_search, plan, folder, best, AIM * images_of(grid)), todo):
                key = trials[0].method, trials[0].seed
                searches[key] = trials
                task.advance(f"{key[0]}, seed {key[1]}: {max(trial.accuracy for trial in trials):.1f} %")
        facts = pool.apply(_facts, (plan, folder))
    return grid + [trial for key in product(METHODS, range(plan.seeds)) for trial in searches[key]], facts


def _prepare(study: StudySettings, folder: Path, console: Console) -> None:
    """Render and pack the images: one more a category than training and validation take, as a split has test images."""
    archive = folder / "rendered.tar"
    per_category = int(study.data.train_per_class) + 1
    with (
        console.task("rendering", per_category * len(CATEGORIES), quiet=5.0) as task,
        tarfile.open(archive, "w") as tar,
    ):
        for path, content in render_sample(per_category):
            info = tarfile.TarInfo(path)
            info.size = len(content)
            tar.addfile(info, BytesIO(content))
            task.advance()
    preprocess(archive, study.data, study.scales, folder, console)
