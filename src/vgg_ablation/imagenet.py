"""Published ImageNet weights: downloaded or read from a folder, verified, and converted once to safetensors.

Weights of another author are used in appendix B alone, from a file called NET.safetensors or NET.pth.
"""

import hashlib
import pickle
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vgg_ablation.errors import StageError
from vgg_ablation.files import file_digest, read_json, share, write_bytes, write_json
from vgg_ablation.model.published import OFFICIAL, SOURCE_FILE, WEIGHTS_FILE, Official, twin
from vgg_ablation.model.start import empty_net
from vgg_ablation.model.vgg import VGG
from vgg_ablation.model.weights import pack, put, read_weights, unpack
from vgg_ablation.runtime.console import Console
from vgg_ablation.runtime.locks import locked
from vgg_ablation.runtime.params import read_params
from vgg_ablation.runtime.settings import ModelSettings
from vgg_ablation.runtime.state import repository_root

OFFICIAL_FOLDER = "https://download.pytorch.org/models/"
MIRRORS = "TORCHVISION_MIRRORS"
"""Environment variable: more addresses of that folder, tried if the official one fails. It affects no result."""

_ROUNDING = 0.0005 * 2**20  # bytes: torchvision gives sizes in MiB with three decimals


def obtain_weights(net: str, source: str, folder: Path, console: Console) -> dict[str, Any]:
    """Write the ImageNet weights of `net` to `folder` as weights.safetensors, and what they are as source.json.

    Args:
        net: one of `OFFICIAL`.
        source: `torchvision`, or a folder (relative paths are from the repository's root) with torchvision's file, or
            with weights of another author in `NET.safetensors` or `NET.pth`.
        folder: to write to.
        console: receives progress.

    Returns:
        The content of source.json.

    Raises:
        OSError: a file cannot be read or written.
        StageError: there is no such file, no address has it, it is not the published one, holds more than tensors, or
            those of another net.
    """
    if source != "torchvision":
        return _convert(net, _find(net, source, [OFFICIAL[net].file, f"{net}.safetensors", f"{net}.pth"]), folder)
    found = _keep_published(net, source, console)
    share(kept_weights(net) / WEIGHTS_FILE, folder / WEIGHTS_FILE)
    write_json(folder / SOURCE_FILE, found)
    return found


def obtain_start(arch: str, model: ModelSettings, console: Console) -> str:
    """Obtain the published weights that net `arch` starts from, if the settings say so, for `published_net`.

    `appendix_b.weights` in params.yaml says where they are. That changes no result: only the published file will do.

    Returns:
        The SHA-256 of torchvision's file, or nothing if the net starts otherwise.

    Raises:
        OSError: as `obtain_weights`.
        StageError: as `obtain_weights`, or the file is of another author.
    """
    if model.init != "imagenet":
        return ""
    return _keep_published(twin(arch), read_params().of_appendix_b().weights, console)["sha256"]


def published_net(net: str) -> VGG:
    """Return a published net with its weights. Raises OSError if they are not in the resume state."""
    network = empty_net(net)
    read_weights(kept_weights(net) / WEIGHTS_FILE, network)
    return network


def kept_weights(net: str) -> Path:
    """Return the folder of the published weights of a net in the resume state."""
    return repository_root() / ".state" / "imagenet" / OFFICIAL[net].file.removesuffix(".pth")


def _keep_published(net: str, source: str, console: Console) -> dict[str, Any]:
    """Convert the published weights of a net into the resume state, if they are not there; return their source.json."""
    folder = kept_weights(net)
    with locked(folder, console.say):
        if (folder / SOURCE_FILE).exists() and (folder / WEIGHTS_FILE).exists():
            found = read_json(folder / SOURCE_FILE)
            if file_digest(folder / WEIGHTS_FILE) == found["weights_sha256"]:
                return found
        if source != "torchvision":
            return _convert(net, _find(net, source, [OFFICIAL[net].file]), folder)
        path = _download(OFFICIAL[net], console)
        found = _convert(net, path, folder)
        path.unlink()  # the converted file is as large
        return found


def _convert(net: str, path: Path, folder: Path) -> dict[str, Any]:
    official, digest = OFFICIAL[net], file_digest(path)
    published = path.name == official.file
    if published and not digest.startswith(official.sha256):
        raise StageError(f"{path}: SHA-256 {digest}, not {official.sha256}: not the file that torchvision published")
    content = pack(fitting(_read(path), net, str(path)))
    write_bytes(folder / WEIGHTS_FILE, content)
    converted = hashlib.sha256(content).hexdigest()
    found = {"net": net, "file": path.name, "sha256": digest, "weights_sha256": converted, "published": published}
    write_json(folder / SOURCE_FILE, found)
    return found


def _download(official: Official, console: Console) -> Path:
    """Return torchvision's file, downloaded into the resume state."""
    from vgg_ablation.dataset.download import Published, fetch_published, mirrors  # most stages download nothing

    size = official.mebibytes * 2**20
    wanted = Published(
        name=official.file.removesuffix(".pth"),
        addresses=[f"{place.rstrip('/')}/{official.file}" for place in (OFFICIAL_FOLDER, *mirrors(MIRRORS))],
        least=int(size - _ROUNDING),
        most=int(size + _ROUNDING) + 1,
        sha256=official.sha256,
        instead="put the file into a folder and name that: appendix_b.weights in params.yaml",
    )
    path = repository_root() / ".state" / "download" / official.file
    if not path.exists():
        fetch_published(wanted, path, console)
    return path


def _find(net: str, source: str, names: Sequence[str]) -> Path:
    """Return the one file of a folder that has one of `names`."""
    folder = repository_root() / source
    found = [folder / name for name in names if (folder / name).is_file()]
    if len(found) != 1:
        problem = f"holds {' and '.join(path.name for path in found)}; keep one" if found else "holds no weights"
        raise StageError(f"appendix_b.weights = {source!r}: {problem} of net {net}; allowed: {', '.join(names)}")
    return found[0]


def _read(path: Path) -> Mapping[str, Tensor]:
    """Return the tensors in a file of torch or safetensors; nothing in it is executed."""
    if path.suffix == ".safetensors":
        return unpack(path.read_bytes(), str(path))
    try:
        with warnings.catch_warnings(action="ignore"):  # torch's, about its old file format
            values = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise StageError(f"{path}: damaged, or holds more than tensors; refused") from None
    # Damaged bytes raise these in torch and in zipfile.
    except (RuntimeError, EOFError, ValueError, KeyError, IndexError, AttributeError, TypeError, zipfile.BadZipFile):
        raise StageError(f"{path}: not a complete file of weights; obtain it again") from None
    if not isinstance(values, dict) or not all(isinstance(value, Tensor) for value in values.values()):
        raise StageError(f"{path}: not a state dict; refused")
    return values


def fitting(tensors: Mapping[str, Tensor], net: str, named: str) -> dict[str, Tensor]:
    """Return a state dict with exactly the names and shapes of `net`; messages call it `named`.

    torchvision's oldest files lack the counters of batch normalisation, which only training reads.

    Raises:
        StageError: a name or a shape differs, or a value is not finite.
    """
    network = empty_net(net)
    counters = {name for name in network.state_dict() if name.endswith("num_batches_tracked")}
    complete = {**{name: torch.tensor(0) for name in counters}, **tensors}
    put(complete, network, named)
    if not all(bool(value.isfinite().all()) for value in network.state_dict().values()):
        raise StageError(f"{named}: holds values that are not finite; obtain it again")
    return network.state_dict()
