"""Weights of nets as safetensors files with torchvision's keys; reading one executes nothing."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from vgg_ablation.errors import StageError
from vgg_ablation.files import file_digest, write_bytes


def pack(tensors: Mapping[str, Tensor]) -> bytes:
    """Return tensors of any layout and device as the bytes of a safetensors file."""
    return save({name: tensor.contiguous() for name, tensor in tensors.items()})


def unpack(content: bytes, named: str) -> dict[str, Tensor]:
    """Return the tensors in the bytes of a safetensors file, on the CPU; messages call it `named`.

    Raises:
        StageError: the bytes are not a valid safetensors file.
    """
    try:
        return load(content)
    # safetensors validates its header; impossible types and shapes are errors of torch.
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise StageError(f"{named}: not a valid safetensors file ({error})") from None


def write_weights(path: Path, network: nn.Module) -> None:
    """Write the state dict of a net to `path` atomically. Raises as `files.replacing`."""
    write_bytes(path, pack(network.state_dict()))


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
                "net; run the stage that writes it again"
            )
    network.load_state_dict(tensors)
