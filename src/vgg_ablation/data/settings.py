"""Settings of the data: where the images come from, at what scales they are seen, and how they are split."""

import os
from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from vgg_ablation.pipeline.state import repository_root

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
