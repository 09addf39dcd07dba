"""Settings of training and of the search."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

PAPER_LEARNING_RATE = 1e-2
PAPER_WEIGHT_DECAY = 5e-4
FINE_TUNING = 0.1
"""Learning rate at the other scales over that at the fixed one: the paper's 1e-3 over its 1e-2 (section 3.1)."""
_MANY = 10**9  # more than any study needs, few enough to count with
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
