"""Studies made up for the report's tests, as the files that the other stages write.

What became of each test image is simulated, and every score in `metrics.json` follows from that.
"""

import hashlib
import json
import math
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vgg_ablation.analysis.study import Study, read_partial, read_study
from vgg_ablation.model.table1 import weight_layers
from vgg_ablation.runtime import paths
from vgg_ablation.runtime.names import named, norm_of, plain
from vgg_ablation.runtime.settings import SCALES, StudySettings

EXPECTED = {"A": 36.0, "A_LRN": 36.4, "B": 32.5, "C": 30.5, "D": 27.0, "E": 27.3, "B_5x5": 34.5}
SPACE = {"learning_rate": [1e-4, 1e-1], "weight_decay": [1e-5, 1e-2]}
TRAIN_SCALES: dict[str, Any] = {"fixed": 72, "large": 108, "jitter": [72, 144]}
TEST_SCALES = {"fixed": [64, 72, 80], "large": [100, 108, 116], "jitter": [72, 108, 144]}
PROTOCOLS = {
    "fixed": ["centre", "dense", "dense_scales"],
    "large": ["dense", "dense_scales"],
    "jitter": ["dense", "dense_scales", "multi_crop", "combined"],
}
BETTER = {"centre": -1.5, "dense": 0.0, "dense_scales": 0.7, "multi_crop": 0.5, "combined": 1.2}
"""Percentage points by which a protocol's expected error is below dense."""
BETTER_SCALE = {"fixed": 0.0, "large": 0.5, "jitter": 2.5}
TRAIN, VALIDATION, TEST = 480, 120, 360
IMAGES = TRAIN + VALIDATION + TEST


class Files:
    """A made-up study on disk: change `metrics`, `arrays`, `curves`, `trials`, `pairs` or `summary`, then `read` it.

    `folders`: the source's folders are the split, the same in all runs.
    """

    def __init__(
        self,
        folder: Path,
        archs: Sequence[str],
        runs: int = 5,
        classes: int = 10,
        untrained: Collection[tuple[str, int]] = (),
        scales: Collection[str] = ("fixed",),
        folders: bool = False,
    ):
        self.folder = folder
        self.rng = rng = np.random.default_rng(5)
        self.classes = classes
        self.runs = runs
        self.folders = folders
        self.scales = list(scales)
        self.archs = list(archs)
        self.arrays: dict[str, np.ndarray] = {}
        self.difficulty = rng.normal(0, 1, IMAGES)
        labels = np.arange(IMAGES) % classes
        self.splits = pd.DataFrame({"image": range(IMAGES), "path": [f"{n:04d}.jpg" for n in range(IMAGES)]})
        for run in range(runs):
            parts = np.array(["train"] * TRAIN + ["validation"] * VALIDATION + ["test"] * TEST)
            self.splits[f"split_{run}"] = self.splits["split_0"] if folders and run else rng.permutation(parts)
            images = np.flatnonzero(self.splits[f"split_{run}"] == "test").astype(np.int32)
            self.arrays[f"split/{run}/images"] = images
            self.arrays[f"split/{run}/labels"] = labels[images].astype(np.int16)
        nets = [net(arch, scale, classes) for scale in scales for arch in archs]
        self.metrics: dict[str, Any] = {"nets": nets, "fusions": []}
        for made in nets:
            made["runs"] = [self._run(made, run, (made["arch"], run) in untrained) for run in range(runs)]
        for suffix in ("", "_BN"):
            for fused in ("DE", ("A", "A_LRN", "B", "C", "D", "E")):
                if set(members := [arch + suffix for arch in fused]) <= set(archs):
                    self.metrics["fusions"] += [self._fusion(members, scale) for scale in scales]
        self.curves = pd.DataFrame(
            [
                row
                for scale in scales
                for arch in archs
                for run in range(runs)
                for row in curve(rng, arch, scale, run, classes, (arch, run) in untrained)
            ]
        )
        self.trials = pd.DataFrame([row for arch in archs for row in search(rng, arch, classes)])
        stages = [("download", "", ""), ("preprocess", "", ""), ("near_duplicates", "", "")]
        stages += [("tune", arch, "") for arch in archs]
        stages += [("train", arch, scale) for scale in scales for arch in archs]
        stages += [("evaluate", arch, scale) for scale in scales for arch in archs]
        self.costs = pd.DataFrame([cost(number, *stage) for number, stage in enumerate(stages)])
        pairs = rng.choice(IMAGES // classes, (6, 2), replace=False) * classes
        self.pairs = pd.DataFrame(
            [
                {
                    "image": min(pair),
                    "other": max(pair),
                    "path": f"{min(pair):04d}.jpg",
                    "other_path": f"{max(pair):04d}.jpg",
                    "category": "001.shape",
                    "other_category": "001.shape",
                    "distance": 2,
                }
                for pair in pairs.tolist()
            ]
        )
        self.summary: dict[str, Any] = {
            "source": "sample",
            "archive_sha256": "9f" * 32,
            "images": IMAGES,
            "categories": [f"{number:03d}.shape" for number in range(1, classes + 1)],
            "clutter": False,
            "greyscale": 77,
            "profiles_ignored": 0,
            "excluded": 3,
            "excluded_reasons": {"duplicate": 2, "not an image": 1},
            "duplicates": 2,
            "side": 72,
            "train_per_class": "folders" if folders else 60,
            "train": TRAIN,
            "validation": VALIDATION,
            "test": TEST,
            "splits": runs,
        }

    def _run(self, made: dict[str, Any], run: int, failed: bool) -> dict[str, Any]:
        arch, scale = made["arch"], made["scale"]
        chance = 100 * (1 - 1 / self.classes)
        own = run % 3 + self.rng.normal(0, 1.2)
        protocols = {}
        for protocol in PROTOCOLS[scale]:
            error = chance if failed else EXPECTED[plain(arch)] + own - BETTER[protocol] - BETTER_SCALE[scale]
            protocols[protocol] = self._simulate(arch, scale, run, protocol, error, uniform=failed)
        reason = f"at chance: training loss {math.log(self.classes):.3f} against ln K = {math.log(self.classes):.3f}"
        return {
            "run": run,
            "seed": run,
            "test_images": TEST,
            "did_not_train": failed,
            "reason": reason if failed else "",
            "start_sha256": _digest(arch, SCALES[SCALES.index(scale) - 1], run) if scale != SCALES[0] else "",
            "weights_sha256": _digest(arch, scale, run),
            "training_error": chance if failed else round(abs(own) / 4, 4),
            "protocols": protocols,
        }

    def _fusion(self, members: list[str], scale: str) -> dict[str, Any]:
        runs = []
        for run in range(self.runs):
            protocols = {}
            for protocol in PROTOCOLS[scale]:
                best = min(
                    made["runs"][run]["protocols"][protocol]["top1_error"]
                    for made in self.metrics["nets"]
                    if made["scale"] == scale and made["arch"] in members
                )
                protocols[protocol] = self._simulate("+".join(members), scale, run, protocol, best - 1.5)
            runs.append({"run": run, "test_images": TEST, "protocols": protocols})
        return {"members": members, "scale": scale, "runs": runs}

    def _simulate(
        self, name: str, scale: str, run: int, protocol: str, error: float, *, uniform: bool = False
    ) -> dict[str, float | None]:
        """Simulate a run's outcomes with this top-1 error, to a whole number of images; return its scores.

        Images have a difficulty that all nets share, and each run its own luck beside.
        """
        images, labels = (self.arrays[f"split/{run}/{part}"] for part in ("images", "labels"))
        hardness = self.difficulty[images] + self.rng.normal(0, 0.7, len(images))
        wrong = np.zeros(len(images), dtype=bool)
        wrong[np.argsort(-hardness, kind="stable")[: round(len(images) * error / 100)]] = True
        confidence = self.rng.uniform(0.5, 1, len(images)) - 0.2 * wrong
        true = np.where(wrong, (1 - confidence) * self.rng.uniform(0.2, 1, len(images)), confidence)
        predicted = np.where(wrong, (labels + 1 + images % (self.classes - 1)) % self.classes, labels)
        if uniform:
            predicted, confidence, true = np.zeros_like(labels), *np.full((2, len(images)), 1 / self.classes)
        key = f"{name}/{scale}/{run}/{protocol}"
        self.arrays[f"{key}/class"] = predicted.astype(np.int16)
        self.arrays[f"{key}/confidence"] = confidence.astype(np.float32)
        return scores(predicted, labels, confidence, true, self.classes)

    def set_errors(self, scale: str = "fixed", protocol: str = "dense", **errors: list[float]) -> None:
        """Set the top-1 errors of each net's runs, to a whole number of images, under one protocol."""
        for made in self.metrics["nets"]:
            if made["scale"] == scale:
                for run, error in zip(made["runs"], errors[made["arch"]], strict=True):
                    run["protocols"][protocol] = self._simulate(made["arch"], scale, run["run"], protocol, error)

    def read(self, study: str = "sample") -> Study:
        """Write the files as they are now, all merged, and read them."""
        self.write()
        return self.again(study)

    def again(self, study: str = "sample") -> Study:
        """Read the merged files on disk."""
        return read_study(self.name, self.scale, study, self.settings(), self.folder)

    @property
    def norm(self) -> str:
        norms = {norm_of(arch) for arch in self.archs}
        return norms.pop() if len(norms) == 1 else "all"

    @property
    def name(self) -> str:
        return named("all", self.norm)

    @property
    def scale(self) -> str:
        return self.scales[0] if len(self.scales) == 1 else "all"

    def write(self) -> None:
        """Write the files as they are now, all merged."""
        write_results(self.folder, self.name, self.scale, self.metrics, self.arrays, self.curves, self.costs)
        write_search(self.folder, self.name, self.trials, self.costs)
        self.write_data()

    def write_data(self) -> None:
        """Write the files about the images."""
        processed, pairs = self.folder / "data" / "processed", self.folder / "data" / "near-duplicates"
        for folder in (processed, pairs):
            folder.mkdir(parents=True, exist_ok=True)
        (processed / "summary.json").write_text(json.dumps(self.summary), encoding="utf-8")
        self.splits.to_csv(processed / "splits.csv", index=False)
        self.pairs.to_csv(pairs / "near-duplicates.csv", index=False)
        for stage, folder in (("preprocess", "processed"), ("near_duplicates", "near-duplicates")):
            of_stage = self.costs[self.costs["stage"] == stage]
            of_stage.to_csv(self.folder / "data" / folder / "cost.csv", index=False)

    def write_apart(self) -> Path:
        """Write the files as they are now, each net and scale in its own folders; return the folder of their norm."""
        for made in self.metrics["nets"]:
            arch, scale = made["arch"], made["scale"]
            own = {
                name: array for name, array in self.arrays.items() if name.startswith(("split/", f"{arch}/{scale}/"))
            }
            curves, costs = of(self.curves, arch, scale), of(self.costs, arch, scale)
            write_results(self.folder, arch, scale, {"nets": [made]}, own, curves, costs)
            write_search(self.folder, arch, of(self.trials, arch), of(self.costs, arch))
            results = self.folder / paths.RESULTS
            (paths.training(arch, scale, results) / "training.json").write_text(json.dumps({"runs": made["runs"]}))
            (paths.search(arch, results) / "best.json").write_text(json.dumps(made["tuned"]))
        self.write_data()
        return self.folder / "results" / self.norm

    def read_apart(self, norm: str = "none", scale: str = "fixed") -> Study:
        """Write the files as they are now, each net's in its own folders, and read what is there."""
        self.write_apart()
        return self.partial(norm, scale)

    def partial(self, norm: str = "none", scale: str = "fixed") -> Study:
        """Read the finished nets on disk."""
        return read_partial(norm, scale, "sample", self.settings(), self.folder)

    def settings(self) -> StudySettings:
        """Settings that make such a study."""
        return StudySettings.model_validate(
            {
                "data": {
                    "source": "sample",
                    "categories": "all",
                    "clutter": False,
                    "train_per_class": "folders" if self.folders else 60,
                    "validation_fraction": 0.2,
                    "splits": self.runs,
                    "seed": 0,
                },
                "scales": {scale: {"train": TRAIN_SCALES[scale], "test": TEST_SCALES[scale]} for scale in PROTOCOLS},
                "compute": {"threads": 1},
                "model": {"input_side": 64, "width": 0.25, "dropout": 0.5, "init": "kaiming"},
                "train": {
                    "epochs": 100,
                    "momentum": 0.9,
                    "schedule": "cosine",
                    "warm_up": 0.05,
                    "patience": 5,
                    "colour_shift": 0.1,
                    "refit": False,
                },
                "fine_tune": {"epochs": 40, "rate_factor": 0.1},
                "tune": {
                    "trials": 15,
                    "epochs": 30,
                    **{name: dict(zip(("low", "high"), space, strict=True)) for name, space in SPACE.items()},
                    "batch_size": [64],
                    "sampler": "gp",
                    "random_trials": 3,
                    "round_size": 4,
                    "pruner": "none",
                    "prune_after": 4,
                    "seed": 0,
                },
                "evaluate": {"protocols": PROTOCOLS},
            }
        )


def of(table: pd.DataFrame, arch: str, scale: str | None = None) -> pd.DataFrame:
    """The rows of one net, and of one training scale where there is one."""
    return table[(table["arch"] == arch) & (True if scale is None else table["scale"] == scale)]


def write_results(
    root: Path,
    arch: str,
    scale: str,
    metrics: dict[str, Any],
    arrays: dict[str, np.ndarray],
    curves: pd.DataFrame,
    costs: pd.DataFrame,
) -> None:
    training, evaluation = (part(arch, scale, root / paths.RESULTS) for part in (paths.training, paths.evaluation))
    for folder, stage in ((training, "train"), (evaluation, "evaluate")):
        folder.mkdir(parents=True, exist_ok=True)
        costs[costs["stage"] == stage].to_csv(folder / "cost.csv", index=False)
    (evaluation / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    np.savez(evaluation / "decisions.npz", **arrays)  # pyright: ignore[reportArgumentType]
    curves.to_csv(training / "curves.csv", index=False)


def write_search(root: Path, arch: str, trials: pd.DataFrame, costs: pd.DataFrame) -> None:
    folder = paths.search(arch, root / paths.RESULTS)
    folder.mkdir(parents=True, exist_ok=True)
    trials.to_csv(folder / "trials.csv", index=False)
    costs[costs["stage"] == "tune"].to_csv(folder / "cost.csv", index=False)


def _digest(arch: str, scale: str, run: int) -> str:
    return hashlib.sha256(f"{arch} {scale} {run}".encode()).hexdigest()


def scores(
    predicted: np.ndarray, labels: np.ndarray, confidence: np.ndarray, true: np.ndarray, classes: int
) -> dict[str, float | None]:
    right = predicted == labels
    bins = np.minimum((confidence * 15).astype(int), 14)
    gaps = [abs(right[bins == one].sum() - confidence[bins == one].sum()) for one in np.unique(bins)]
    recalls = [right[labels == label].mean() for label in np.unique(labels)]
    return {
        "top1_error": round(100 * (1 - right.mean()), 4),
        "top5_error": None if classes <= 5 else round(100 * (1 - right.mean()) / 6, 4),
        "mean_class_recall": round(100 * float(np.mean(recalls)), 4),
        "nll": round(float(-np.log(true).mean()), 6),
        "ece": round(100 * sum(gaps) / len(labels), 4),
    }


def cost(number: int, stage: str, arch: str, scale: str) -> dict[str, object]:
    """A line of the cost table: the nth takes n + 10 seconds, all but two of them at work."""
    return {
        "stage": stage,
        "arch": arch,
        "scale": scale,
        "images": 1000 * (number + 1),
        "seconds": number + 10.0,
        "work_seconds": number + 8.0,
        "checkpoint_seconds": 0.5 if stage.startswith("train") else None,
        "device": "cpu",
        "precision": "bfloat16" if arch else "",
        "threads": 2,
        "share_of_limit": 0.125 if arch else None,
        "machine": "A made-up processor, 2 cores, 24 GiB",
        "commit": "c0ffee" * 6 + "c0ff",
        "versions": "Python 3.11.7, torch 2.15.0",
    }


def net(arch: str, scale: str, classes: int) -> dict[str, Any]:
    """A net as `metrics.json` has it, without its runs."""
    fine_tuned, learning_rate = scale != "fixed", 0.1 if arch == "B" else 0.0131
    return {
        "arch": arch,
        "scale": scale,
        "weight_layers": weight_layers(arch),
        "params": 1_234_567 + 100_000 * weight_layers(arch),
        "gmacs": 0.0612 + 0.01 * weight_layers(arch),
        "train_scale": TRAIN_SCALES[scale],
        "test_scales": TEST_SCALES[scale],
        "input_side": 64,
        "classes": classes,
        "tuned": {
            "learning_rate": learning_rate,
            "weight_decay": 0.0004218,
            "batch_size": 64,
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
            "batch_sizes": [64],
        },
        "training": {
            "epochs": 40 if fine_tuned else 100,
            "learning_rate": learning_rate * (0.1 if fine_tuned else 1),
            "batch_size": 64,
            "momentum": 0.9,
            "schedule": "cosine",
            "warm_up": 0.05,
            "patience": 5,
            "colour_shift": 0.1,
            "refit": False,
            "init": "kaiming",
            "dropout": 0.5,
            "width": 0.25,
            "device": "cpu",
            "precision": "bfloat16",
            "torch": "2.15.0",
            "train_images": TRAIN,
        },
    }


def curve(
    rng: np.random.Generator, arch: str, scale: str, run: int, classes: int, failed: bool, epochs: int = 40
) -> list[dict]:
    rows = []
    for epoch in range(1, epochs + 1):
        progress = 0.0 if failed else 1 - math.exp(-epoch / 10)
        rows.append(
            {
                "arch": arch,
                "scale": scale,
                "run": run,
                "epoch": epoch,
                "learning_rate": 0.0131 * (1 + math.cos(math.pi * epoch / epochs)) / 2,
                "train_loss": math.log(classes) * (1 - 0.9 * progress) + rng.normal(0, 0.03),
                "train_error": max(0.0, (100 - 100 / classes) * (1 - 0.95 * progress)),
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
            outcome, accuracy = "diverged", 0.0
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
