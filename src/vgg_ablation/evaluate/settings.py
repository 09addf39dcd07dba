"""Settings of the evaluation."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Protocol = Literal["centre", "dense"]


class EvaluateSettings(BaseModel):
    """Section `evaluate` of a study."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    protocols: Annotated[tuple[Protocol, ...], Field(min_length=1)]
    """`centre`: the centre crop alone; `dense`: the whole image at one scale, averaged with its mirror image (section
    3.2, Table 3)."""
