"""The search for one net's hyper-parameters, and what is recorded of it."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path

import torch

from vgg_ablation.device import Compute, matmul_rate
from vgg_ablation.files import write_json, write_table
from vgg_ablation.imagenet import obtain_start
from vgg_ablation.images.batches import RunImages
from vgg_ablation.images.index import verify
from vgg_ablation.runtime import messages, paths
from vgg_ablation.runtime.checkpoints import BackgroundCheckpoints
from vgg_ablation.runtime.console import Console
from vgg_ablation.runtime.cost import Meter
from vgg_ablation.runtime.live import LiveCurves
from vgg_ablation.runtime.locks import locked
from vgg_ablation.runtime.settings import ModelSettings, TrainSettings, TuneSettings
from vgg_ablation.train import experiment
from vgg_ablation.train.epoch import Epoch, describe_epoch
from vgg_ablation.train.experiment import CHECKPOINT, Experiment
from vgg_ablation.train.run import Point, Recipe
from vgg_ablation.train.search import Trial, at_edge, best, finish
from vgg_ablation.train.trials import Trials

SOURCES = (*experiment.SOURCES, "train/search.py", "train/trials.py", "train/tune.py")
"""Files of the package that decide the trials."""
_QUIET = 10.0  # seconds between two lines about epochs


def tune_net(
    arch: str,
    *,
    model: ModelSettings,
    shared: TrainSettings,
    settings: TuneSettings,
    compute: Compute,
    console: Console,
) -> None:
    """Search the hyper-parameters of a net on split 0; write the best ones, all trials and the cost.

    Args:
        arch: name of the net.
        model: settings of the net.
        shared: hyper-parameters that all nets share.
        settings: budget and space of the search.
        compute: device and precision.
        console: receives progress.

    Raises:
        StageError: the images or the stored trials are damaged, or the database or the published weights to start from
            cannot be reached.
    """
    verify(paths.PROCESSED)
    obtain_start(arch, model, console)
    console.say(messages.computing_on(compute))
    results = paths.search(arch)
    shutil.rmtree(results, ignore_errors=True)  # as DVC does: no results of an earlier search stay
    meter = Meter()
    opened = RunImages.open(paths.PROCESSED, 0, model.input_side, compute.device)
    plan = Experiment(arch, 0, opened, model, compute, console.say, meter)
    search = Search(plan, shared, settings)
    trials: list[Trial] = []
    images, _ = plan.epoch_work(settings.batch_size[0])
    with console.parts("trial", settings.trials, settings.epochs, quiet=_QUIET) as parts:
        for number in range(settings.trials):
            trial = search.finish(number, lambda epoch: parts.advance(describe_epoch(epoch, images), epoch.seconds))
            trials.append(trial)
            of_epoch, gmacs = plan.epoch_work(trial.batch_size)
            meter.add(trial.seconds, trial.epochs * of_epoch, trial.epochs * gmacs)
            parts.end(describe_trial(trial))

    columns = ["arch", *(field.name for field in fields(Trial) if field.name != "seconds"), "images"]
    trained = [trial.epochs * plan.epoch_work(trial.batch_size)[0] for trial in trials]
    rows = [{"arch": arch, **asdict(trial), "images": count} for trial, count in zip(trials, trained, strict=True)]
    write_table(results / "trials.csv", columns, [{name: row[name] for name in columns} for row in rows])
    write_json(results / "best.json", summarise(trials, settings, sum(trained)))
    threads, rate = torch.get_num_threads(), matmul_rate(compute)
    meter.write(results, "tune", arch=arch, **compute.names, threads=threads, rate=rate)
    console.made(messages.search_finished(results / "best.json", describe_trial(best(trials))))


def describe_trial(trial: Trial) -> str:
    """Return a line about a finished trial."""
    return messages.trial_finished(
        asdict(trial.point), trial.validation_accuracy, trial.epochs, trial.state, trial.outcome
    )


@dataclass(frozen=True)
class Search:
    """The search of one net, and where its trials are stored."""

    plan: Experiment
    """The net on split 0."""
    shared: TrainSettings
    """Hyper-parameters that all nets share."""
    settings: TuneSettings
    """Budget and space."""

    @cached_property
    def folder(self) -> Path:
        """State folder of the search."""
        # Neither the number of trials nor `refit` decides a trial: a larger search continues a smaller one.
        how = self.settings.model_dump(exclude={"trials"})
        train = self.shared.model_dump(exclude={"refit"})
        return self.plan.folder("tune", *self.settings.batch_size, sources=SOURCES, train=train, tune=how)

    @cached_property
    def trials(self) -> Trials:
        """The finished trials."""
        return Trials(self.folder, self.settings.round_size, self.plan.say)

    def trial_folder(self, number: int) -> Path:
        """Return the state folder of a trial that runs."""
        return self.folder / f"trial-{number}"

    def recipe(self, point: Point) -> Recipe:
        """Return the hyper-parameters of a trial at a point."""
        return Recipe.of(self.shared, point, self.settings.epochs)

    def finished(self) -> list[Trial]:
        """Return the finished trials in the order of their numbers. Raises StageError as `finish`."""
        return [Trial.of(trial) for _, trial in sorted(self.trials.read().items())][: self.settings.trials]

    def finish(self, number: int, watch: Callable[[Epoch], None] = lambda _: None) -> Trial:
        """Return trial `number`: the stored one, or else run it, `watch` each epoch, and store it.

        Trials of one round may run at the same time in several processes. Each has its own lock and checkpoint.

        Raises:
            KeyError: a trial of an earlier round is not finished.
            StageError: the stored trials are damaged, or the database cannot be reached.
        """
        folder = self.trial_folder(number)
        checkpoints = BackgroundCheckpoints(folder / CHECKPOINT, self.plan.say)
        live = LiveCurves(f"{self.plan.arch}/search/trial-{number}", self.folder, self.plan.say)

        def objective(point: Point) -> Iterator[Epoch]:
            images, _ = self.plan.epoch_work(point.batch_size)
            for epoch in self.plan.train(self.recipe(point), checkpoints)[1]:
                live.add(epoch.curve, images / epoch.seconds)
                watch(epoch)
                yield epoch

        with locked(folder, self.plan.say), checkpoints, live:
            classes = len(self.plan.images.batches.pixels.categories)
            trial = finish(objective, classes, self.settings, self.trials, number)
            checkpoints.remove()
            chosen = {"net": self.plan.arch, "epochs": self.settings.epochs, **asdict(trial.point)}
            live.finish(chosen, {"validation_error": 100 - trial.validation_accuracy})
        return trial


def summarise(trials: Sequence[Trial], settings: TuneSettings, images: int) -> dict[str, object]:
    """Return the content of best.json: the chosen point, counts of trials by result, and the budget.

    Args:
        trials: all of the search.
        settings: its budget and space.
        images: training images of all trials.
    """
    winner = best(trials)
    space = {"learning_rate": settings.learning_rate, "weight_decay": settings.weight_decay}
    return {
        **asdict(winner.point),
        "validation_accuracy": winner.validation_accuracy,
        "trials": len(trials),
        "complete": sum(trial.state == "complete" for trial in trials),
        "pruned": sum(trial.state == "pruned" for trial in trials),
        "diverged": sum(trial.outcome in ("diverged", "exploded") for trial in trials),
        "at_chance": sum(trial.outcome == "at chance" for trial in trials),
        "at_edge": [name for name, allowed in space.items() if at_edge(getattr(winner, name), allowed)],
        "epochs": settings.epochs,
        "images": images,
        "space": {name: [allowed.low, allowed.high] for name, allowed in space.items()},
        "batch_sizes": settings.batch_size,
    }
