"""Settings of a study: every key of a block of `studies` in params.yaml, with its meaning, unit and allowed values."""

import os
from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from vgg_ablation.runtime.state import repository_root

_WRITTEN = ("data/raw", "data/processed", "data/cost", "results", "reports")
_MANY = 10**9  # more than any study needs, few enough to count with

SCALES = ("fixed", "large", "jitter")
"""The training scales, each trained from the weights of the one before (section 3.1)."""

Side = Annotated[int, Field(ge=32, le=1024)]
"""Smallest side in pixels of an image that is rescaled isotropically."""


def _all_or_names(value: object) -> object:
    if value == "all":
        return value
    if (
        not isinstance(value, list | tuple)
        or len(value) < 2
        or not all(isinstance(name, str) and name for name in value)
    ):
        raise ValueError("all, or a list of two names or more")
    if twice := sorted(name for name, times in Counter(value).items() if times > 1):
        raise ValueError(f"names without repetition ({twice[0]} is listed twice)")
    return tuple(value)


def _not_among_outputs(source: str) -> str:
    place = Path(os.path.normpath(repository_root() / source))
    if any(place.is_relative_to(repository_root() / name) for name in _WRITTEN):
        # DVC deletes its outputs before it runs the stage that would read it.
        raise ValueError(f"a file or folder outside of {', '.join(_WRITTEN)}, whose content is deleted and made anew")
    return source


def _ascending(value: object) -> object:
    if not isinstance(value, list | tuple) or not all(type(side) is int for side in value):
        raise ValueError("a list of whole numbers")
    if list(value) != sorted(set(value)):
        raise ValueError("an ascending list")
    return tuple(value)


Sides = Annotated[tuple[Side, Side, Side], BeforeValidator(_ascending)]


class FixedScale(BaseModel):
    """Training images all of one size, and the sizes of test images."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    train: Side
    """S of section 3.1."""
    test: Sides
    """The three Q of Table 4; the middle one is the single Q of Table 3."""

    @property
    def single(self) -> int:
        """The one Q of tests at a single scale."""
        return self.test[1]


class JitteredScale(FixedScale):
    """Training images each of a random size."""

    train: Annotated[tuple[Side, Side], BeforeValidator(_ascending)]  # pyright: ignore[reportIncompatibleVariableOverride]
    """Smallest and largest S of section 3.1, drawn for each image in each epoch."""


class ScalesSettings(BaseModel):
    """Section `scales` of a study: the three training scales of Tables 3 and 4, each with its test scales."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    fixed: FixedScale
    large: FixedScale
    jitter: JitteredScale

    @property
    def largest(self) -> int:
        """The largest S or Q."""
        every = (self.fixed.train, self.large.train, *self.jitter.train)
        return max(*every, *self.fixed.test, *self.large.test, *self.jitter.test)

    def of(self, name: str) -> FixedScale | JitteredScale:
        """Return the training scale called `name`, one of `SCALES`."""
        return {"fixed": self.fixed, "large": self.large, "jitter": self.jitter}[name]


class DataSettings(BaseModel):
    """Section `data` of a study."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    source: Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_not_among_outputs)]
    """`sample`, `caltech256`, or the path or address of a tar or folder in the official layout."""
    categories: Annotated[Literal["all"] | tuple[str, ...], BeforeValidator(_all_or_names)]
    """`all`, or names with or without their number: `backpack` or `003.backpack`."""
    clutter: bool
    """Whether 257.clutter, which shows no object, is a class."""
    train_per_class: Annotated[int, Field(ge=2, le=_MANY)]
    """Images a category that are not test images (appendix B: 60)."""
    validation_fraction: Annotated[float, Field(gt=0, lt=1)]
    """Share of those held out from training to choose settings by (appendix B: 0.2)."""
    splits: Annotated[int, Field(ge=1, le=100)]
    """Number of random splits, and so of runs a net: run r uses split r and seed r."""
    seed: Annotated[int, Field(ge=0, lt=2**64)]
    """Seed of the splits."""

    @property
    def validation_per_class(self) -> int:
        """Validation images a category: at least one, and at least one is left to train on."""
        return min(max(1, round(self.train_per_class * self.validation_fraction)), self.train_per_class - 1)


class ComputeSettings(BaseModel):
    """Section `compute` of a study: what of the machine decides the last digits of a result."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    threads: Annotated[int, Field(ge=1, le=1024)]
    """CPU threads of a stage's tensor operations, whatever `OMP_NUM_THREADS` and the number of cores are."""


class ModelSettings(BaseModel):
    """Settings that all nets of a study share; the names are the keyword arguments of `VGG`."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)

    input_side: int = Field(
        ge=32,
        le=1024,
        multiple_of=32,
        description="Side of the square crop that the net sees, in pixels; the paper's is 224.",
    )
    width: float = Field(
        gt=0, le=2, description="Factor on the channels of every hidden layer of Table 1; 1 is the paper's net."
    )
    batch_norm: bool = Field(
        description="Whether batch normalisation follows every convolution; the paper's nets have none."
    )
    dropout: float = Field(
        ge=0, lt=1, description="Probability of zeroing an output of the first two fully-connected layers (paper: 0.5)."
    )
    init: Literal["kaiming", "paper"] = Field(
        description="Random weights: `kaiming` preserves the signal at any depth; `paper` is N(0, 0.01^2), "
        "from which only the shallow net A can start, and the deeper nets start from a trained A."
    )


_MOST_TRIALS = 10**6


class TrainSettings(BaseModel):
    """Section `train` of a study: what every net shares; learning rate and weight decay are each net's own."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)

    epochs: Annotated[int, Field(ge=1, le=_MANY)]
    """Passes over the training images (section 3.1: 74)."""
    batch_size: Annotated[int, Field(ge=1, le=_MANY)]
    """Images a step (section 3.1: 256)."""
    momentum: Annotated[float, Field(ge=0, lt=1)]
    """Of SGD (section 3.1: 0.9)."""
    schedule: Literal["plateau", "cosine"]
    """`plateau`: a tenth of the learning rate whenever validation accuracy stalls, three times at most, as in section
    3.1; `cosine`: a half wave from the full rate to zero."""
    patience: Annotated[int, Field(ge=0, le=_MANY)]
    """Epochs without a better validation accuracy that count as stalled; `plateau` alone reads it."""
    colour_shift: Annotated[float, Field(ge=0)]
    """Standard deviation of the strengths of the RGB colour shift (section 3.1: 0.1)."""


class FineTuneSettings(BaseModel):
    """Section `fine_tune` of a study: training at the large and the jittered scale, from trained weights on."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    epochs: Annotated[int, Field(ge=1, le=_MANY)]
    """Passes over the training images at each of the two scales; the paper does not say."""


class SearchRange(BaseModel):
    """The two ends of a log-uniform range."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)

    low: Annotated[float, Field(gt=0)]
    """Smallest value, inclusive."""
    high: Annotated[float, Field(gt=0)]
    """Largest value, inclusive."""

    @model_validator(mode="after")
    def _ordered(self) -> "SearchRange":
        if self.low >= self.high:
            raise ValueError("low below high")
        return self


class TuneSettings(BaseModel):
    """Section `tune` of a study: the same budget and the same space for every net."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)

    trials: Annotated[int, Field(ge=1, le=_MOST_TRIALS)]
    """Trials a net, pruned and diverged ones included."""
    epochs: Annotated[int, Field(ge=1, le=_MANY)]
    """Epochs of a trial that is not pruned."""
    learning_rate: SearchRange
    """Of SGD at the start of training."""
    weight_decay: SearchRange
    """Factor of the L2 penalty."""
    sampler: Literal["gp", "tpe"]
    """`gp`: a Gaussian process, which learns from complete trials alone; `tpe`: tree-structured Parzen estimators."""
    random_trials: Annotated[int, Field(ge=1, le=_MANY)]
    """Trials drawn at random before the sampler trusts what it has seen; none is pruned before as many are complete."""
    pruner: Literal["none", "median"]
    """`median`: a trial stops that is worse than half of the complete ones at the same epoch."""
    prune_after: Annotated[int, Field(ge=1, le=_MANY)]
    """Epochs that every trial is given before it can be pruned; `none` does not read it."""
    seed: Annotated[int, Field(ge=0, lt=2**32 - _MOST_TRIALS)]
    """Seed of the search; each trial adds its number, and the samplers take 32 bits."""


Protocol = Literal["centre", "dense", "dense_scales", "multi_crop", "combined"]

_AVERAGED: tuple[Protocol, ...] = ("dense_scales", "multi_crop")
"""What `combined` is the mean of."""


def _listed(value: object) -> object:
    if not isinstance(value, list | tuple):
        raise ValueError("a list of names")  # noqa: TRY004 - pydantic turns no other error into a message
    return tuple(value)


def _each_once(names: tuple[Protocol, ...]) -> tuple[Protocol, ...]:
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise ValueError(f"names without repetition ({twice[0]} is listed twice)")
    return names


def _with_both_of_combined(names: tuple[Protocol, ...]) -> tuple[Protocol, ...]:
    if "combined" in names and not set(_AVERAGED).issubset(names):
        raise ValueError(f"combined along with {' and '.join(_AVERAGED)}, whose mean it is")
    return names


Protocols = Annotated[
    tuple[Protocol, ...],
    Field(min_length=1),
    BeforeValidator(_listed),
    AfterValidator(_each_once),
    AfterValidator(_with_both_of_combined),
]


class ProtocolSettings(BaseModel):
    """Section `evaluate.protocols` of a study: how the nets of each training scale are tested (section 3.2).

    `centre`: the centre crop alone. `dense`: the whole image at the single test scale, averaged with its mirror image
    (Table 3). `dense_scales`: the same at three test scales (Table 4). `multi_crop`: a 5x5 grid of crops and their
    mirror images at three test scales. `combined`: the mean of the last two (Table 5).
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    fixed: Protocols
    large: Protocols
    jitter: Protocols

    def of(self, scale: str) -> tuple[Protocol, ...]:
        """Return the protocols of the nets trained at `scale`: fixed, large or jitter."""
        return {"fixed": self.fixed, "large": self.large, "jitter": self.jitter}[scale]


class EvaluateSettings(BaseModel):
    """Section `evaluate` of a study."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    protocols: ProtocolSettings


SELECTIONS = (*SCALES, "all")
"""What `scale` at the top of `params.yaml` may be."""

_MARGIN = 4  # pixels: an image that is rescaled while it is cropped is read a little beyond the crop


class StudySettings(BaseModel):
    """One block of `studies` in `params.yaml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: DataSettings
    scales: ScalesSettings
    compute: ComputeSettings
    model: ModelSettings
    train: TrainSettings
    fine_tune: FineTuneSettings
    tune: TuneSettings
    evaluate: EvaluateSettings

    @model_validator(mode="after")
    def _crop_fits(self) -> "StudySettings":
        side = self.model.input_side
        fixed, large, jitter = self.scales.fixed, self.scales.large, self.scales.jitter
        least = {
            "fixed.train": (side, fixed.train),
            "large.train": (side + _MARGIN, large.train),
            "jitter.train": (side + _MARGIN, jitter.train[0]),
            **{f"{name}.test": (side, self.scales.of(name).test[0]) for name in SCALES},
        }
        # Centre crops are cut at the single test scale; whole images are rescaled before anything is cut from them.
        for name in SCALES:
            if (single := self.scales.of(name).single) != fixed.train:
                least[f"{name}.test[1]"] = (side + _MARGIN, single)
        for name, (needed, found) in least.items():
            if found < needed:
                beyond = f" plus {needed - side}" if needed > side else ""
                raise ValueError(
                    f"scales.{name} ({found}) at least model.input_side{beyond} ({needed}), "
                    "as crops are cut from the rescaled images"
                )
        return self
