"""The records in the results files that other stages wrote, and the checks of each."""

from pathlib import Path
from statistics import fmean
from typing import Annotated, Literal, TypeVar, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator

from vgg_ablation.errors import StageError
from vgg_ablation.files import read_json
from vgg_ablation.model.table1 import ARCHITECTURES
from vgg_ablation.runtime.settings import SCALES, Protocol

PROTOCOLS: tuple[str, ...] = get_args(Protocol)
"""In the order of the paper's tables."""


def _one_of(names: tuple[str, ...]) -> AfterValidator:
    def check(name: str) -> str:
        if name not in names:
            raise ValueError(f"{name!r} is none of {', '.join(names)}")
        return name

    return AfterValidator(check)


Percent = Annotated[float, Field(ge=0, le=100)]
Arch = Annotated[str, _one_of(ARCHITECTURES)]
Scale = Annotated[str, _one_of(SCALES)]
Setting = Literal["learning_rate", "weight_decay"]
_BY_NUMBER = (Field(min_length=1), AfterValidator(lambda runs: sorted(runs, key=lambda run: run.run)))


class Record(BaseModel):
    """A part of a results file. Unknown keys are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Scores(Record):
    """Scores of one run on its test images under one protocol (section 3.2)."""

    top1_error: Percent
    top5_error: Percent | None
    """None with five classes or fewer."""
    mean_class_recall: Percent
    nll: float = Field(ge=0, allow_inf_nan=False)
    """Mean negative log-likelihood of the true classes, nats."""
    ece: Percent
    """Expected calibration error."""


class FusedRun(Record):
    """The same run of several nets, posteriors averaged."""

    run: int = Field(ge=0)
    test_images: int = Field(ge=1)
    protocols: dict[Annotated[str, _one_of(PROTOCOLS)], Scores] = Field(min_length=1)


class Run(FusedRun):
    """One training run, evaluated: run r has split r and seed r."""

    seed: int
    did_not_train: bool
    """Diverged, or stayed at chance."""
    reason: str
    """Why it did not train; empty for a run that trained."""
    start_sha256: str
    """Weights that the run started from: of the training scale before, or a published file; empty if random."""
    weights_sha256: str
    training_error: Percent
    """Top-1 error on the run's own training images, centre crops, final weights."""


class Tuned(Record):
    """The settings that the search chose for one net, and its trials."""

    learning_rate: float
    weight_decay: float
    batch_size: int
    validation_accuracy: float | None
    """Percent; None where no trial has one."""
    trials: int
    complete: int
    """Trials that ran all their epochs or diverged; all others are pruned."""
    pruned: int
    diverged: int
    at_chance: int
    at_edge: list[Setting]
    """Settings whose chosen value is at the edge of `space`."""
    epochs: int
    """Epochs of a trial that was not pruned."""
    images: int
    """Training images of all trials."""
    space: dict[Setting, tuple[float, float]]
    batch_sizes: tuple[int, ...]
    """Batch sizes that the search chose from."""


class Training(Record):
    """Settings of a net's runs at one training scale."""

    epochs: int
    learning_rate: float
    """Before the schedule lowers it."""
    batch_size: int
    momentum: float
    schedule: str
    warm_up: float
    patience: int
    colour_shift: float
    refit: bool
    """True if the runs trained on the validation images too."""
    init: str
    dropout: float
    width: float
    device: str
    precision: str
    torch: str
    train_images: int


class Net(Record):
    """One net, trained at one scale, with its runs by number."""

    arch: Arch
    scale: Scale
    weight_layers: int
    params: int
    gmacs: float
    train_scale: int | tuple[int, int]
    """S: pixels of an image's smallest side in training, or the range it is drawn from for each image."""
    test_scales: tuple[int, int, int]
    """Q: pixels of an image's smallest side in testing; the middle one where a protocol has one test scale."""
    input_side: int
    classes: int = Field(ge=2)
    tuned: Tuned
    training: Training
    runs: Annotated[list[Run], *_BY_NUMBER]

    @property
    def name(self) -> str:
        """Name in `decisions.npz`."""
        return self.arch

    @property
    def did_not_train(self) -> int:
        """The number of runs that diverged or stayed at chance."""
        return sum(run.did_not_train for run in self.runs)

    @property
    def training_error(self) -> float:
        """Top-1 error of the training images, percent, mean over runs."""
        return fmean(run.training_error for run in self.runs)

    def top1_errors(self, protocol: str) -> dict[int, float]:
        """Return the top-1 error of each run under `protocol`, percent, by run number."""
        return {run.run: run.protocols[protocol].top1_error for run in self.runs}


class Fusion(Record):
    """Nets of one training scale with averaged posteriors, run by run (section 4.4)."""

    members: list[Arch] = Field(min_length=2)
    scale: Scale
    runs: Annotated[list[FusedRun], *_BY_NUMBER]

    @property
    def name(self) -> str:
        """Name in `decisions.npz`."""
        return "+".join(self.members)


class Metrics(Record):
    """A `metrics.json`: nets by training scale, then in the order of `ARCHITECTURES`; fusions, small ones first."""

    nets: list[Net] = Field(min_length=1)
    fusions: list[Fusion] = []

    @field_validator("nets")
    @classmethod
    def _consistent(cls, nets: list[Net]) -> list[Net]:
        tests = {(net.scale, frozenset(run.protocols)) for net in nets for run in net.runs}
        if len(tests) > len({net.scale for net in nets}):
            raise ValueError("runs of one training scale were evaluated under different protocols")
        if len({tuple(run.run for run in net.runs) for net in nets}) > 1:
            raise ValueError("the nets do not all have the same runs")
        return sorted(nets, key=lambda net: (SCALES.index(net.scale), ARCHITECTURES.index(net.arch)))

    @field_validator("fusions")
    @classmethod
    def _ordered(cls, fusions: list[Fusion]) -> list[Fusion]:
        return sorted(fusions, key=lambda fusion: (SCALES.index(fusion.scale), len(fusion.members), fusion.members))


class WeightsRecord(Record):
    """The part of a `training.json` that names the weights."""

    class _Run(Record):
        run: int
        weights_sha256: str

    runs: list[_Run]


class Data(Record):
    """Summary of the packed images. Train, validation and test counts are those of one split."""

    source: str
    archive_sha256: str
    images: int
    categories: list[str]
    clutter: bool
    """True if 257.clutter is one of the categories."""
    greyscale: int
    excluded: int
    excluded_reasons: dict[str, int]
    profiles_ignored: int
    """Images with a colour profile that is broken or of another colour space."""
    side: int
    train_per_class: int | str
    """Images drawn of each category; `folders` if the source's folders are the split."""
    train: int
    validation: int
    test: int
    splits: int

    @property
    def objects(self) -> int:
        """The number of categories without clutter."""
        return len(self.categories) - self.clutter

    @property
    def origin(self) -> str:
        """The source as others may read it: a file's name without its folder, an address without password or query."""
        address = urlsplit(self.source)
        if not address.scheme:
            return Path(self.source).name
        return f"{address.scheme}://{address.hostname}{address.path}"


Kind = TypeVar("Kind", bound=Record)


def read_record(path: Path, kind: type[Kind]) -> Kind:
    """Read a results file.

    Raises:
        OSError: it cannot be read.
        StageError: it is not a record of this kind.
    """
    return validated(path, kind, read_json(path))


def validated(path: Path, kind: type[Kind], values: object) -> Kind:
    """Return values as a record. Raises StageError if they are none; the message names `path`."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise StageError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
