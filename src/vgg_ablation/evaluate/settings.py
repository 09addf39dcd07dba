"""Settings of the evaluation. Imports no torch."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

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
