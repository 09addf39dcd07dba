"""Train one net with its tuned settings, a run a split: `python stages/train.py C`."""

import math
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import torch

from vgg_ablation.data.batches import RunImages
from vgg_ablation.data.packed import TRAIN, images_in, read_splits, verify
from vgg_ablation.data.settings import DataSettings
from vgg_ablation.model.configurations import ARCHITECTURES
from vgg_ablation.model.settings import ModelSettings
from vgg_ablation.model.weights import write_weights
from vgg_ablation.pipeline.compute import choose_compute
from vgg_ablation.pipeline.console import stage
from vgg_ablation.pipeline.cost import Meter
from vgg_ablation.pipeline.files import read_json, write_json, write_table
from vgg_ablation.pipeline.limit import product_rate
from vgg_ablation.pipeline.params import one_of, read_params
from vgg_ablation.pipeline.state import file_digest, locked
from vgg_ablation.train.epoch import CURVE_COLUMNS, Epoch
from vgg_ablation.train.experiment import CHECKPOINT, Experiment
from vgg_ablation.train.run import DivergedError, Recipe, at_chance
from vgg_ablation.train.settings import TrainSettings

PROCESSED = Path("data/processed")

with stage(" ".join(["train", *sys.argv[1:]])) as report:
    one_of("arch", arch := "".join(sys.argv[1:]), ARCHITECTURES)
    params = read_params()
    runs = params.section("data", DataSettings).splits
    model = params.section("model", ModelSettings)
    settings = params.section("train", TrainSettings)
    results = Path("results") / arch
    report.alone()
    verify(PROCESSED)
    tuned = read_json(results / "best.json")
    recipe = Recipe(tuned["learning_rate"], tuned["weight_decay"], **settings.model_dump())

    compute = choose_compute()
    curves: list[dict[str, object]] = []
    outcomes: list[dict[str, object]] = []
    training_images = classes = 0
    meter = Meter()
    images_in(read_splits(PROCESSED), runs - 1, TRAIN)  # all splits are there, before the long work
    for run in range(runs):
        images = RunImages.open(PROCESSED, run, model.input_side, compute.device)
        training_images = len(images.training)
        classes = len(images.batches.pixels.categories)
        experiment = Experiment(arch, run, images, model, compute, report.say, meter)
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
                    curves.append({"arch": arch, "run": run, **last.curve})
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
        outcomes.append({**outcome, "weights_sha256": file_digest(weights)})

    for path in (results / "weights").iterdir():  # of more runs by hand; DVC has removed them already
        if path.name not in {f"run-{run}.safetensors" for run in range(runs)}:
            path.unlink()
    write_table(results / "curves.csv", ["arch", "run", *CURVE_COLUMNS], curves)
    how = {**settings.model_dump(), **model.model_dump(), **compute.names, "torch": version("torch")}
    write_json(results / "training.json", {"training": {**how, "train_images": training_images}, "runs": outcomes})
    threads = torch.get_num_threads()
    meter.write(results / "cost", "train", arch=arch, **compute.names, threads=threads, rate=product_rate(compute))
    report.made(f"{results / 'weights'}: {runs} runs of {recipe.epochs} epochs")
