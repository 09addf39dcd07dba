"""A net's weights as safetensors files with torchvision's keys: nothing in them is ever executed."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from vgg_ablation.errors import StageError
from vgg_ablation.files import write_bytes


def pack(tensors: Mapping[str, Tensor]) -> bytes:
    """Return tensors, whatever their layout and device, as the bytes of a safetensors file."""
    return save({name: tensor.contiguous() for name, tensor in tensors.items()})


def unpack(content: bytes, named: str) -> dict[str, Tensor]:
    """Return the tensors in the bytes of a safetensors file that the user knows as `named`, on the CPU.

    Raises:
        StageError: these are no such bytes.
    """
    try:
        return load(content)
    # safetensors checks its header, and leaves to torch a type or a shape that makes no sense.
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise StageError(f"{named}: not a whole safetensors file ({error})") from None


def write_weights(path: Path, network: nn.Module) -> None:
    """Write the net's state dict to `path`, whole or not at all. Raises as `files.replacing`."""
    write_bytes(path, pack(network.state_dict()))


def read_weights(path: Path, network: nn.Module) -> None:
    """Put the weights in the file `path` into `network`.

    Raises:
        OSError: the file cannot be read.
        StageError: it is no safetensors file, or of another net.
    """
    put(unpack(path.read_bytes(), str(path)), network, str(path))


def put(tensors: Mapping[str, Tensor], network: nn.Module, named: str) -> None:
    """Copy `tensors` into the net's state dict; the user knows them as `named`.

    Raises:
        StageError: a name or a shape differs; then nothing is copied.
    """
    own = network.state_dict()
    for name in sorted(tensors.keys() | own.keys()):
        there, here = (str(tuple(of[name].shape)) if name in of else "not there" for of in (tensors, own))
        if there != here:
            raise StageError(
                f"{named}: of another net than the settings describe: {name} is {there} in it, {here} in the net; run "
                "the stage that writes it again"
            )
    network.load_state_dict(tensors)
