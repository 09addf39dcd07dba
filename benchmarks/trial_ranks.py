"""Do short trials rank settings as final runs do? `python -m benchmarks.trial_ranks` (make trial-ranks).

Two nets of the study in params.yaml are trained at random points around the search's space for several lengths: its
ranges are made `WIDER` on both sides, as the points of a narrow space are alike. Each length gives each point a score,
as a trial would; the test error after the full length says how good the point is. Writes
docs/trial-ranks.md and the trainings, docs/trial-ranks.csv.
"""

import math
import multiprocessing
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

import pandas as pd

from benchmarks.search_cost.methods import random_points
from vgg_ablation.device import choose_compute
from vgg_ablation.files import write_text
from vgg_ablation.images.batches import RunImages
from vgg_ablation.images.index import TEST, VALIDATION, images_in, read_splits
from vgg_ablation.report.table import Table, decimal
from vgg_ablation.runtime import paths
from vgg_ablation.runtime.checkpoints import BackgroundCheckpoints
from vgg_ablation.runtime.console import stage
from vgg_ablation.runtime.cost import Meter
from vgg_ablation.runtime.names import named
from vgg_ablation.runtime.params import read_params
from vgg_ablation.runtime.provenance import describe_machine
from vgg_ablation.runtime.settings import SearchRange, StudySettings
from vgg_ablation.train.epoch import Divergence, Epoch
from vgg_ablation.train.experiment import Experiment
from vgg_ablation.train.run import Point, Recipe, validate

ARCHS = ("A", "E")
POINTS = 10
SHARES = (0.25, 0.5, 1.0)
"""Lengths of trials over that of final runs."""
WIDER = 2
"""Factor on each end of the ranges of learning rate and weight decay."""
PAGE = Path("docs/trial-ranks.md")


@dataclass(frozen=True)
class ShortTraining:
    """One training; a line of `docs/trial-ranks.csv`."""

    arch: str
    learning_rate: float
    weight_decay: float
    epochs: int
    accuracy: float
    """Percent of the validation images, last epoch; 0 if training diverged."""
    mean_accuracy: float
    """Mean of the last three epochs."""
    loss: float
    """Loss of the validation images, nats, last epoch; infinite if training diverged."""
    test_error: float
    """Percent."""


SCORES: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
    "accuracy of the last epoch": lambda trainings: trainings["accuracy"],
    "mean accuracy of the last three epochs": lambda trainings: trainings["mean_accuracy"],
    "loss of the last epoch": lambda trainings: -trainings["loss"],
}
"""Objectives of a search; more is better."""


def train_at(study: StudySettings, task: tuple[str, tuple[float, float], float]) -> ShortTraining:
    """Train a net on split 0 at a point (learning rate, weight decay) for a share of the epochs."""
    arch, point, share = task
    compute = choose_compute(study.compute.threads)
    images = RunImages.open(paths.PROCESSED, 0, study.model.input_side, compute.device)
    recipe = Recipe.of(study.train, Point(*point, study.tune.batch_size[-1]), round(share * study.train.epochs))
    plan = Experiment(arch, 0, images, study.model, compute, print, Meter())
    epochs: list[Epoch] = []
    with TemporaryDirectory() as folder, BackgroundCheckpoints(Path(folder) / "checkpoint", print) as checkpoints:
        network, training = plan.train(recipe, checkpoints)
        try:
            epochs.extend(training)
        except Divergence:
            return ShortTraining(arch, *point, recipe.epochs, 0.0, 0.0, math.inf, 100.0)
    _, accuracy = validate(network, images.batches, images.test, compute)
    found = [epoch.validation_accuracy or 0.0 for epoch in epochs]
    loss = epochs[-1].validation_loss or math.inf
    return ShortTraining(arch, *point, recipe.epochs, found[-1], fmean(found[-3:]), loss, 100 - accuracy)


def ranks(trainings: Sequence[ShortTraining]) -> Table:
    """Return how far each length and objective ranks the points as their final test errors do.

    Excess: how many points the test error of the best-scored point is above the smallest one.
    """
    frame = pd.DataFrame([asdict(training) for training in trainings])
    body = []
    for arch, of_net in frame.groupby("arch", sort=False):
        of_point = of_net.set_index(["learning_rate", "weight_decay"])
        final = of_point[of_point["epochs"] == of_point["epochs"].max()]["test_error"]
        for epochs, trials in of_point.groupby("epochs"):
            for name, score in SCORES.items():
                scores = score(trials).reindex(final.index).round(6)  # equal but for the last digits: a tie
                rank = scores.corr(-final, method="spearman")
                excess = final[scores.idxmax()] - final.min()
                body.append((str(arch), str(epochs), name, f"{rank:.2f}", decimal(excess)))
    header = ("net", "epochs of the trial", "objective", "rank correlation", "excess, points")
    return Table("trial-ranks", "", header, body)


def page(trainings: Sequence[ShortTraining], study: str, trial_epochs: int, counts: Sequence[int], machine: str) -> str:
    """Return docs/trial-ranks.md.

    Args:
        trainings: all that were measured.
        study: name of the study.
        trial_epochs: epochs of the trials of its search.
        counts: number of validation and test images.
        machine: where it was measured.
    """
    table = ranks(trainings)
    of_search = [row for row in table.rows if row[1:3] == (str(trial_epochs), next(iter(SCORES)))]
    found = " and ".join(f"{rank} ({arch})" for arch, _, _, rank, _ in of_search)
    chosen = " and ".join(f"{excess} ({arch})" for arch, *_, excess in of_search)
    epochs = max(training.epochs for training in trainings)
    rates, decays = ({getattr(one, name) for one in trainings} for name in ("learning_rate", "weight_decay"))
    return f"""\
# Trials and final runs

Generated by `make trial-ranks`; do not edit.

**Trials of {trial_epochs} epochs, as in `{study}`, rank points with a correlation of {found}.
The error of the point that they choose is {chosen} points above that of the best.**

Study `{study}`, {POINTS} random points: learning rates
{min(rates):.2g} to {max(rates):.2g}, weight decays {min(decays):.2g} to {max(decays):.2g}, a wider space than that of
the search. Each was trained for several lengths on split 0 ({machine}). *Rank correlation* (Spearman): between the
objective after a trial, on {counts[0]} validation images, and the error on {counts[1]} test images after {epochs}
epochs. *Excess:* how many points the error of the point that such trials choose is above that of the best point.

{table.markdown()}
"""


def main() -> None:
    """Measure, and write the page and its data."""
    with stage("trial-ranks", saved="") as console:
        params = read_params()
        study = params.whole(StudySettings)
        archs = [named(arch, "none" if params.norm == "none" else "batch") for arch in ARCHS]
        ranges = {
            name: SearchRange(low=one.low / WIDER, high=one.high * WIDER)
            for name, one in (("learning_rate", study.tune.learning_rate), ("weight_decay", study.tune.weight_decay))
        }
        points = list(random_points(study.tune.model_copy(update={"trials": POINTS, **ranges})))
        tasks = list(product(reversed(archs), points, reversed(SHARES)))  # the longest first
        trainings: list[ShortTraining] = []
        with (
            multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool,
            console.task("training", len(tasks)) as progress,
        ):
            for training in pool.imap_unordered(partial(train_at, study), tasks):
                trainings.append(training)
                progress.advance(f"{training.arch}, {training.epochs} epochs: test error {training.test_error:.1f} %")
        trainings.sort(key=lambda one: (one.arch, one.learning_rate, one.epochs))
        splits = read_splits(paths.PROCESSED)
        counts = [len(images_in(splits, 0, part)) for part in (VALIDATION, TEST)]
        table = pd.DataFrame([asdict(training) for training in trainings])
        write_text(PAGE.with_suffix(".csv"), table.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
        write_text(PAGE, page(trainings, params.study, study.tune.epochs, counts, describe_machine()))
        console.made(f"{PAGE} and {PAGE.with_suffix('.csv').name}")


if __name__ == "__main__":
    main()
