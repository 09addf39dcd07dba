"""Search one net's learning rate and weight decay: `python stages/tune.py C`.

Finished trials are kept in the state folder, or, where the environment variable OPTUNA_STORAGE names one, in a database
(`postgresql+psycopg://user:password@host/name`; Optuna's own commands read the same variable). It is no setting in
params.yaml: where trials are kept does not determine what they come to.
"""

import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path

import torch

from vgg_ablation.device import choose_compute, product_rate
from vgg_ablation.files import write_json, write_table
from vgg_ablation.images.batches import RunImages
from vgg_ablation.images.index import verify
from vgg_ablation.model.table1 import ARCHITECTURES
from vgg_ablation.runtime.checkpoints import Slots
from vgg_ablation.runtime.console import stage
from vgg_ablation.runtime.cost import Meter
from vgg_ablation.runtime.params import read_arguments, read_params
from vgg_ablation.runtime.settings import ComputeSettings, ModelSettings, TrainSettings, TuneSettings
from vgg_ablation.runtime.state import locked
from vgg_ablation.train.epoch import Epoch
from vgg_ablation.train.experiment import Experiment
from vgg_ablation.train.run import Recipe
from vgg_ablation.train.search import Outcome, at_edge, best, search
from vgg_ablation.train.trials import DatabaseLedger, FileLedger

PROCESSED = Path("data/processed")

with stage(" ".join(["tune", *sys.argv[1:]])) as report:
    (arch,) = read_arguments(arch=ARCHITECTURES)
    params = read_params()
    model = params.section("model", ModelSettings)
    shared = params.section("train", TrainSettings)
    settings = params.section("tune", TuneSettings)
    results = Path("results") / arch
    report.alone()
    verify(PROCESSED)

    compute = choose_compute(params.section("compute", ComputeSettings).threads)
    report.say(f"computing on {compute}")
    images = RunImages.open(PROCESSED, 0, model.input_side, compute.device)
    meter = Meter()
    experiment = Experiment(arch, 0, images, model, compute, report.say, meter)
    # More trials of the same search go on where it stood: their number does not determine the others.
    folder = experiment.folder(
        "tune", shared.batch_size, train=shared.model_dump(), tune=settings.model_dump(exclude={"trials"})
    )

    address = os.environ.get("OPTUNA_STORAGE")
    if address:
        ledger = DatabaseLedger(address, "/".join(folder.parts[-2:]), report.say)
    else:
        ledger = FileLedger(folder / "trials", report.say)

    def checkpoint(trial: int) -> Path:
        """Return the stem of what a trial goes on from."""
        return folder / f"trial-{trial}"

    def objective(learning_rate: float, weight_decay: float, trial: int) -> Iterator[Epoch]:
        """Train for the search's epochs."""
        recipe = Recipe(learning_rate, weight_decay, **{**shared.model_dump(), "epochs": settings.epochs})
        return experiment.train(recipe, checkpoint(trial))[1]

    outcomes: list[Outcome] = []
    images_per_epoch, gmacs_per_epoch = experiment.epoch_work(shared.batch_size)
    classes = len(images.batches.pixels.categories)
    with locked(folder, report.say), report.task("trial", settings.trials) as task:
        for outcome in search(objective, classes, settings, ledger):
            outcomes.append(outcome)
            # Not its own: should the ledger's latest state be damaged, the checkpoint knows what this trial came to.
            Slots(checkpoint(outcome.trial - 1), report.say).remove()
            meter.add(outcome.seconds, outcome.epochs * images_per_epoch, outcome.epochs * gmacs_per_epoch)
            task.advance(
                f"lr {outcome.learning_rate:.2e}, weight decay {outcome.weight_decay:.2e}: "
                f"{outcome.validation_accuracy:.1f} % in {outcome.epochs} epochs, {outcome.state}"
                + (f", {outcome.outcome}" if outcome.outcome else "")
            )

    columns = ["arch", *(field.name for field in fields(Outcome) if field.name != "seconds"), "images"]
    rows = [{"arch": arch, **asdict(outcome), "images": outcome.epochs * images_per_epoch} for outcome in outcomes]
    write_table(results / "trials.csv", columns, [{name: row[name] for name in columns} for row in rows])
    winner = best(outcomes)
    space = {"learning_rate": settings.learning_rate, "weight_decay": settings.weight_decay}
    chosen = {"learning_rate": winner.learning_rate, "weight_decay": winner.weight_decay}
    tuned = {
        **chosen,
        "validation_accuracy": winner.validation_accuracy,
        "trials": len(outcomes),
        "complete": sum(outcome.state == "complete" for outcome in outcomes),
        "pruned": sum(outcome.state == "pruned" for outcome in outcomes),
        "diverged": sum(outcome.outcome in ("diverged", "exploded") for outcome in outcomes),
        "at_chance": sum(outcome.outcome == "at chance" for outcome in outcomes),
        "at_edge": [name for name, value in chosen.items() if at_edge(value, space[name])],
        "epochs": settings.epochs,
        "images": sum(row["images"] for row in rows),
        "space": {name: [allowed.low, allowed.high] for name, allowed in space.items()},
    }
    write_json(results / "best.json", tuned)
    Slots(checkpoint(len(outcomes) - 1), report.say).remove()
    threads = torch.get_num_threads()
    meter.write(results / "cost", "tune", arch=arch, **compute.names, threads=threads, rate=product_rate(compute))
    report.made(
        f"{results / 'best.json'}: lr {winner.learning_rate:.2e}, weight decay {winner.weight_decay:.2e} "
        f"({winner.validation_accuracy:.1f} % of the validation images)"
    )
