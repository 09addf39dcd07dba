"""Train one net with its tuned settings, a run a split: `python stages/train.py C fixed`.

At the large scale the runs start from the weights of the fixed one, at the jittered scale from those of the large one
(section 3.1): `python stages/train.py C large`, `python stages/train.py C jitter`.
"""

import math
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import torch

from vgg_ablation import paper
from vgg_ablation.device import choose_compute, product_rate
from vgg_ablation.errors import StageError
from vgg_ablation.files import read_json, write_json, write_table
from vgg_ablation.images.batches import RunImages
from vgg_ablation.images.index import LARGE_FOLDER, PACKED, TRAIN, images_in, read_splits, verify
from vgg_ablation.model.table1 import ARCHITECTURES
from vgg_ablation.model.weights import write_weights
from vgg_ablation.runtime.console import stage
from vgg_ablation.runtime.cost import Meter
from vgg_ablation.runtime.params import read_arguments, read_params
from vgg_ablation.runtime.settings import (
    SCALES,
    ComputeSettings,
    DataSettings,
    FineTuneSettings,
    ModelSettings,
    ScalesSettings,
    TrainSettings,
)
from vgg_ablation.runtime.state import file_digest, locked
from vgg_ablation.train.epoch import CURVE_COLUMNS, Epoch
from vgg_ablation.train.experiment import CHECKPOINT, Experiment, Start
from vgg_ablation.train.run import DivergedError, Recipe, at_chance

PROCESSED = Path("data/processed")

with stage(" ".join(["train", *sys.argv[1:]])) as report:
    arch, scale = read_arguments(arch=ARCHITECTURES, scale=SCALES)
    params = read_params()
    runs = params.section("data", DataSettings).splits
    scales = params.section("scales", ScalesSettings)
    model = params.section("model", ModelSettings)
    settings = params.section("train", TrainSettings)
    net = Path("results") / arch
    results = net / scale
    report.alone()
    verify(PROCESSED)
    tuned = read_json(net / "best.json")
    starts: dict[int, Start] = {}
    if scale == "fixed":
        recipe = Recipe(tuned["learning_rate"], tuned["weight_decay"], **settings.model_dump())
    else:
        verify(PROCESSED / LARGE_FOLDER, PACKED)
        rate = paper.FINE_TUNING * tuned["learning_rate"]
        settings = settings.model_copy(update={"epochs": params.section("fine_tune", FineTuneSettings).epochs})
        recipe = Recipe(rate, tuned["weight_decay"], **settings.model_dump())
        before = net / SCALES[SCALES.index(scale) - 1]
        for outcome in read_json(before / "training.json")["runs"]:
            path = before / "weights" / f"run-{outcome['run']}.safetensors"
            starts[outcome["run"]] = Start(path, outcome["weights_sha256"])
            starts[outcome["run"]].verify()
        if len(starts) < runs:
            raise StageError(f"{before / 'training.json'} is of {len(starts)} runs, data.splits of {runs}; train again")

    compute = choose_compute(params.section("compute", ComputeSettings).threads)
    report.say(f"computing on {compute}")
    curves: list[dict[str, object]] = []
    outcomes: list[dict[str, object]] = []
    training_images = classes = 0
    meter = Meter()
    images_in(read_splits(PROCESSED), runs - 1, TRAIN)  # all splits are there, before the long work
    for run in range(runs):
        images = RunImages.open(PROCESSED, run, model.input_side, compute.device)
        if scale != "fixed":
            images = images.rescaled(PROCESSED, scales.of(scale).train, scales.of(scale).single)
        training_images = len(images.training)
        classes = len(images.batches.pixels.categories)
        experiment = Experiment(
            arch, run, images, model, compute, report.say, meter, scale=scale, start=starts.get(run)
        )
        folder = experiment.folder("train", recipe.batch_size, recipe=asdict(recipe))
        epoch_work = experiment.epoch_work(recipe.batch_size)
        reason = ""
        last: Epoch | None = None
        with locked(folder, report.say), report.task(f"run {run + 1}/{runs}, epoch", recipe.epochs) as task:
            network, epochs = experiment.train(recipe, folder / CHECKPOINT)
            try:
                for last in epochs:
                    meter.add(last.seconds, *epoch_work)
                    task.advance(
                        f"loss {last.train_loss:.3f}, validation {last.validation_accuracy:.1f} %, "
                        f"lr {last.learning_rate:.1e}, {training_images / last.seconds:,.0f} images/s"
                    )
                    curves.append({"arch": arch, "scale": scale, "run": run, **last.curve})
            except DivergedError as error:
                meter.add(error.seconds, *epoch_work)
                reason = str(error)
        if last is not None and not reason and at_chance(last, classes):
            reason = (
                f"no better than chance: training loss {last.train_loss:.3f} against ln K = {math.log(classes):.3f}"
            )
        if reason:
            report.say(f"run {run + 1}/{runs} did not train: {reason}")
        weights = results / "weights" / f"run-{run}.safetensors"
        write_weights(weights, network)
        outcome = {"run": run, "seed": run, "did_not_train": bool(reason), "reason": reason}
        start = starts[run].sha256 if run in starts else ""
        outcomes.append({**outcome, "start_sha256": start, "weights_sha256": file_digest(weights)})
        del images, experiment, network, epochs  # their memory, on the device, makes room for those of the next run

    for path in (results / "weights").iterdir():  # of more runs by hand; DVC has removed them already
        if path.name not in {f"run-{run}.safetensors" for run in range(runs)}:
            path.unlink()
    write_table(results / "curves.csv", ["arch", "scale", "run", *CURVE_COLUMNS], curves)
    how = {**settings.model_dump(), **model.model_dump(), **compute.names, "torch": version("torch")}
    how |= {"scale": scale, "learning_rate": recipe.learning_rate}
    write_json(results / "training.json", {"training": {**how, "train_images": training_images}, "runs": outcomes})
    threads = torch.get_num_threads()
    rate = product_rate(compute)
    meter.write(results / "cost", "train", arch=arch, scale=scale, **compute.names, threads=threads, rate=rate)
    report.made(f"{results / 'weights'}: {runs} runs of {recipe.epochs} epochs")
