"""Weights of nets as safetensors files with torchvision's keys; reading one executes nothing."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor, nn

from vgg_ablation.errors import StageError
from vgg_ablation.files import file_digest, write_bytes
from vgg_ablation.model.table1 import ARCHITECTURES

_KEY = "vgg_ablation"
_Side = Annotated[int, Field(ge=32, le=1024)]


def _known(arch: str) -> str:
    if arch not in ARCHITECTURES:
        raise ValueError(f"{arch} is none of {', '.join(ARCHITECTURES)}")
    return arch


class Description(BaseModel):
    """All that the use of a file of weights takes: the net, its classes, and how an image becomes its input."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    arch: Annotated[str, AfterValidator(_known)]
    """Name of the net; `_BN` at its end: with batch normalisation."""
    width: Annotated[float, Field(gt=0, le=2)]
    """Factor on the channels of every hidden layer."""
    input_side: Annotated[_Side, Field(multiple_of=32)]
    """Side in pixels of the crop that the net sees."""
    classes: Annotated[tuple[str, ...], Field(min_length=1)]
    """Names of the classes by label."""
    stored_side: _Side
    """Smallest side in pixels that an image is rescaled to when it is decoded."""
    test_scale: _Side
    """Smallest side in pixels that it has when it is cropped: Q of section 3.2."""
    mean: Annotated[tuple[float, ...], Field(min_length=3, max_length=3)]
    """Mean of each channel of the training images, pixel values in 0..1."""
    deviation: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=3, max_length=3)]
    """Standard deviation of each channel."""

    @model_validator(mode="after")
    def _crops_fit(self) -> "Description":
        if not self.input_side <= self.test_scale <= self.stored_side:
            raise ValueError("allowed: input_side up to test_scale, test_scale up to stored_side")
        return self


def pack(tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """Return tensors of any layout and device as the bytes of a safetensors file.

    The same tensors give the same bytes if `metadata` has at most one key: safetensors writes them in random order.
    """
    return save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata)


def unpack(content: bytes, named: str) -> dict[str, Tensor]:
    """Return the tensors in the bytes of a safetensors file, on the CPU; messages call it `named`.

    Raises:
        StageError: the bytes are not a valid safetensors file.
    """
    try:
        return load(content)
    # safetensors validates its header; impossible types and shapes are errors of torch.
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise _invalid(named, error) from None


def write_weights(path: Path, network: nn.Module, description: Description) -> None:
    """Write the state dict of a net to `path` atomically, the description as metadata. Raises as `files.replacing`."""
    write_bytes(path, pack(network.state_dict(), {_KEY: description.model_dump_json()}))


def read_description(path: Path) -> Description:
    """Return the description in a file of weights.

    Raises:
        OSError: the file cannot be read.
        StageError: it is not a safetensors file, or has no valid description.
    """
    try:
        with safe_open(path, "pt") as file:
            content = (file.metadata() or {}).get(_KEY)
    except SafetensorError as error:
        raise _invalid(path, error) from None
    if content is None:
        raise StageError(f"{path}: no description of its net, as an earlier version wrote it; run train again")
    try:
        return Description.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place, reason = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
        raise StageError(f"{path}: description of its net: {': '.join(filter(None, [place, reason]))}") from None


def verify_weights(path: Path, sha256: str) -> None:
    """Compare the SHA-256 of a file of weights with that in training.json.

    Raises:
        OSError: the file cannot be read.
        StageError: the digest differs.
    """
    if file_digest(path) != sha256:
        raise StageError(f"{path}: checksum mismatch with training.json; run train again")


def read_weights(path: Path, network: nn.Module) -> None:
    """Load the weights in the file `path` into `network`.

    Raises:
        OSError: the file cannot be read.
        StageError: it is not a safetensors file, or of another net.
    """
    put(unpack(path.read_bytes(), str(path)), network, str(path))


def put(tensors: Mapping[str, Tensor], network: nn.Module, named: str) -> None:
    """Copy `tensors` into the state dict of a net; messages call them `named`.

    Raises:
        StageError: a name or a shape differs; then nothing is copied.
    """
    own = network.state_dict()
    for name in sorted(tensors.keys() | own.keys()):
        there, here = (str(tuple(of[name].shape)) if name in of else "missing" for of in (tensors, own))
        if there != here:
            raise StageError(
                f"{named}: weights of another net than the settings describe: {name} is {there} in it, {here} in the "
                "net; rerun the stage that writes it"
            )
    network.load_state_dict(tensors)


def _invalid(named: object, error: Exception) -> StageError:
    return StageError(f"{named}: not a valid safetensors file ({error})")
