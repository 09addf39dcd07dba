"""A run's state between two epochs as one safetensors file: nothing is pickled, and no file is half-written."""

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from vgg_ablation.pipeline.files import replacing
from vgg_ablation.train.epoch import Epoch

_NETWORK, _MOMENTUM = "network.", "momentum."


def save(
    path: Path, network: nn.Module, optimiser: torch.optim.SGD, scaler: torch.amp.GradScaler, history: list[Epoch]
) -> None:
    """Write weights, momentum, the loss scale and the history so far to `path`."""
    tensors = {_NETWORK + name: tensor for name, tensor in network.state_dict().items()}
    for name, parameter in network.named_parameters():
        buffer = optimiser.state[parameter].get("momentum_buffer")
        if buffer is not None:
            tensors[_MOMENTUM + name] = buffer
    metadata = {"history": json.dumps([asdict(epoch) for epoch in history]), "scaler": json.dumps(scaler.state_dict())}
    write_tensors(path, tensors, metadata)


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write tensors, contiguous whatever their layout, as a safetensors file, whole or not at all.

    Raises:
        OSError: the file cannot be written (a full disk, say).
    """
    with replacing(path) as beside:
        try:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, beside, metadata)
        except SafetensorError as error:
            raise OSError(f"{path}: {error}") from None


def load(path: Path, network: nn.Module, optimiser: torch.optim.SGD, scaler: torch.amp.GradScaler) -> list[Epoch]:
    """Put the state in `path` into network, optimiser and scaler, and return the history; empty if there is none.

    A file that is no whole checkpoint counts as none: the work is done again.
    """
    if not path.exists():
        return []
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        history = [Epoch(**row) for row in json.loads(metadata["history"])]
        loss_scale = json.loads(metadata["scaler"])
    except (SafetensorError, KeyError, TypeError, ValueError):
        return []
    weights = {name.removeprefix(_NETWORK): value for name, value in tensors.items() if name.startswith(_NETWORK)}
    own = network.state_dict()
    if {name: value.shape for name, value in weights.items()} != {name: value.shape for name, value in own.items()}:
        return []
    network.load_state_dict(weights)
    for name, parameter in network.named_parameters():
        if (buffer := tensors.get(_MOMENTUM + name)) is not None:
            # A copy in the parameter's own memory layout: the fused optimiser walks both together.
            optimiser.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).copy_(buffer)
    scaler.load_state_dict(loss_scale)
    return history
