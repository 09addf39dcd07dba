"""Settings of a study: every key of a block of `studies` in params.yaml.

The classes check values and hold nothing else: no defaults and no derived values, so that DVC sees whatever decides a
result in params.yaml. `docs/settings.md` is generated from the docstrings, bounds and `Reference`s here.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from vgg_ablation.runtime import paths
from vgg_ablation.runtime.names import ALL, chosen
from vgg_ablation.runtime.state import repository_root

SCALES = ("fixed", "large", "jitter")
"""The training scales, each trained from the weights of the one before (section 3.1)."""

SELECTIONS = (*SCALES, ALL)
"""Values of `scale` at the top of `params.yaml`."""


def trained_scales(selected: str) -> tuple[str, ...]:
    """Return the scales at which nets are trained if `scale` has this value: those before it, too."""
    return SCALES if selected == ALL else SCALES[: SCALES.index(selected) + 1]


def evaluated_scales(selected: str) -> tuple[str, ...]:
    """Return the scales whose nets are evaluated if `scale` has this value."""
    return chosen(selected, SCALES)


_OUTPUTS = (
    paths.ARCHIVE.parent,
    paths.PROCESSED,
    paths.NEAR_DUPLICATES,
    paths.RESULTS,
    paths.REPORTS,
    paths.APPENDIX_B_DATA,
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # control characters and lone surrogates
_MANY = 10**9  # more than any study needs
_MOST_TRIALS = 10**6
_BEYOND_CROP = 4  # pixels: an image that is rescaled while it is cropped is read this far beyond the crop


@dataclass(frozen=True)
class Reference:
    """Facts about a setting for docs/settings.md, in addition to its docstring and its bounds."""

    unit: str = ""
    paper: object = None
    """The paper's value as params.yaml would hold it; of a section, a mapping; None where the paper gives none."""
    section: str = ""
    """Where the paper says so."""
    allowed: str = ""
    """In words, where type and bounds do not say it."""


def _all_or_names(value: object) -> object:
    if value == "all":
        return value
    if not isinstance(value, list | tuple) or len(value) < 2:
        raise ValueError("all, or a list of two names or more")
    for name in value:
        if not isinstance(name, str) or not name or _CONTROL.search(name):
            raise ValueError("names without control characters")
    return _each_once(tuple(value))


def _each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise ValueError(f"each name once ({twice[0]} is repeated)")
    return names


def _readable_source(source: str) -> str:
    if _CONTROL.search(source):
        raise ValueError("text without control characters")
    place = Path(os.path.normpath(repository_root() / source))
    if any(place.is_relative_to(repository_root() / folder) for folder in _OUTPUTS):
        # DVC deletes its outputs before it runs the stage that would read this source.
        raise ValueError(f"a file or folder outside of {', '.join(map(str, _OUTPUTS))}, which DVC deletes")
    return source


def _number_or_folders(value: object) -> object:
    if value != "folders" and not (type(value) is int and 2 <= value <= _MANY):
        raise ValueError(f"a whole number from 2 to {_MANY:,}, or folders")
    return value


def _ascending(value: object, types: Sequence[type] = (int,), what: str = "whole numbers") -> object:
    if not isinstance(value, list | tuple) or not value or not all(type(each) in types for each in value):
        raise ValueError(f"a list of {what}")
    if list(value) != sorted(set(value)):
        raise ValueError("an ascending list")
    return tuple(value)


def _ascending_numbers(value: object) -> object:
    return _ascending(value, (int, float), "numbers")


def _list_of_names(value: object) -> object:
    if not isinstance(value, list | tuple) or not value:
        raise ValueError("a list of names")
    return tuple(value)


def _averaged_protocols_listed(names: tuple[str, ...]) -> tuple[str, ...]:
    if "combined" in names and not {"dense_scales", "multi_crop"}.issubset(names):
        raise ValueError("combined only together with dense_scales and multi_crop, whose mean it is")
    return names


class Section(BaseModel):
    """A mapping of settings: exact types, all keys required, no others allowed."""

    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )


class DataSettings(Section):
    """Which images, and how they are split."""

    source: Annotated[
        str,
        Field(min_length=1, max_length=4096),
        AfterValidator(_readable_source),
        Reference(paper="caltech256", section="appendix B", allowed="`sample`, `caltech256`, a path or an address"),
    ]
    """`sample`: rendered solids; `caltech256`: the official archive; else images in folders, `CATEGORY/IMAGE` at any
    depth: a folder, a tar, compressed or not, or a zip."""
    categories: Annotated[
        Literal["all"] | tuple[str, ...],
        BeforeValidator(_all_or_names),
        Reference(paper="all", section="appendix B", allowed="`all`, or a list of two names or more"),
    ]
    """Categories that are classes; a name's number may be left out: `backpack` or `003.backpack`."""
    clutter: bool
    """Whether 257.clutter, which shows no object, is a class."""
    train_per_class: Annotated[
        Literal["folders"] | int,
        BeforeValidator(_number_or_folders),
        Reference("images", 60, "appendix B", "integer, at least 2, or `folders`"),
    ]
    """Images of a category that are not test images, drawn at random. `folders`: the source's folders `train`, `val`,
    `test` are the split, the same in all runs, which have seeds of their own. If `val` or `test` is missing, the other
    is the test, and each run draws its validation images from `train`."""
    validation_fraction: Annotated[float, Field(gt=0, lt=1), Reference("share", 0.2, "appendix B")]
    """Share of these used for validation; not read if the source has all three folders."""
    splits: Annotated[int, Field(ge=1, le=100), Reference("splits", 3, "appendix B")]
    """Splits, and so runs of each net: run r uses split r and seed r."""
    seed: Annotated[int, Field(ge=0, lt=2**64)]
    """Seed of the splits."""


Side = Annotated[int, Field(ge=32, le=1024)]
"""Smallest side in pixels of an image that is rescaled isotropically."""


class FixedScale(Section):
    """Training images of one size, and three sizes of test images."""

    train: Annotated[Side, Reference("pixels")]
    """S: smallest side of training images."""
    test: Annotated[
        tuple[Side, Side, Side],
        BeforeValidator(_ascending),
        Reference("pixels", allowed="three integers in ascending order, 32 to 1024"),
    ]
    """Q: smallest side of test images; the middle one is the single Q of Table 3, all three those of Table 4."""

    @property
    def single(self) -> int:
        """The one Q of tests at a single scale."""
        return self.test[1]


class JitteredScale(FixedScale):
    """Training images of random sizes, and three sizes of test images."""

    train: Annotated[  # pyright: ignore[reportIncompatibleVariableOverride]
        tuple[Side, Side],
        BeforeValidator(_ascending),
        Reference("pixels", allowed="two integers in ascending order, 32 to 1024"),
    ]
    """Smallest and largest S, drawn for each image in each epoch."""


class ScalesSettings(Section):
    """Sizes of images at the three training scales. `model.input_side` must fit into all of them."""

    fixed: Annotated[FixedScale, Reference(paper={"train": 256, "test": [224, 256, 288]}, section="Tables 3, 4")]
    large: Annotated[FixedScale, Reference(paper={"train": 384, "test": [352, 384, 416]}, section="Tables 3, 4")]
    jitter: Annotated[
        JitteredScale, Reference(paper={"train": [256, 512], "test": [256, 384, 512]}, section="Tables 3, 4")
    ]

    def of(self, name: str) -> FixedScale | JitteredScale:
        """Return the training scale called `name`, one of `SCALES`."""
        return {"fixed": self.fixed, "large": self.large, "jitter": self.jitter}[name]


Init = Literal["kaiming", "paper", "imagenet"]

PUBLISHED_SIDE, PUBLISHED_WIDTH = 224, 1.0
"""Input side and width of the nets that torchvision trained on ImageNet."""


class ModelSettings(Section):
    """What all nets of a study share; the names are the keyword arguments of `VGG`."""

    input_side: Annotated[int, Field(ge=32, le=1024, multiple_of=32), Reference("pixels", 224, "2.1")]
    """Side of the square crop that the net sees."""
    width: Annotated[float, Field(gt=0, le=2), Reference("factor", 1.0, "Table 1")]
    """Factor on the channels of every hidden layer of Table 1."""
    dropout: Annotated[float, Field(ge=0, lt=1), Reference("probability", 0.5, "3.1")]
    """Probability of zeroing an output of the first two fully-connected layers."""
    init: Annotated[Init, Reference(paper="paper", section="3.1")]
    """Weights that training starts from. `kaiming`: random, preserves the signal at any depth. `paper`: N(0, 0.01²),
    from which only the shallow net A can start; deeper nets start from a trained A. `imagenet`: torchvision's ImageNet
    weights (C has those of D, A_LRN those of A) with a random last layer; only with input_side 224 and width 1."""

    @model_validator(mode="after")
    def _published_nets_fit(self) -> "ModelSettings":
        if self.init == "imagenet" and (self.input_side, self.width) != (PUBLISHED_SIDE, PUBLISHED_WIDTH):
            raise ValueError(
                f"init imagenet only with input_side {PUBLISHED_SIDE} and width {PUBLISHED_WIDTH:g}, "
                "those of the published nets"
            )
        return self


class TrainSettings(Section):
    """Training, the same for every net; section `tune` searches learning rate, weight decay and batch size per net."""

    epochs: Annotated[int, Field(ge=1, le=_MANY), Reference("epochs", 74, "3.1")]
    """Passes over the training images."""
    momentum: Annotated[float, Field(ge=0, lt=1), Reference(paper=0.9, section="3.1")]
    """SGD momentum."""
    schedule: Annotated[Literal["plateau", "cosine"], Reference(paper="plateau", section="3.1")]
    """`plateau`: a tenth of the learning rate when validation accuracy stalls, at most three times; `cosine`: half a
    wave from the full rate to zero."""
    warm_up: Annotated[float, Field(ge=0, lt=1), Reference("share", 0.0)]
    """Share of all steps in which the learning rate rises linearly to its full value, before the schedule."""
    patience: Annotated[int, Field(ge=0, le=_MANY), Reference("epochs")]
    """Epochs in a row without a better validation accuracy before the rate falls: it falls after the next such epoch.
    Only `plateau` reads it."""
    colour_shift: Annotated[float, Field(ge=0), Reference(paper=0.1, section="3.1")]
    """Standard deviation of the strengths of the RGB colour shift (Krizhevsky et al., section 4.1)."""
    refit: Annotated[bool, Reference(paper=False)]
    """Train the runs, after the search, on the validation images too. Not with `plateau`, which needs them."""

    @model_validator(mode="after")
    def _plateau_is_validated(self) -> "TrainSettings":
        if self.refit and self.schedule == "plateau":
            raise ValueError("refit only with schedule cosine, as plateau needs the validation images")
        return self


class FineTuneSettings(Section):
    """Training at the large and the jittered scale, from weights of the scale before."""

    epochs: Annotated[int, Field(ge=1, le=_MANY), Reference("epochs")]
    """Passes over the training images at each of the two scales."""
    rate_factor: Annotated[float, Field(gt=0, le=1), Reference("factor", 0.1, "3.1")]
    """Learning rate over the tuned one."""


class SearchRange(Section):
    """Both ends of a log-uniform range."""

    low: Annotated[float, Field(gt=0)]
    """Smallest value, inclusive."""
    high: Annotated[float, Field(gt=0)]
    """Largest value, inclusive."""

    @model_validator(mode="after")
    def _ordered(self) -> "SearchRange":
        if self.low >= self.high:
            raise ValueError("low must be smaller than high")
        return self


class TuneSettings(Section):
    """Search for learning rate, weight decay and batch size: the same budget and space for every net.

    If the space has the paper's rate and decay, 1e-2 and 5e-4 (section 3.1), the first trial has them and the largest
    batch.
    """

    trials: Annotated[int, Field(ge=1, le=_MOST_TRIALS), Reference("trials")]
    """Trials of a net, pruned and diverged ones included."""
    epochs: Annotated[int, Field(ge=1, le=_MANY), Reference("epochs")]
    """Epochs of a trial that is not pruned."""
    learning_rate: SearchRange
    weight_decay: SearchRange
    batch_size: Annotated[
        tuple[Annotated[int, Field(ge=1, le=_MANY)], ...],
        BeforeValidator(_ascending),
        Reference("images", [256], "3.1", "an ascending list of whole numbers"),
    ]
    """Images of a step: sizes to choose from. One alone is not searched."""
    sampler: Literal["gp", "tpe"]
    """`gp`: a Gaussian process, which learns from complete trials only; `tpe`: tree-structured Parzen estimators."""
    random_trials: Annotated[int, Field(ge=1, le=_MANY), Reference("trials")]
    """Complete trials before the sampler uses results and trials can be pruned. Until then points are random, except
    the paper's point, which comes first if the space has it."""
    round_size: Annotated[int, Field(ge=1, le=_MANY), Reference("trials")]
    """Trials suggested together, from the results of earlier rounds; they can run at the same time."""
    pruner: Literal["none", "median"]
    """`median`: stops a trial that is worse than half of the complete ones at the same epoch."""
    prune_after: Annotated[int, Field(ge=1, le=_MANY), Reference("epochs")]
    """Epochs before a trial can be pruned; only `median` reads it."""
    seed: Annotated[int, Field(ge=0, lt=2**32 - _MOST_TRIALS)]
    """Seed of the search; each trial adds its number."""


Protocol = Literal["centre", "dense", "dense_scales", "multi_crop", "combined"]

Protocols = Annotated[
    tuple[Protocol, ...],
    BeforeValidator(_list_of_names),
    AfterValidator(_each_once),
    AfterValidator(_averaged_protocols_listed),
    Reference(
        section="3.2, Tables 3 to 5",
        allowed="a list of protocols; `combined` needs `dense_scales` and `multi_crop`",
    ),
]


class ProtocolSettings(Section):
    """The protocols of each training scale."""

    fixed: Protocols
    """Protocols of nets trained at the fixed scale."""
    large: Protocols
    """Protocols of nets trained at the large scale."""
    jitter: Protocols
    """Protocols of nets trained at the jittered scale."""

    def of(self, scale: str) -> tuple[Protocol, ...]:
        """Return the protocols of the nets trained at `scale`, one of `SCALES`."""
        return {"fixed": self.fixed, "large": self.large, "jitter": self.jitter}[scale]


class EvaluateSettings(Section):
    """How trained nets are tested (section 3.2).

    `centre`: the centre crop alone. `dense`: the whole image at the single test scale, averaged with its mirror image
    (Table 3); positions are 32 pixels apart, so that up to 16 pixels at each side have none, and images smaller than
    two crops have one position, the centre. `dense_scales`: the same at three test scales (Table 4). `multi_crop`: a
    5x5 grid of crops and their mirror images at three test scales. `combined`: the mean of the last two (Table 5).
    """

    protocols: ProtocolSettings


Descriptor = Literal["single", "averaged", "stacked"]


class AppendixBSettings(Section):
    """Appendix B of the paper: frozen nets, trained on ImageNet, and a linear classifier. The block `appendix_b`.

    Where the paper says nothing, the default is what its text suggests: features after the ReLU, which belongs to every
    hidden layer (section 2.1); the whole descriptor normalised, not each scale.
    """

    data: DataSettings
    weights: Annotated[
        str,
        Field(min_length=1, max_length=4096),
        AfterValidator(_readable_source),
        Reference(allowed="`torchvision`, or the path of a folder"),
    ]
    """`torchvision`: published weights, downloaded; else a folder with its files, or with other weights in
    `D.safetensors` or `D.pth`."""
    scales: Annotated[
        tuple[Annotated[int, Field(ge=224, le=1024)], ...],
        BeforeValidator(_ascending),
        Reference("pixels", [256, 384, 512], "appendix B", "an ascending list of whole numbers, 224 to 1024"),
    ]
    """Q: smallest side of the images."""
    relu: bool
    """Take features after the ReLU of the penultimate layer."""
    normalise_scales: bool
    """Scale features of each net at each scale to unit length before they are combined; the result always has."""
    descriptors: Annotated[
        tuple[Descriptor, ...],
        BeforeValidator(_list_of_names),
        AfterValidator(_each_once),
        Reference(section="appendix B", allowed="a list of `single`, `averaged`, `stacked`"),
    ]
    """Combinations of scales: each alone, their mean, or one after the other."""
    penalties: Annotated[
        tuple[Annotated[float, Field(gt=0)], ...],
        BeforeValidator(_ascending_numbers),
        Reference(allowed="an ascending list of positive numbers"),
    ]
    """C of the classifier: values that the held-out images choose from."""
    threads: Annotated[int, Field(ge=1, le=1024), Reference("threads")]
    """CPU threads of a stage."""


class ComputeSettings(Section):
    """How a stage computes: what decides the last digits of a result."""

    threads: Annotated[int, Field(ge=1, le=1024), Reference("threads")]
    """CPU threads of a stage, whatever `OMP_NUM_THREADS` and the number of cores are."""


class StudySettings(Section):
    """One block of `studies` in `params.yaml`."""

    data: DataSettings
    scales: ScalesSettings
    model: ModelSettings
    train: TrainSettings
    fine_tune: FineTuneSettings
    tune: TuneSettings
    evaluate: EvaluateSettings
    compute: ComputeSettings

    def epochs_at(self, scale: str) -> int:
        """Return the epochs of a run at a training scale, one of `SCALES`."""
        return self.train.epochs if scale == "fixed" else self.fine_tune.epochs

    @model_validator(mode="after")
    def _crops_fit(self) -> "StudySettings":
        side = self.model.input_side
        fixed, large, jitter = self.scales.fixed, self.scales.large, self.scales.jitter
        least = {
            "fixed.train": (side, fixed.train),
            "large.train": (side + _BEYOND_CROP, large.train),
            "jitter.train": (side + _BEYOND_CROP, jitter.train[0]),
            **{f"{name}.test": (side, self.scales.of(name).test[0]) for name in SCALES},
        }
        # Centre crops are cut at the single test scale, and rescaled while they are cut: but for the fixed scale, where
        # the images of `fixed.train` are stored. Whole images are rescaled before anything is cut from them.
        for name in SCALES:
            if (single := self.scales.of(name).single) != fixed.train or name != "fixed":
                least[f"{name}.test[1]"] = (side + _BEYOND_CROP, single)
        for name, (needed, given) in least.items():
            if given < needed:
                beyond = f" plus {needed - side}" if needed > side else ""
                raise ValueError(
                    f"scales.{name} ({given}) at least model.input_side{beyond} ({needed}), "
                    "as crops are cut from the rescaled images"
                )
        return self
