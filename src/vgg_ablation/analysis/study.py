"""The results of one study, read from the files of the other stages and checked."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import pandas as pd

from vgg_ablation.analysis.records import (
    PROTOCOLS,
    Data,
    Fusion,
    Metrics,
    Net,
    Tuned,
    WeightsRecord,
    read_record,
    validated,
)
from vgg_ablation.analysis.statistics import Measurements
from vgg_ablation.errors import StageError
from vgg_ablation.evaluate.arrays import read_arrays
from vgg_ablation.model.table1 import ABLATION, ARCHITECTURES
from vgg_ablation.runtime import paths
from vgg_ablation.runtime.cost import Cost
from vgg_ablation.runtime.names import ALL, NORMS, chosen, named, norm_of
from vgg_ablation.runtime.settings import SCALES, StudySettings

CURVE_COLUMNS = {"arch": str, "scale": str, "run": int, "epoch": int}
CURVE_COLUMNS |= dict.fromkeys(("train_loss", "train_error", "validation_accuracy"), float)
CURVE_POINTS = 100
"""Epochs of a run that a report shows, about."""
TRIAL_COLUMNS = {"arch": str, "state": str, "outcome": str}
TRIAL_COLUMNS |= dict.fromkeys(("learning_rate", "weight_decay", "validation_accuracy"), float)
PAIR_COLUMNS = {"image": int, "other": int}
COST_COLUMNS = {column.name: column.type if column.type in (int, str) else float for column in fields(Cost)}
"""The columns that are used, with their types; files may have more."""

_ROUNDING = 1e-3  # percentage points; errors are written with four decimals


@dataclass(frozen=True)
class Decisions:
    """Decisions of one run of a net or fusion on its N test images under one protocol; arrays of (N,)."""

    images: np.ndarray
    """Integer: rows of `index.csv`."""
    labels: np.ndarray
    """Integer: the true classes."""
    predicted: np.ndarray
    """Integer: the classes with the largest posteriors."""
    confidence: np.ndarray
    """Float: the largest posteriors."""

    @property
    def wrong(self) -> np.ndarray:
        """True where the prediction differs from the true class."""
        return self.predicted != self.labels


def decisions_in(arrays: Mapping[str, np.ndarray], name: str, scale: str, run: int, protocol: str) -> Decisions:
    """Return the decisions of a net or fusion in one run. Raises KeyError if they are not there."""
    split, key = f"split/{run}", f"{name}/{scale}/{run}/{protocol}"
    return Decisions(
        *(arrays[one] for one in (f"{split}/images", f"{split}/labels", f"{key}/class", f"{key}/confidence"))
    )


@dataclass(frozen=True)
class Study:
    """All that the report is computed from."""

    name: str
    """Name of the study in `params.yaml`."""
    nets: list[Net]
    """By training scale, then in the order of `ARCHITECTURES`: plain nets first."""
    fusions: list[Fusion]
    arrays: Mapping[str, np.ndarray]
    """Arrays of `decisions.npz` by name, all files merged; see `evaluate.decisions`."""
    curves: pd.DataFrame
    """One row per net, training scale, run and epoch, about `CURVE_POINTS` a run; see `CURVE_COLUMNS`."""
    trials: pd.DataFrame
    """One row per trial of the search; see `TRIAL_COLUMNS`."""
    data: Data
    splits: pd.DataFrame
    """One row per image, by number; columns `split_0`, `split_1`...: `train`, `validation` or `test`."""
    costs: pd.DataFrame
    """One row per stage, net and training scale; see `COST_COLUMNS`, `arch` and `scale` may be empty."""
    near_duplicates: pd.DataFrame | None
    """One row per pair of images with similar perceptual hashes; see `PAIR_COLUMNS`. None: not searched yet."""
    missing: list[tuple[str, str]]
    """Nets and training scales that were asked for and are not there yet."""
    partial: bool
    """True if `read_partial` read it."""
    settings: StudySettings
    """In `params.yaml` now."""
    contact_sheet: bytes | None
    """JPEG: a row of images of each category, under its name. None of photographs: a report may not show them."""

    @property
    def scales(self) -> list[str]:
        """The training scales of the nets."""
        return [scale for scale in SCALES if self.at(scale)]

    @property
    def archs(self) -> list[str]:
        """The nets that are there at any scale."""
        return [arch for arch in ARCHITECTURES if any(net.arch == arch for net in self.nets)]

    @property
    def norms(self) -> list[str]:
        """The normalisations of the nets."""
        return [norm for norm in NORMS if any(norm_of(net.arch) == norm for net in self.nets)]

    @property
    def norm(self) -> str:
        """The normalisation of all nets, `all` if they have different ones."""
        return self.norms[0] if len(self.norms) == 1 else ALL

    @property
    def by_norm(self) -> "list[Study]":
        """A study of the nets and fusions of each normalisation: nets of different ones are not compared."""
        return [
            replace(
                self,
                nets=[net for net in self.nets if norm_of(net.arch) == norm],
                fusions=[fusion for fusion in self.fusions if norm_of(fusion.name) == norm],
            )
            for norm in self.norms
        ]

    @property
    def ablation(self) -> list[str]:
        """Table 1's nets with the normalisations of this study, whether they are there or not."""
        return [named(arch, norm) for norm in self.norms for arch in ABLATION]

    @property
    def searched(self) -> list[Net]:
        """One net of each architecture: training scales share one search."""
        return [next(net for net in self.nets if net.arch == arch) for arch in self.archs]

    @property
    def runs(self) -> list[int]:
        """The run numbers, the same for all nets."""
        return [run.run for run in self.nets[0].runs]

    @property
    def labels(self) -> np.ndarray:
        """(N,) class of each image by its number; -1 of an image that no run tests."""
        labels = np.full(int(self.splits.index.max()) + 1, -1)
        for run in self.runs:
            labels[self.arrays[f"split/{run}/images"]] = self.arrays[f"split/{run}/labels"]
        return labels

    @property
    def lead(self) -> tuple[str, str]:
        """The training scale and protocol of the main comparison: those of Table 3, where they are there."""
        scale = self.scales[0]
        return scale, single_scale(self, scale)

    def protocols(self, scale: str) -> list[str]:
        """Return the protocols that every run of the scale was evaluated under, in the order of the paper's tables."""
        return sorted(self.at(scale)[0].runs[0].protocols, key=PROTOCOLS.index)

    def at(self, scale: str) -> list[Net]:
        """Return the nets of one training scale."""
        return [net for net in self.nets if net.scale == scale]

    def net(self, arch: str, scale: str) -> Net | None:
        """Return a net, None if it is not there."""
        return next((net for net in self.at(scale) if net.arch == arch), None)

    def fusion(self, name: str, scale: str) -> Fusion | None:
        """Return a fusion by its members' names joined by `+`, None if it is not there."""
        return next((one for one in self.fusions if (one.name, one.scale) == (name, scale)), None)

    def decisions(self, name: str, scale: str, run: int, protocol: str) -> Decisions:
        """Return the decisions of a net or fusion in one run. Raises KeyError if they are not there."""
        return decisions_in(self.arrays, name, scale, run, protocol)

    def measurements(self, name: str, scale: str, protocol: str) -> Measurements | None:
        """Return which test images of which runs a net or fusion got wrong; None if it is not there."""
        measured = self.fusion(name, scale) if "+" in name else self.net(name, scale)
        runs = [run.run for run in measured.runs if protocol in run.protocols] if measured else []
        if not runs:
            return None
        found = [self.decisions(name, scale, run, protocol) for run in runs]
        return Measurements(
            runs=np.repeat(runs, [len(one.images) for one in found]),
            images=np.concatenate([one.images for one in found]).astype(np.int64),
            wrong=np.concatenate([one.wrong for one in found]).astype(np.float64),
        )


def single_scale(study: Study, scale: str) -> str:
    """Return the protocol of Table 3 at a training scale: dense at one test scale, else the first that is there."""
    protocols = study.protocols(scale)
    return "dense" if "dense" in protocols else protocols[0]


def read_study(arch: str, scale: str, name: str, settings: StudySettings, root: Path = Path()) -> Study:
    """Read the results of a net or of what is merged as `arch`, such as `all_BN`, at one training scale or `all`.

    Raises:
        OSError: a file is missing.
        StageError: a file is damaged, or not of this study; the message names the file and what is wrong.
    """
    return _study([(arch, scale)], name, settings, root)


def read_partial(norm: str, scale: str, name: str, settings: StudySettings, root: Path = Path()) -> Study:
    """Read whatever nets and training scales are finished while a study runs of `norm` at `scale`, or `all` of them.

    A net is finished if it was searched, trained and evaluated with the study's settings: results of an earlier study
    do not count. A fusion counts if it was made from the runs of these nets.

    Raises:
        OSError: a file about the images is missing.
        StageError: no net is finished, or a file is damaged, or not of this study.
    """
    results = root / paths.RESULTS
    done = [(arch, scale) for scale in SCALES for arch in ARCHITECTURES if _is_done(arch, scale, settings, results)]
    if not done:
        raise StageError(f"{results}: no net is evaluated yet; run `dvc repro` first")
    wanted = [
        (named(arch, each), at) for at in chosen(scale, SCALES) for each in chosen(norm, NORMS) for arch in ABLATION
    ]
    missing = [place for place in wanted if place not in done]
    return _study(done, name, settings, root, missing, partial=True)


def _is_done(arch: str, scale: str, settings: StudySettings, results: Path) -> bool:
    """Return whether a net's results are complete, of these settings, and no older than what they were made from."""
    search, evaluation = paths.search(arch, results), paths.evaluation(arch, scale, results)
    training = paths.training(arch, scale, results)
    needed = [search / "best.json", search / "trials.csv", search / "cost.csv"]
    needed += [training / "training.json", training / "curves.csv", training / "cost.csv"]
    needed += [evaluation / "metrics.json", evaluation / "decisions.npz", evaluation / "cost.csv"]
    if not all(path.exists() for path in needed):
        return False
    (net,) = read_record(evaluation / "metrics.json", Metrics).nets
    start = {run.run: run.start_sha256 for run in net.runs}
    return (
        _is_of(net, settings)
        and read_record(search / "best.json", Tuned) == net.tuned
        and _weights(training) == {run.run: run.weights_sha256 for run in net.runs}
        and (scale == SCALES[0] or start == _weights(paths.training(arch, SCALES[SCALES.index(scale) - 1], results)))
    )


def _weights(training: Path) -> dict[int, str]:
    """Return the SHA-256 of each run's weights; empty where no run is trained."""
    path = training / "training.json"
    return {run.run: run.weights_sha256 for run in read_record(path, WeightsRecord).runs} if path.exists() else {}


def _is_of(net: Net, settings: StudySettings) -> bool:
    """Return whether a net was searched, trained and evaluated with these settings."""
    scale, tune = settings.scales.of(net.scale), settings.tune
    expected = {
        **settings.model.model_dump(),
        **settings.train.model_dump(),
        "epochs": settings.epochs_at(net.scale),
        "train_scale": scale.train,
        "test_scales": scale.test,
        "protocols": set(settings.evaluate.protocols.of(net.scale)),
        "runs": settings.data.splits,
        "trials": (tune.trials, tune.epochs),
        "space": {name: (getattr(tune, name).low, getattr(tune, name).high) for name in net.tuned.space},
        "batch_sizes": tune.batch_size,
    }
    actual = {
        **net.training.model_dump(),
        **net.model_dump(),
        "protocols": set(net.runs[0].protocols),
        "runs": len(net.runs),
        "trials": (net.tuned.trials, net.tuned.epochs),
        "space": net.tuned.space,
        "batch_sizes": net.tuned.batch_sizes,
    }
    factor = 1 if net.scale == SCALES[0] else settings.fine_tune.rate_factor
    return all(actual[name] == value for name, value in expected.items()) and math.isclose(
        net.training.learning_rate, factor * net.tuned.learning_rate, rel_tol=1e-9
    )


def _study(
    places: Sequence[tuple[str, str]],
    name: str,
    settings: StudySettings,
    root: Path,
    missing: Sequence[tuple[str, str]] = (),
    *,
    partial: bool = False,
) -> Study:
    """Read and merge the results of nets and training scales; of a partial study also fusions of these nets."""
    results, processed, near_duplicates = root / paths.RESULTS, root / paths.PROCESSED, root / paths.NEAR_DUPLICATES
    evaluations = [paths.evaluation(*place, results) for place in places]
    trainings = [paths.training(*place, results) for place in places]
    searches = [paths.search(arch, results) for arch in dict.fromkeys(arch for arch, _ in places)]
    parts = {folder: read_record(folder / "metrics.json", Metrics) for folder in evaluations}
    nets = [net for part in parts.values() for net in part.nets]
    merged = [(named(ALL, norm), scale) for norm in NORMS for scale in SCALES if partial]
    for folder in (paths.evaluation(*place, results) for place in merged):
        if all((folder / name).exists() for name in ("metrics.json", "decisions.npz")):
            parts[folder] = _fusions_of(nets, read_record(folder / "metrics.json", Metrics))
    found = {"nets": nets, "fusions": [fusion for part in parts.values() for fusion in part.fusions]}
    metrics = validated(evaluations[0] / "metrics.json", Metrics, found)
    data = read_record(processed / "summary.json", Data)
    columns = {"image": int, **{f"split_{split}": str for split in range(data.splits)}}
    splits = _tables([processed / "splits.csv"], columns).set_index("image")
    of_images = [processed, near_duplicates]
    costs = [folder / "cost.csv" for folder in (*of_images, *searches, *trainings, *evaluations)]
    pairs, sheet = near_duplicates / "near-duplicates.csv", processed / "contact-sheet.jpg"
    return Study(
        name=name,
        nets=metrics.nets,
        fusions=metrics.fusions,
        arrays=_merged_decisions(parts, splits),
        curves=_thinned(_tables([folder / "curves.csv" for folder in trainings], CURVE_COLUMNS)),
        trials=_tables([folder / "trials.csv" for folder in searches], TRIAL_COLUMNS),
        data=data,
        splits=splits,
        costs=_by_stage(_tables([path for path in costs if path.exists() or not partial], COST_COLUMNS)),
        near_duplicates=_tables([pairs], PAIR_COLUMNS) if pairs.exists() or not partial else None,
        missing=list(missing),
        partial=partial,
        settings=settings,
        contact_sheet=sheet.read_bytes() if data.source == "sample" and sheet.exists() else None,
    )


def _thinned(curves: pd.DataFrame) -> pd.DataFrame:
    """Return every n-th epoch of a net's runs and each run's last, so that long studies have small reports."""
    epochs, last = curves["epoch"], curves.groupby(["arch", "scale", "run"])["epoch"].transform("max")
    every = -(-curves.groupby(["arch", "scale"])["epoch"].transform("max") // CURVE_POINTS)
    return curves[(epochs % every == 0) | (epochs == last)].reset_index(drop=True)


def _fusions_of(nets: Sequence[Net], aggregate: Metrics) -> Metrics:
    """Return aggregated results with those fusions alone whose members are the nets that were read."""
    runs = {(net.arch, net.scale): net.runs for net in nets}
    same = {net.arch for net in aggregate.nets if runs.get((net.arch, net.scale)) == net.runs}
    fusions = [fusion for fusion in aggregate.fusions if same.issuperset(fusion.members)]
    return aggregate.model_copy(update={"nets": [], "fusions": fusions})


def _merged_decisions(parts: Mapping[Path, Metrics], splits: pd.DataFrame) -> Mapping[str, np.ndarray]:
    """Read `decisions.npz` of each folder and return their arrays in one mapping.

    Raises:
        StageError: arrays do not agree with the folder's metrics, with another folder's or with the splits.
    """
    merged: dict[str, np.ndarray] = {}
    for folder, part in parts.items():
        path, measured = folder / "decisions.npz", (*part.nets, *part.fusions)
        names = {"split", *(one.name for one in measured)}
        arrays = {key: array for key, array in read_arrays(path).items() if key.split("/")[0] in names}
        for one in measured:
            _require_agreement(path, one, arrays)
        for name, array in arrays.items():
            if name in merged and not np.array_equal(merged[name], array):
                raise StageError(f"{path}: {name} differs from the other nets' files; run dvc repro again")
            if name.startswith("split/") and name.endswith("/images"):
                column = f"split_{name.split('/')[1]}"
                expected = splits.index[splits[column] == "test"] if column in splits else []
                if not np.array_equal(np.sort(array), np.sort(expected)):
                    raise StageError(f"{path}: {name} are not the test images of {column}; run `dvc repro` again")
        merged |= arrays
    return merged


def _require_agreement(path: Path, one: Net | Fusion, arrays: Mapping[str, np.ndarray]) -> None:
    """Raise StageError unless the errors of a net or fusion follow from its decisions."""
    for run in one.runs:
        for protocol, scores in run.protocols.items():
            what = f"{path}: {one.name} ({one.scale}), run {run.run}, {protocol}"
            try:
                found = decisions_in(arrays, one.name, one.scale, run.run, protocol)
            except KeyError as missing:
                raise StageError(f"{what}: no array {missing}; run the evaluation again") from None
            shapes = {array.shape for array in (found.images, found.labels, found.predicted, found.confidence)}
            if shapes != {(run.test_images,)} or abs(100 * found.wrong.mean() - scores.top1_error) > _ROUNDING:
                raise StageError(f"{what}: does not agree with metrics.json; run the evaluation again")


def _by_stage(costs: pd.DataFrame) -> pd.DataFrame:
    """Name each stage as stages/dvc.yaml does: `train-large` where the script wrote `train` and `large`."""
    later = (costs["stage"] == "train") & (costs["scale"] != SCALES[0])
    return costs.assign(stage=costs["stage"].mask(later, "train-" + costs["scale"]))


def _tables(files: Sequence[Path], columns: Mapping[str, type]) -> pd.DataFrame:
    return pd.concat([_table(path, columns) for path in files], ignore_index=True)


def _table(path: Path, columns: Mapping[str, type]) -> pd.DataFrame:
    """Read a CSV file; only in a column of floats does a word such as `nan` mean a missing number."""
    no_number = {name: ["", "nan", "NaN"] for name, kind in columns.items() if kind is float}
    try:
        table = pd.read_csv(path, dtype=dict(columns), keep_default_na=False, na_values=no_number)
    except ValueError as error:  # pandas' errors among them
        raise StageError(f"{path} is damaged ({' '.join(str(error).split())}); run its stage again") from None
    if absent := [name for name in columns if name not in table]:
        raise StageError(f"{path} has no column {', '.join(absent)}; run its stage again")
    return table
