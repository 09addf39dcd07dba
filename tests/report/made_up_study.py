"""Studies made up for the report's tests, as the files that the other stages write."""

import json
import math
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vgg_ablation.report import Study, read_study
from vgg_ablation.report.markdown import document
from vgg_ablation.report.sections import lead, sections, title
from vgg_ablation.report.tables import ablation

LAYERS = {"A": 11, "A_LRN": 11, "B": 13, "C": 16, "D": 16, "E": 19}
EXPECTED = {"A": 36.0, "A_LRN": 36.4, "B": 32.5, "C": 30.5, "D": 27.0, "E": 27.3}
SPACE = {"learning_rate": [1e-4, 1e-1], "weight_decay": [1e-5, 1e-2]}


class Files:
    """A made-up study on disk: change `metrics`, `curves`, `trials` or `summary`, then `read` it."""

    def __init__(self, folder: Path, archs: list[str], runs: int, classes: int, untrained: Collection[tuple[str, int]]):
        self.folder = folder
        rng = np.random.default_rng(5)
        self.metrics: dict[str, Any] = {"nets": [net(rng, arch, runs, classes, untrained) for arch in archs]}
        self.curves = pd.DataFrame(
            [
                row
                for arch in archs
                for run in range(runs)
                for row in curve(rng, arch, run, classes, (arch, run) in untrained)
            ]
        )
        self.trials = pd.DataFrame([row for arch in archs for row in search(rng, arch, classes)])
        stages = [("download", ""), ("preprocess", "")]
        stages += [(stage, arch) for stage in ("tune", "train", "evaluate") for arch in archs]
        self.costs = pd.DataFrame([cost(number, stage, arch) for number, (stage, arch) in enumerate(stages)])
        self.summary: dict[str, Any] = {
            "source": "sample",
            "archive_sha256": "9f" * 32,
            "images": 960,
            "categories": [f"{number:03d}.shape" for number in range(1, classes + 1)],
            "clutter": False,
            "greyscale": 77,
            "excluded": 3,
            "excluded_reasons": {"duplicate": 2, "not an image": 1},
            "duplicates": 2,
            "side": 72,
            "train_per_class": 60,
            "train": 480,
            "validation": 120,
            "test": 360,
            "splits": runs,
        }

    def set_errors(self, **errors: list[float]) -> None:
        """Set the dense top-1 errors of each net's runs."""
        for net in self.metrics["nets"]:
            for run, error in zip(net["runs"], errors[net["arch"]], strict=True):
                run["protocols"]["dense"]["top1_error"] = error

    def read(self, study: str = "sample") -> Study:
        """Write the files as they are now and read them back."""
        results = self.folder / "results" / "all"
        results.mkdir(parents=True, exist_ok=True)
        (results / "metrics.json").write_text(json.dumps(self.metrics), encoding="utf-8")
        self.curves.to_csv(results / "curves.csv", index=False)
        self.trials.to_csv(results / "trials.csv", index=False)
        summary = self.folder / "data" / "processed" / "summary.json"
        summary.parent.mkdir(parents=True, exist_ok=True)
        summary.write_text(json.dumps(self.summary), encoding="utf-8")
        for stage, costs in self.costs.groupby("stage"):
            folder = self.folder / "data" / "cost" if costs["arch"].eq("").all() else results / "cost"
            folder.mkdir(parents=True, exist_ok=True)
            costs.to_csv(folder / f"{stage}.csv", index=False)
        return read_study(results, self.folder / "data", study)


def cost(number: int, stage: str, arch: str) -> dict[str, object]:
    """A line of the cost table: the nth takes n + 10 seconds, all but two of them at work."""
    return {
        "stage": stage,
        "arch": arch,
        "images": 1000 * (number + 1),
        "seconds": number + 10.0,
        "work_seconds": number + 8.0,
        "device": "cpu",
        "precision": "bfloat16" if arch else "",
        "threads": 2,
        "share_of_limit": 0.125 if arch else None,
    }


def net(rng: np.random.Generator, arch: str, runs: int, classes: int, untrained: Collection[tuple[str, int]]) -> dict:
    chance = 100 * (1 - 1 / classes)
    made = []
    for run in range(runs):
        failed = (arch, run) in untrained
        protocols = {}
        for protocol, offset in (("centre", 1.5), ("dense", 0.0)):
            error = chance if failed else round(EXPECTED[arch] + offset + run % 3 + rng.normal(0, 1.2), 3)
            protocols[protocol] = {
                "top1_error": error,
                "top5_error": None if classes < 5 else round(error / 6, 3),
                "mean_class_recall": round(100 - error, 3),
            }
        reason = f"at chance: training loss {math.log(classes):.3f} against ln K = {math.log(classes):.3f}"
        made.append(
            {
                "run": run,
                "seed": run,
                "test_images": 360,
                "did_not_train": failed,
                "reason": reason if failed else "",
                "protocols": protocols,
            }
        )
    return {
        "arch": arch,
        "weight_layers": LAYERS[arch],
        "params": 1_234_567 + 100_000 * LAYERS[arch],
        "gmacs": 0.0612 + 0.01 * LAYERS[arch],
        "train_scale": 72,
        "test_scale": 72,
        "input_side": 64,
        "classes": classes,
        "tuned": {
            "learning_rate": 0.1 if arch == "B" else 0.0131,
            "weight_decay": 0.0004218,
            "validation_accuracy": 71.2,
            "trials": 15,
            "complete": 10,
            "pruned": 5,
            "diverged": 1,
            "at_chance": 2,
            "at_edge": ["learning_rate"] if arch == "B" else [],
            "epochs": 30,
            "images": 123_456,
            "space": SPACE,
        },
        "training": {
            "epochs": 100,
            "batch_size": 64,
            "schedule": "cosine",
            "init": "kaiming",
            "batch_norm": False,
            "dropout": 0.5,
            "width": 0.25,
            "device": "cpu",
            "precision": "bfloat16",
            "torch": "2.15.0",
            "train_images": 480,
        },
        "runs": made,
    }


def curve(rng: np.random.Generator, arch: str, run: int, classes: int, failed: bool, epochs: int = 40) -> list[dict]:
    rows = []
    for epoch in range(1, epochs + 1):
        progress = 0.0 if failed else 1 - math.exp(-epoch / 10)
        rows.append(
            {
                "arch": arch,
                "run": run,
                "epoch": epoch,
                "learning_rate": 0.0131 * (1 + math.cos(math.pi * epoch / epochs)) / 2,
                "train_loss": math.log(classes) * (1 - 0.9 * progress) + rng.normal(0, 0.03),
                "validation_loss": math.log(classes) * (1 - 0.6 * progress) + rng.normal(0, 0.05),
                "validation_accuracy": 100 / classes + (60 * progress) + rng.normal(0, 2),
            }
        )
    return rows


def search(rng: np.random.Generator, arch: str, classes: int, trials: int = 15) -> list[dict]:
    rows = []
    for trial in range(trials):
        learning_rate, weight_decay = (
            (1e-2, 5e-4) if trial == 0 else (10 ** rng.uniform(-4, -1), 10 ** rng.uniform(-5, -2))
        )
        state, outcome = "complete", ""
        accuracy = 72 - 14 * (math.log10(learning_rate) + 1.9) ** 2 + rng.normal(0, 1)
        if learning_rate > 0.06:
            outcome, accuracy = "diverged", math.nan
        elif learning_rate < 2e-4:
            outcome, accuracy = "at chance", 100 / classes
        elif accuracy < 55:
            state = "pruned"
        rows.append(
            {
                "arch": arch,
                "trial": trial,
                "state": state,
                "outcome": outcome,
                "learning_rate": learning_rate,
                "weight_decay": weight_decay,
                "validation_accuracy": max(accuracy, 0),
                "epochs": 30 if state == "complete" else 9,
                "images": 480 * 30,
            }
        )
    return rows


Make = Callable[..., Files]


def prose(study: Study) -> str:
    """Return the report's Markdown alone, as drawing figures takes most of a report's time."""
    return document(title(study), lead(study), sections(study, ablation(study)), "")
