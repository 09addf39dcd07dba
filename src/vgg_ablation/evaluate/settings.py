"""Settings of the evaluation."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Protocol = Literal["centre", "dense"]


def _listed(value: object) -> object:
    if not isinstance(value, list | tuple):
        raise ValueError("a list of names")  # noqa: TRY004 - pydantic turns no other error into a message
    return tuple(value)


class EvaluateSettings(BaseModel):
    """Section `evaluate` of a study."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    protocols: Annotated[tuple[Protocol, ...], Field(min_length=1), BeforeValidator(_listed)]
    """`centre`: the centre crop alone; `dense`: the whole image at one scale, averaged with its mirror image (section
    3.2, Table 3)."""
