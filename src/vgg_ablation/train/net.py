"""Training of one net at one scale, one run per split, with its tuned hyper-parameters."""

import math
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch

from vgg_ablation.device import Compute, matmul_rate
from vgg_ablation.errors import StageError
from vgg_ablation.files import file_digest, read_json, write_json, write_table
from vgg_ablation.imagenet import obtain_start
from vgg_ablation.images.batches import RunImages
from vgg_ablation.images.index import LARGE_FOLDER, PACKED, TRAIN, images_in, read_splits, verify
from vgg_ablation.model.vgg import VGG
from vgg_ablation.model.weights import Description, verify_weights, write_weights
from vgg_ablation.runtime import messages, paths
from vgg_ablation.runtime.checkpoints import BackgroundCheckpoints
from vgg_ablation.runtime.console import Console, Parts
from vgg_ablation.runtime.cost import Meter
from vgg_ablation.runtime.live import LiveCurves
from vgg_ablation.runtime.locks import locked
from vgg_ablation.runtime.settings import SCALES, FineTuneSettings, ModelSettings, ScalesSettings, TrainSettings
from vgg_ablation.train import experiment
from vgg_ablation.train.epoch import CURVE_COLUMNS, Divergence, Epoch, describe_epoch
from vgg_ablation.train.experiment import CHECKPOINT, Experiment, Start
from vgg_ablation.train.run import Point, Recipe, at_chance

SOURCES = (*experiment.SOURCES, "train/net.py")
"""Files of the package that decide trained weights."""


def train_net(
    arch: str,
    scale: str,
    *,
    runs: int,
    scales: ScalesSettings,
    model: ModelSettings,
    shared: TrainSettings,
    fine_tune: FineTuneSettings,
    compute: Compute,
    console: Console,
) -> None:
    """Train a net at a scale and write its weights, curves, record and cost.

    At the large scale the runs start from the weights of the fixed one, at the jittered scale from those of the large
    one (section 3.1). A run that diverges or stays at chance is recorded as such, with the weights that it ended with.

    Args:
        arch: name of the net.
        scale: training scale, one of `SCALES`.
        runs: number of runs; run r uses split r and seed r.
        scales: sides of training and test images.
        model: settings of the net.
        shared: hyper-parameters that all nets share.
        fine_tune: run length and learning rate at the large and the jittered scale.
        compute: device and precision.
        console: receives progress.

    Raises:
        OSError: results of the search or of the previous scale are missing.
        StageError: images or initial weights are damaged, do not fit the settings, or cannot be obtained.
    """
    verify(paths.PROCESSED)
    if scale != "fixed":
        verify(paths.PROCESSED / LARGE_FOLDER, PACKED)
    tuned = read_json(paths.search(arch) / "best.json")
    point = Point(tuned["learning_rate"], tuned["weight_decay"], tuned["batch_size"])
    recipe = recipe_at(scale, point, shared, fine_tune)
    starts = starting_weights(arch, scale, runs)
    published = obtain_start(arch, model, console) if scale == "fixed" else ""
    images_in(read_splits(paths.PROCESSED), runs - 1, TRAIN)  # raises before the training if a split is missing
    console.say(messages.computing_on(compute))
    folder = paths.training(arch, scale)
    shutil.rmtree(folder, ignore_errors=True)  # as DVC does: no results of an earlier training stay

    meter = Meter()
    curves: list[dict[str, object]] = []
    records: list[dict[str, object]] = []
    train_images = 0
    with console.parts("run", runs, recipe.epochs) as parts:
        for run in range(runs):
            images = images_of_run(run, scale, scales, model, compute, refit=shared.refit)
            train_images = len(images.training)
            plan = Experiment(arch, run, images, model, compute, console.say, meter, scale=scale, start=starts.get(run))
            of_epoch, _ = plan.epoch_work(recipe.point.batch_size)
            network, epochs, reason = train_run(plan, recipe, partial(_advance, parts, of_epoch))
            parts.end()
            if reason:
                console.say(messages.did_not_train(run, runs, reason))
            weights = paths.weights_file(folder, run)
            write_weights(weights, network, describe_net(network, images))
            curves += [{"arch": arch, "scale": scale, "run": run, **epoch.curve} for epoch in epochs]
            records.append(
                {
                    "run": run,
                    "seed": run,
                    "did_not_train": bool(reason),
                    "reason": reason,
                    "start_sha256": starts[run].sha256 if run in starts else published,
                    "weights_sha256": file_digest(weights),
                }
            )
            del images, plan, network  # frees memory of the device for the next run

    write_table(folder / "curves.csv", ["arch", "scale", "run", *CURVE_COLUMNS], curves)
    training = {
        **shared.model_dump(),
        **model.model_dump(),
        **compute.names,
        "epochs": recipe.epochs,
        "torch": version("torch"),
        "scale": scale,
        "learning_rate": recipe.point.learning_rate,
        "batch_size": recipe.point.batch_size,
        "train_images": train_images,
    }
    write_json(folder / "training.json", {"training": training, "runs": records})
    threads, rate = torch.get_num_threads(), matmul_rate(compute)
    meter.write(folder, "train", arch=arch, scale=scale, **compute.names, threads=threads, rate=rate)
    console.made(messages.runs_trained(folder / "weights", runs, recipe.epochs))


def recipe_at(scale: str, point: Point, shared: TrainSettings, fine_tune: FineTuneSettings) -> Recipe:
    """Return a scale's hyper-parameters; beyond the fixed scale, those of section `fine_tune` (section 3.1)."""
    if scale == "fixed":
        return Recipe.of(shared, point)
    slower = replace(point, learning_rate=fine_tune.rate_factor * point.learning_rate)
    return Recipe.of(shared, slower, fine_tune.epochs)


def starting_weights(arch: str, scale: str, runs: int) -> dict[int, Start]:
    """Return the verified weights of the previous scale by run; none at the fixed scale.

    Raises:
        OSError: they are missing.
        StageError: a file is damaged, or there are fewer than `runs`.
    """
    if scale == "fixed":
        return {}
    before = paths.training(arch, SCALES[SCALES.index(scale) - 1])
    record = before / "training.json"
    starts = {
        one["run"]: Start(paths.weights_file(before, one["run"]), one["weights_sha256"])
        for one in read_json(record)["runs"]
    }
    if len(starts) < runs:
        raise StageError(f"{record} has {len(starts)} runs, data.splits = {runs}; train again")
    for start in starts.values():
        verify_weights(start.path, start.sha256)
    return starts


def train_run(plan: Experiment, recipe: Recipe, watch: Callable[[Epoch], None]) -> tuple[VGG, list[Epoch], str]:
    """Train one run, or continue it from its checkpoint, and `watch` each epoch when it ends.

    Returns:
        The trained net, its epochs, and why it did not train, or nothing if it did.
    """
    folder = run_folder(plan, recipe)
    work = plan.epoch_work(recipe.point.batch_size)
    classes = len(plan.images.batches.pixels.categories)
    epochs: list[Epoch] = []
    name = f"{plan.arch}/{plan.scale}/run-{plan.run}"
    saved = BackgroundCheckpoints(folder / CHECKPOINT, plan.say)
    with locked(folder, plan.say), saved as checkpoints, LiveCurves(name, folder, plan.say) as live:
        network, training = plan.train(recipe, checkpoints)
        try:
            for epoch in training:
                plan.meter.add(epoch.seconds, *work)
                plan.meter.checkpoint_seconds += epoch.checkpoint_seconds
                epochs.append(epoch)
                live.add(epoch.curve, work[0] / epoch.seconds)
                watch(epoch)
        except Divergence as error:
            images, gmacs = (0, 0.0) if error.net else work  # those of the other net are not this one's
            plan.meter.add(error.seconds, images, gmacs)
            return network, epochs, str(error)
    if at_chance(epochs[-1], classes):
        loss = f"training loss {epochs[-1].train_loss:.3f} against ln K = {math.log(classes):.3f}"
        return network, epochs, f"no better than chance: {loss}"
    return network, epochs, ""


def _advance(parts: Parts, images: int, epoch: Epoch) -> None:
    parts.advance(describe_epoch(epoch, images), epoch.seconds)


def describe_net(network: VGG, images: RunImages) -> Description:
    """Describe a trained net for those who use its weights; the test scale is that of the validation images."""
    batches = images.batches
    stored = batches.pixels.side
    return Description(
        arch=network.arch,
        width=network.width,
        input_side=network.input_side,
        classes=batches.pixels.categories,
        stored_side=stored,
        test_scale=batches.test_scale or stored,
        mean=tuple(batches.colour.mean.tolist()),
        deviation=tuple(batches.colour.deviation.tolist()),
    )


def run_folder(plan: Experiment, recipe: Recipe) -> Path:
    """Return the state folder of a run."""
    return plan.folder("train", recipe.point.batch_size, sources=SOURCES, recipe=asdict(recipe))


def images_of_run(
    run: int, scale: str, scales: ScalesSettings, model: ModelSettings, compute: Compute, *, refit: bool
) -> RunImages:
    """Return the packed images of a run at a training scale; `refit`: see `RunImages.open`."""
    images = RunImages.open(paths.PROCESSED, run, model.input_side, compute.device, refit=refit)
    if scale == "fixed":
        return images
    return images.rescaled(paths.PROCESSED, scales.of(scale).train, scales.of(scale).single)
