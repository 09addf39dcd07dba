"""The search for one net's learning rate and weight decay, and what is recorded of it."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path

import torch

from vgg_ablation.device import Compute, matmul_rate
from vgg_ablation.files import write_json, write_table
from vgg_ablation.images.batches import RunImages
from vgg_ablation.images.index import verify
from vgg_ablation.runtime import messages, paths
from vgg_ablation.runtime.checkpoints import Checkpoints
from vgg_ablation.runtime.console import Console
from vgg_ablation.runtime.cost import Meter
from vgg_ablation.runtime.locks import locked
from vgg_ablation.runtime.settings import ModelSettings, TrainSettings, TuneSettings
from vgg_ablation.train import experiment
from vgg_ablation.train.epoch import Epoch
from vgg_ablation.train.experiment import CHECKPOINT, Experiment
from vgg_ablation.train.run import Recipe
from vgg_ablation.train.search import Trial, at_edge, best, finish
from vgg_ablation.train.trials import Trials

SOURCES = (*experiment.SOURCES, "train/search.py", "train/trials.py", "train/tune.py")
"""Files of the package that decide the trials."""


def tune_net(
    arch: str,
    *,
    model: ModelSettings,
    shared: TrainSettings,
    settings: TuneSettings,
    compute: Compute,
    console: Console,
) -> None:
    """Search the learning rate and weight decay of a net on split 0; write the best ones, all trials and the cost.

    Args:
        arch: name of the net.
        model: settings of the net.
        shared: hyper-parameters that all nets share.
        settings: budget and space of the search.
        compute: device and precision.
        console: receives progress.

    Raises:
        StageError: the images or the stored trials are damaged, or the database cannot be reached.
    """
    verify(paths.PROCESSED)
    console.say(messages.computing_on(compute))
    results = paths.search(arch)
    shutil.rmtree(results, ignore_errors=True)  # as DVC does: no results of an earlier search stay
    images = RunImages.open(paths.PROCESSED, 0, model.input_side, compute.device)
    meter = Meter()
    plan = Experiment(arch, 0, images, model, compute, console.say, meter)
    search = Search(plan, shared, settings)
    images_per_epoch, gmacs_per_epoch = plan.epoch_work(shared.batch_size)
    trials: list[Trial] = []
    with console.task("trial", settings.trials) as task:
        for number in range(settings.trials):
            trials.append(trial := search.finish(number))
            meter.add(trial.seconds, trial.epochs * images_per_epoch, trial.epochs * gmacs_per_epoch)
            task.advance(
                messages.trial_finished(
                    trial.learning_rate, trial.weight_decay, trial.validation_accuracy, trial.epochs, trial.state,
                    trial.outcome,
                )
            )  # fmt: skip

    columns = ["arch", *(field.name for field in fields(Trial) if field.name != "seconds"), "images"]
    rows = [{"arch": arch, **asdict(trial), "images": trial.epochs * images_per_epoch} for trial in trials]
    write_table(results / "trials.csv", columns, [{name: row[name] for name in columns} for row in rows])
    write_json(results / "best.json", summarise(trials, settings, images_per_epoch))
    threads, rate = torch.get_num_threads(), matmul_rate(compute)
    meter.write(results, "tune", arch=arch, **compute.names, threads=threads, rate=rate)
    chosen = best(trials)
    console.made(
        messages.search_finished(
            results / "best.json", chosen.learning_rate, chosen.weight_decay, chosen.validation_accuracy
        )
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
        # Without the number of trials, which decides none of them: a larger search continues a smaller one.
        how = self.settings.model_dump(exclude={"trials"})
        shared = self.shared
        return self.plan.folder("tune", shared.batch_size, sources=SOURCES, train=shared.model_dump(), tune=how)

    @cached_property
    def trials(self) -> Trials:
        """The finished trials."""
        return Trials(self.folder, self.settings.round_size, self.plan.say)

    def trial_folder(self, number: int) -> Path:
        """Return the state folder of a trial that runs."""
        return self.folder / f"trial-{number}"

    def recipe(self, learning_rate: float, weight_decay: float) -> Recipe:
        """Return the hyper-parameters of a trial at a point."""
        return Recipe.of(self.shared, learning_rate, weight_decay, self.settings.epochs)

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
        checkpoint = self.trial_folder(number) / CHECKPOINT

        def objective(learning_rate: float, weight_decay: float, _: int) -> Iterator[Epoch]:
            recipe = self.recipe(learning_rate, weight_decay)
            for epoch in self.plan.train(recipe, checkpoint)[1]:
                watch(epoch)
                yield epoch

        with locked(checkpoint.parent, self.plan.say):
            classes = len(self.plan.images.batches.pixels.categories)
            trial = finish(objective, classes, self.settings, self.trials, number)
            Checkpoints(checkpoint, self.plan.say).remove()
        return trial


def summarise(trials: Sequence[Trial], settings: TuneSettings, images_per_epoch: int) -> dict[str, object]:
    """Return the content of best.json: the chosen point, counts of trials by result, and the budget."""
    winner = best(trials)
    space = {"learning_rate": settings.learning_rate, "weight_decay": settings.weight_decay}
    chosen = {"learning_rate": winner.learning_rate, "weight_decay": winner.weight_decay}
    return {
        **chosen,
        "validation_accuracy": winner.validation_accuracy,
        "trials": len(trials),
        "complete": sum(trial.state == "complete" for trial in trials),
        "pruned": sum(trial.state == "pruned" for trial in trials),
        "diverged": sum(trial.outcome in ("diverged", "exploded") for trial in trials),
        "at_chance": sum(trial.outcome == "at chance" for trial in trials),
        "at_edge": [name for name, value in chosen.items() if at_edge(value, space[name])],
        "epochs": settings.epochs,
        "images": sum(trial.epochs for trial in trials) * images_per_epoch,
        "space": {name: [allowed.low, allowed.high] for name, allowed in space.items()},
    }
