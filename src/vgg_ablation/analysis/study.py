"""What the report is made of: the files that the other stages wrote, checked as they are read."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal, TypeVar, get_args
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator

from vgg_ablation.analysis.decisions import Outcomes, joined, read_outcomes
from vgg_ablation.analysis.statistics import Errors
from vgg_ablation.errors import StageError
from vgg_ablation.model.table1 import ABLATION, ARCHITECTURES
from vgg_ablation.runtime.cost import Cost
from vgg_ablation.runtime.settings import SCALES, Protocol, StudySettings


def _one_of(names: tuple[str, ...]) -> AfterValidator:
    def check(name: str) -> str:
        if name not in names:
            raise ValueError(f"{name!r} is none of {', '.join(names)}")
        return name

    return AfterValidator(check)


PROTOCOLS: tuple[str, ...] = get_args(Protocol)
"""In the order of the paper's tables."""
Percent = Annotated[float, Field(ge=0, le=100)]
Arch = Annotated[str, _one_of(ARCHITECTURES)]
Scale = Annotated[str, _one_of(SCALES)]
Setting = Literal["learning_rate", "weight_decay"]

CURVE_COLUMNS = {"arch": str, "scale": str, "run": int, "epoch": int, "learning_rate": float, "train_loss": float}
CURVE_COLUMNS |= {"validation_loss": float, "validation_accuracy": float}
TRIAL_COLUMNS = {"arch": str, "trial": int, "state": str, "outcome": str, "learning_rate": float}
TRIAL_COLUMNS |= {"weight_decay": float, "validation_accuracy": float, "epochs": int, "images": int}
PAIR_COLUMNS = {"image": int, "other": int, "path": str, "other_path": str}
PAIR_COLUMNS |= {"category": str, "other_category": str, "distance": int}
COST_COLUMNS: dict[str, type] = {
    column.name: kind if (kind := column.type) in (int, str) else float for column in fields(Cost)
}
DATA_STAGES = ("download", "preprocess", "near_duplicates")
NET_STAGES = ("train", "evaluate")
"""The cost files of one net and training scale."""

_ROUNDING = 1e-3  # percentage points; errors are written with four decimals


class Record(BaseModel):
    """A part of a results file. Keys that the report has no use for may be there."""

    model_config = ConfigDict(frozen=True, extra="ignore")


Kind = TypeVar("Kind", bound=Record)


class Scores(Record):
    """How one run did on the test images under one protocol of section 3.2."""

    top1_error: Percent
    top5_error: Percent | None
    """None with too few classes for it to mean anything."""
    mean_class_recall: Percent
    nll: float = Field(ge=0, allow_inf_nan=False)
    """Negative log-likelihood of the true classes, mean over images, nats."""
    ece: Percent
    """Expected calibration error."""


class FusedRun(Record):
    """The same run of several nets, whose posteriors were averaged."""

    run: int = Field(ge=0)
    test_images: int = Field(ge=1)
    protocols: dict[Annotated[str, _one_of(PROTOCOLS)], Scores] = Field(min_length=1)


class Run(FusedRun):
    """One training run, evaluated: run r has split r and seed r."""

    seed: int
    did_not_train: bool
    reason: str
    """Empty for a run that trained."""
    start_sha256: str
    """Of the weights that it went on from; empty at the first training scale."""
    weights_sha256: str
    training_error: Percent
    """Top-1 error of the run's own training images, centre crops, final weights."""


class Tuned(Record):
    """What the search for one net's learning rate and weight decay chose, out of what."""

    learning_rate: float
    weight_decay: float
    validation_accuracy: float | None
    """Percent; None where no trial has one."""
    trials: int
    complete: int
    """Run to their end, a diverged one counting as such; all others are pruned."""
    pruned: int
    diverged: int
    at_chance: int
    at_edge: list[Setting]
    """The settings whose chosen value sits at the edge of `space`."""
    epochs: int
    """Of a trial that is not pruned."""
    images: int
    """Training images seen over all trials."""
    space: dict[Setting, tuple[float, float]]


class Training(Record):
    """How a net's runs were trained at one training scale."""

    epochs: int
    learning_rate: float
    """That the runs started with."""
    batch_size: int
    momentum: float
    schedule: str
    patience: int
    colour_shift: float
    init: str
    batch_norm: bool
    dropout: float
    width: float
    device: str
    precision: str
    torch: str
    train_images: int


class Net(Record):
    """One net, trained at one scale, with its runs in order of their number."""

    arch: Arch
    scale: Scale
    weight_layers: int
    params: int
    gmacs: float
    train_scale: int | tuple[int, int]
    """S: pixels of an image's smallest side in training, or the range that they are drawn from for each image."""
    test_scales: tuple[int, int, int]
    """Q: pixels of an image's smallest side in testing; the middle one where there is one test scale alone."""
    input_side: int
    classes: int = Field(ge=2)
    tuned: Tuned
    training: Training
    runs: list[Run] = Field(min_length=1)

    @field_validator("runs")
    @classmethod
    def _in_order(cls, runs: list[Run]) -> list[Run]:
        return sorted(runs, key=lambda run: run.run)

    @property
    def name(self) -> str:
        """Its name among the outcomes."""
        return self.arch

    @property
    def test_images(self) -> int:
        """Test images of one run; of the smallest, should runs differ."""
        return min(run.test_images for run in self.runs)

    @property
    def did_not_train(self) -> int:
        """The number of runs that diverged or stayed at chance."""
        return sum(run.did_not_train for run in self.runs)

    def top1_errors(self, protocol: str) -> dict[int, float]:
        """Return the top-1 error of each run under `protocol`, percent, by run number."""
        return {run.run: run.protocols[protocol].top1_error for run in self.runs}


class Fusion(Record):
    """Nets of one training scale whose posteriors were averaged, run by run (section 4.4)."""

    members: list[Arch] = Field(min_length=2)
    scale: Scale
    runs: list[FusedRun] = Field(min_length=1)

    @field_validator("runs")
    @classmethod
    def _in_order(cls, runs: list[FusedRun]) -> list[FusedRun]:
        return sorted(runs, key=lambda run: run.run)

    @property
    def name(self) -> str:
        """Its name among the outcomes."""
        return "+".join(self.members)


class Data(Record):
    """What `preprocess` made of the archive. Train, validation and test counts are those of one split."""

    source: str
    archive_sha256: str
    images: int
    categories: list[str]
    clutter: bool
    greyscale: int
    excluded: int
    excluded_reasons: dict[str, int]
    side: int
    train_per_class: int
    train: int
    validation: int
    test: int
    splits: int

    @property
    def origin(self) -> str:
        """The source as others may read it: a file's name without its folder, an address without password or query."""
        address = urlsplit(self.source)
        if not address.scheme:
            return Path(self.source).name
        return f"{address.scheme}://{address.hostname}{address.path}"


class _Metrics(Record):
    nets: list[Net] = Field(min_length=1)
    fusions: list[Fusion] = []

    @field_validator("nets")
    @classmethod
    def _in_order(cls, nets: list[Net]) -> list[Net]:
        if len({(net.arch, net.scale) for net in nets}) < len(nets):
            raise ValueError("a net is there twice")
        for scale in SCALES:
            runs = [run for net in nets if net.scale == scale for run in net.runs]
            if len({frozenset(run.protocols) for run in runs}) > 1:
                raise ValueError("the runs were not all evaluated under the same protocols")
        if len({tuple(run.run for run in net.runs) for net in nets}) > 1:
            raise ValueError("the nets do not all have the same runs")
        if len({net.classes for net in nets}) > 1:
            raise ValueError("the nets tell apart different numbers of classes")
        return sorted(nets, key=lambda net: (SCALES.index(net.scale), ARCHITECTURES.index(net.arch)))


class _Training(Record):
    class _Run(Record):
        run: int
        weights_sha256: str

    runs: list[_Run]


@dataclass(frozen=True)
class Study:
    """All that the report knows."""

    name: str
    """Of the study in `params.yaml`."""
    nets: list[Net]
    """By training scale, then in the order of the paper's Table 1, the 5x5 net last."""
    fusions: list[Fusion]
    outcomes: Outcomes
    curves: pd.DataFrame
    """One row a net, training scale, run and epoch; columns `CURVE_COLUMNS`."""
    trials: pd.DataFrame
    """One row a trial of the search; columns `TRIAL_COLUMNS`."""
    data: Data
    splits: pd.DataFrame
    """One row an image, by its number; columns `split_0`, `split_1`...: `train`, `validation` or `test`."""
    costs: pd.DataFrame
    """One row a stage, net and training scale; columns `COST_COLUMNS`, `arch` and `scale` empty without one."""
    near_duplicates: pd.DataFrame | None
    """One row a pair of images whose perceptual hashes are close; columns `PAIR_COLUMNS`. None: not looked for yet."""
    missing: list[str]
    """The nets, with their training scales, that are asked for and not there yet."""
    partial: bool
    """Whether it was read as `read_partial` does, by which nets of several runs of DVC come together too."""
    settings: StudySettings
    """In `params.yaml` now."""

    @property
    def scales(self) -> list[str]:
        """The training scales of the nets."""
        return [scale for scale in SCALES if self.at(scale)]

    @property
    def archs(self) -> list[str]:
        """The nets that are there at any scale."""
        return [arch for arch in ARCHITECTURES if any(net.arch == arch for net in self.nets)]

    @property
    def lead(self) -> tuple[str, str]:
        """The training scale and the protocol that nets are compared under first: those of Table 3, where they are."""
        scale = self.scales[0]
        protocols = self.protocols(scale)
        return scale, "dense" if "dense" in protocols else protocols[0]

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
        """Return a fusion by the names of its members joined by `+`, None if it is not there."""
        return next((one for one in self.fusions if (one.name, one.scale) == (name, scale)), None)

    def errors(self, name: str, scale: str, protocol: str) -> Errors | None:
        """Return what each test image of each run came to, of a net or of a fusion; None if that is not there."""
        measured = self.fusion(name, scale) if "+" in name else self.net(name, scale)
        runs = [run.run for run in measured.runs if protocol in run.protocols] if measured else []
        if not runs:
            return None
        outcomes = [self.outcomes.of(name, scale, run, protocol) for run in runs]
        return Errors(
            runs=np.repeat(runs, [len(outcome.images) for outcome in outcomes]),
            images=np.concatenate([outcome.images for outcome in outcomes]).astype(np.int64),
            wrong=np.concatenate([outcome.wrong for outcome in outcomes]).astype(np.float64),
        )


def read_study(results: Path, search: Path, data: Path, name: str, settings: StudySettings) -> Study:
    """Read one selection of nets and training scales, all of which are there.

    Args:
        results: the folder of the nets' results, `results/ARCH/SCALE`.
        search: the folder of the searches' results, `results/ARCH`.
        data: the folder of the images.
        name: the study's.
        settings: the study's.

    Raises:
        OSError: a file is not there.
        StageError: a file does not hold what the report needs; the message names the file and what is wrong.
    """
    return _study([results], [search], [], data, name, settings, missing=[], partial=False)


def read_partial(results: Path, data: Path, name: str, scales: Sequence[str], settings: StudySettings) -> Study:
    """Read whatever nets and training scales are there in `results`, while a study runs.

    A net counts as there once it is searched, trained and evaluated with the study's settings: what an earlier study
    left lies there until its turn comes. A fusion counts as there if it was made from the runs of these very nets.

    Args:
        results: the folder of all results.
        data: the folder of the images.
        name: the study's.
        scales: the training scales that are asked for, of each net of the ablation.
        settings: the study's.

    Raises:
        OSError: a file about the images is not there.
        StageError: no net is there, or a file does not hold what the report needs.
    """
    places = [results / arch / scale for scale in SCALES for arch in ARCHITECTURES]
    folders = [folder for folder in places if _is_done(folder, settings)]
    if not folders:
        raise StageError(f"{results}: no net is trained and evaluated yet; run dvc repro, and this again later")
    wanted = [results / arch / scale for scale in scales for arch in ABLATION]
    missing = [f"{folder.parent.name} ({folder.name})" for folder in wanted if folder not in folders]
    searches = list(dict.fromkeys(folder.parent for folder in folders))
    joint = [results / "all" / scale for scale in SCALES]
    return _study(folders, searches, joint, data, name, settings, missing=missing, partial=True)


def _is_done(folder: Path, settings: StudySettings) -> bool:
    """Tell whether a net's results are whole and of these settings, with no stage before them begun anew since."""
    needed = ["metrics.json", "outcomes.npz", "curves.csv", "training.json"]
    needed += ["../best.json", "../trials.csv", "../cost/tune.csv", *(f"cost/{stage}.csv" for stage in NET_STAGES)]
    if not all((folder / name).exists() for name in needed):  # a stage deletes its own results alone, when it begins
        return False
    (net,) = _record(folder / "metrics.json", _Metrics).nets
    return (
        _is_of(net, settings)
        and _weights(folder) == {run.run: run.weights_sha256 for run in net.runs}
        and _record(folder.parent / "best.json", Tuned) == net.tuned
        and {run.run: run.start_sha256 for run in net.runs} == _starts(folder, net)
    )


def _weights(folder: Path) -> dict[int, str]:
    """Return the SHA-256 of the weights that each run was trained to; nothing where none is trained yet."""
    path = folder / "training.json"
    return {run.run: run.weights_sha256 for run in _record(path, _Training).runs} if path.exists() else {}


def _starts(folder: Path, net: Net) -> dict[int, str]:
    """Return the SHA-256 of the weights that each run would go on from now."""
    if net.scale == SCALES[0]:
        return dict.fromkeys((run.run for run in net.runs), "")
    return _weights(folder.parent / SCALES[SCALES.index(net.scale) - 1])


def _is_of(net: Net, settings: StudySettings) -> bool:
    scale, train, tune = settings.scales.of(net.scale), settings.train, settings.tune
    epochs = train.epochs if net.scale == SCALES[0] else settings.fine_tune.epochs
    shared = train.model_dump(exclude={"epochs"})
    trained = {**net.training.model_dump(), "input_side": net.input_side}
    found = (
        {name: trained[name] for name in type(settings.model).model_fields},
        {"epochs": net.training.epochs, **{name: trained[name] for name in shared}},
        (net.train_scale, net.test_scales, set(net.runs[0].protocols), len(net.runs)),
        (net.tuned.trials, net.tuned.epochs, net.tuned.space),
    )
    spaces = {name: getattr(tune, name) for name in net.tuned.space}
    return found == (
        settings.model.model_dump(),
        {"epochs": epochs, **shared},
        (scale.train, scale.test, set(settings.evaluate.protocols.of(net.scale)), settings.data.splits),
        (tune.trials, tune.epochs, {name: (space.low, space.high) for name, space in spaces.items()}),
    )


def _fused(folder: Path, nets: Sequence[Net]) -> list[Fusion]:
    """Return the fusions among joined results whose members are nets that were read; nothing if none were joined."""
    if not all((folder / name).exists() for name in ("metrics.json", "outcomes.npz")):
        return []
    joint = _record(folder / "metrics.json", _Metrics)
    runs = {(net.arch, net.scale): net.runs for net in nets}
    same = {net.arch for net in joint.nets if runs.get((net.arch, net.scale)) == net.runs}
    return [fusion for fusion in joint.fusions if same.issuperset(fusion.members)]


def _study(
    folders: Sequence[Path],
    searches: Sequence[Path],
    joint: Sequence[Path],
    data: Path,
    name: str,
    settings: StudySettings,
    *,
    missing: list[str],
    partial: bool,
) -> Study:
    """Read and join what lies in the folders; of those of `joint` the fusions alone."""
    parts = {folder / "metrics.json": _record(folder / "metrics.json", _Metrics) for folder in folders}
    read = {folder / "outcomes.npz": read_outcomes(folder / "outcomes.npz") for folder in folders}
    nets = [net for part in parts.values() for net in part.nets]
    fusions = [fusion for part in parts.values() for fusion in part.fusions]
    for (path, metrics), (beside, outcomes) in zip(parts.items(), read.items(), strict=True):
        _require_agreement(path, [*metrics.nets, *metrics.fusions], metrics.nets[0].classes, beside, outcomes)
    for folder in joint:
        if fused := _fused(folder, nets):
            beside = folder / "outcomes.npz"
            read[beside] = read_outcomes(beside).only({fusion.name for fusion in fused})
            _require_agreement(folder / "metrics.json", fused, nets[0].classes, beside, read[beside])
            fusions += fused
    summary = _record(data / "processed" / "summary.json", Data)
    for path, metrics in parts.items():
        if metrics.nets[0].classes != len(summary.categories):
            raise StageError(
                f"{path}: nets of {metrics.nets[0].classes} classes, where the images have {len(summary.categories)} "
                "categories: not of this study"
            )
    splits = _splits(data / "processed" / "splits.csv", summary.splits)
    for path, outcomes in read.items():
        _require_test_images(path, outcomes, splits)
    metrics = _validated(
        next(iter(parts)),
        _Metrics,
        {"nets": nets, "fusions": _in_order(fusions)},
    )
    pairs = data / "near-duplicates.csv"
    costs = [data / "cost" / f"{stage}.csv" for stage in DATA_STAGES]
    return Study(
        name=name,
        nets=metrics.nets,
        fusions=metrics.fusions,
        outcomes=joined(read),
        curves=_tables([folder / "curves.csv" for folder in folders], CURVE_COLUMNS),
        trials=_tables([folder / "trials.csv" for folder in searches], TRIAL_COLUMNS),
        data=summary,
        splits=splits,
        costs=_by_stage(
            _tables(
                [
                    *(path for path in costs if path.exists() or not partial),
                    *(folder / "cost" / "tune.csv" for folder in searches),
                    *(folder / "cost" / f"{stage}.csv" for stage in NET_STAGES for folder in folders),
                ],
                COST_COLUMNS,
            )
        ),
        near_duplicates=_tables([pairs], PAIR_COLUMNS) if pairs.exists() or not partial else None,
        missing=missing,
        partial=partial,
        settings=settings,
    )


def _by_stage(costs: pd.DataFrame) -> pd.DataFrame:
    """Name each stage as stages/dvc.yaml does: `train-large` where the script has written `train` and `large`."""
    beyond = (costs["stage"] == "train") & (costs["scale"] != SCALES[0])
    return costs.assign(stage=costs["stage"].mask(beyond, "train-" + costs["scale"]))


def _in_order(fusions: Iterable[Fusion]) -> list[Fusion]:
    return sorted(fusions, key=lambda fusion: (SCALES.index(fusion.scale), len(fusion.members), fusion.members))


def _require_agreement(
    path: Path, found: Sequence[Net | Fusion], classes: int, beside: Path, outcomes: Outcomes
) -> None:
    """Raise StageError unless the errors in the one file follow from the outcomes in the other."""
    for measured in found:
        for run in measured.runs:
            for protocol, scores in run.protocols.items():
                what = f"{measured.name} ({measured.scale}), run {run.run}, {protocol}"
                if not outcomes.has(measured.name, measured.scale, run.run, protocol):
                    raise StageError(f"{beside} has nothing on {what}; run the stage that writes it again")
                outcome = outcomes.of(measured.name, measured.scale, run.run, protocol)
                if max(outcome.labels.max(), outcome.predicted.max()) >= classes:
                    raise StageError(f"{beside}: {what}: a class beyond the {classes} of {path}")
                wrong = outcome.wrong
                error = 100 * float(wrong.mean())
                if len(wrong) != run.test_images or abs(error - scores.top1_error) > _ROUNDING:
                    raise StageError(
                        f"{beside}: {what}: {len(wrong)} images, top-1 error {error:.4f} %; {path} has "
                        f"{run.test_images} and {scores.top1_error} %: run the evaluation again"
                    )


def _require_test_images(path: Path, outcomes: Outcomes, splits: pd.DataFrame) -> None:
    """Raise StageError unless the images of every run are the test images of its split."""
    for name, images in outcomes.arrays.items():
        if name.endswith("/images"):
            column = f"split_{name.split('/')[1]}"
            expected = splits.index[splits[column] == "test"] if column in splits else []
            if not np.array_equal(np.sort(images), np.sort(expected)):
                raise StageError(f"{path}: the images of {name} are not the test images of {column}: not of this study")


def _splits(path: Path, number: int) -> pd.DataFrame:
    columns = [f"split_{split}" for split in range(number)]
    table = _tables([path], {"image": int, **dict.fromkeys(columns, str)}).set_index("image")
    if not table.isin(["train", "validation", "test"]).to_numpy().all() or not table.index.is_unique:
        raise StageError(f"{path}: an image is there twice, or in no part; run the stage that writes it again")
    return table


def _record(path: Path, kind: type[Kind]) -> Kind:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise StageError(f"{path} is not JSON: {error}") from None
    return _validated(path, kind, values)


def _validated(path: Path, kind: type[Kind], values: object) -> Kind:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise StageError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _tables(paths: Sequence[Path], columns: Mapping[str, type]) -> pd.DataFrame:
    return pd.concat([_table(path, columns) for path in paths], ignore_index=True)


def _table(path: Path, columns: Mapping[str, type]) -> pd.DataFrame:
    """Read the columns of a CSV file; in a column of words nothing but what stands there is meant, `NA` included."""
    missing_numbers = {name: ["", "nan", "NaN"] for name, kind in columns.items() if kind is float}
    try:
        there = pd.read_csv(path, nrows=0).columns
        if absent := [name for name in columns if name not in there]:
            raise StageError(f"{path} has no column {', '.join(absent)}")
        return pd.read_csv(
            path, dtype=dict(columns), keep_default_na=False, na_values=missing_numbers, usecols=list(columns)
        )[list(columns)]
    except pd.errors.EmptyDataError:
        raise StageError(f"{path} is empty") from None
    except ValueError as error:
        raise StageError(f"{path} is no table as the stages write it: {' '.join(str(error).split())}") from None
