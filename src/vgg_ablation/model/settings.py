"""What a study may choose about its nets. Imports no torch."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


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
