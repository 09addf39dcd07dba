"""What the report is made of: the files that the other stages wrote, checked as they are read."""

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal, TypeVar
from urllib.parse import urlsplit

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from vgg_ablation.pipeline.cost import Cost
from vgg_ablation.pipeline.errors import StageError
from vgg_ablation.report.published import WEIGHT_LAYERS

Percent = Annotated[float, Field(ge=0, le=100)]
Arch = Literal["A", "A_LRN", "B", "C", "D", "E"]

CURVE_COLUMNS = ["arch", "run", "epoch", "learning_rate", "train_loss", "validation_loss", "validation_accuracy"]
TRIAL_COLUMNS = ["arch", "trial", "state", "outcome", "learning_rate", "weight_decay"]
TRIAL_COLUMNS += ["validation_accuracy", "epochs", "images"]
DATA_STAGES = ("download", "preprocess")
NET_STAGES = ("tune", "train", "evaluate")
COST_COLUMNS = [column.name for column in fields(Cost)]


class Record(BaseModel):
    """A part of a results file. Keys that the report has no use for may be there."""

    model_config = ConfigDict(frozen=True, extra="ignore")


Kind = TypeVar("Kind", bound=Record)


class Scores(Record):
    """How one run did on the test images under one protocol of section 3.2, percent."""

    top1_error: Percent
    top5_error: Percent | None
    """None with too few classes for it to mean anything."""
    mean_class_recall: Percent


class Run(Record):
    """One training run, evaluated: run r has split r and seed r."""

    run: int
    test_images: int = Field(ge=1)
    did_not_train: bool
    reason: str
    """Empty for a run that trained."""
    protocols: dict[str, Scores] = Field(min_length=1)


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
    at_edge: list[str]
    """The settings whose chosen value sits at the edge of `space`."""
    epochs: int
    """Of a trial that is not pruned."""
    images: int
    """Training images seen over all trials."""
    space: dict[str, tuple[float, float]]


class Training(Record):
    """How a net's runs were trained."""

    epochs: int
    batch_size: int
    schedule: str
    init: str
    batch_norm: bool
    dropout: float
    width: float
    device: str
    precision: str
    torch: str
    train_images: int


class Net(Record):
    """One net with its runs in order of their number."""

    arch: Arch
    weight_layers: int
    params: int
    gmacs: float
    train_scale: int
    test_scale: int
    input_side: int
    classes: int
    tuned: Tuned
    training: Training
    runs: list[Run] = Field(min_length=1)

    @field_validator("runs")
    @classmethod
    def _in_order(cls, runs: list[Run]) -> list[Run]:
        return sorted(runs, key=lambda run: run.run)

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

    @field_validator("nets")
    @classmethod
    def _in_order(cls, nets: list[Net]) -> list[Net]:
        if len({net.arch for net in nets}) < len(nets):
            raise ValueError("a net is there twice")
        if len({frozenset(run.protocols) for net in nets for run in net.runs}) > 1:
            raise ValueError("the runs were not all evaluated under the same protocols")
        return sorted(nets, key=lambda net: list(WEIGHT_LAYERS).index(net.arch))


@dataclass(frozen=True)
class Study:
    """All that the report knows."""

    name: str
    """Of the study in `params.yaml`."""
    nets: list[Net]
    """In the order of the paper's Table 1."""
    curves: pd.DataFrame
    """One row a net, run and epoch; columns `CURVE_COLUMNS`."""
    trials: pd.DataFrame
    """One row a trial of the search; columns `TRIAL_COLUMNS`."""
    data: Data
    costs: pd.DataFrame
    """One row a stage and net, in the order that they ran; columns `COST_COLUMNS`, `arch` empty without a net."""

    @property
    def protocols(self) -> list[str]:
        """The protocols that every run was evaluated under, with the paper's own for Table 3, dense, before others."""
        return sorted(self.nets[0].runs[0].protocols, key=lambda name: name != "dense")


def read_study(results: Path, data: Path, name: str) -> Study:
    """Read the files in the folder `results`, and the summary and the cost of the images in the folder `data`.

    Raises:
        OSError: a file is not there.
        StageError: a file does not hold what the report needs; the message names the file and what is wrong.
    """
    return Study(
        name=name,
        nets=_record(results / "metrics.json", _Metrics).nets,
        curves=_table(results / "curves.csv", CURVE_COLUMNS),
        trials=_table(results / "trials.csv", TRIAL_COLUMNS).fillna({"outcome": ""}),
        data=_record(data / "processed" / "summary.json", Data),
        costs=pd.concat(
            _table(folder / f"{stage}.csv", COST_COLUMNS).fillna({"arch": "", "precision": ""})
            for folder, stages in ((data / "cost", DATA_STAGES), (results / "cost", NET_STAGES))
            for stage in stages
        ),
    )


def _record(path: Path, kind: type[Kind]) -> Kind:
    try:
        return kind.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except json.JSONDecodeError as error:
        raise StageError(f"{path} is not JSON: {error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise StageError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _table(path: Path, columns: list[str]) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype={"arch": str, "state": str, "outcome": str, "precision": str})
    except pd.errors.EmptyDataError:
        raise StageError(f"{path} is empty") from None
    if missing := [column for column in columns if column not in table.columns]:
        raise StageError(f"{path} has no column {', '.join(missing)}")
    return table[columns]
