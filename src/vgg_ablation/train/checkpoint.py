"""Checkpoints of a run after an epoch: safetensors and a JSON record, so nothing is unpickled."""

import json
from dataclasses import asdict

import torch
from torch import nn

from vgg_ablation.errors import StageError
from vgg_ablation.model.weights import pack, put, unpack
from vgg_ablation.runtime.checkpoints import Checkpoints
from vgg_ablation.train.epoch import Divergence, Epoch

_NETWORK, _MOMENTUM, _RECORD = "network.", "momentum.", "record"


def save(
    checkpoints: Checkpoints,
    network: nn.Module,
    optimiser: torch.optim.SGD,
    scaler: torch.amp.GradScaler,
    history: list[Epoch],
    divergence: Divergence | None = None,
) -> None:
    """Save weights, momentum, loss scale, the history so far, and a divergence. Raises as `checkpoints.write`."""
    tensors = {_NETWORK + name: tensor for name, tensor in network.state_dict().items()}
    for name, parameter in network.named_parameters():
        buffer = optimiser.state[parameter].get("momentum_buffer")
        if buffer is not None:
            tensors[_MOMENTUM + name] = buffer
    record = {
        "history": [asdict(epoch) for epoch in history],
        "scaler": scaler.state_dict(),
        "divergence": asdict(divergence) if divergence else None,
    }
    tensors[_RECORD] = torch.frombuffer(bytearray(json.dumps(record).encode()), dtype=torch.uint8)
    checkpoints.write(len(history) + (divergence is not None), pack(tensors))


def load(
    checkpoints: Checkpoints, network: nn.Module, optimiser: torch.optim.SGD, scaler: torch.amp.GradScaler
) -> tuple[list[Epoch], Divergence | None]:
    """Load the latest valid checkpoint into network, optimiser and scaler; return the history and a divergence.

    Raises:
        StageError: the checkpoint is not one of a run, or of another net.
    """
    if (content := checkpoints.read()) is None:
        return [], None
    tensors = unpack(content, checkpoints.name)
    if _RECORD not in tensors:
        raise StageError(f"{checkpoints.name}: not the checkpoint of a run; delete it and run this again")
    record = json.loads(bytes(tensors[_RECORD].tolist()))
    weights = {name.removeprefix(_NETWORK): value for name, value in tensors.items() if name.startswith(_NETWORK)}
    put(weights, network, checkpoints.name)
    for name, parameter in network.named_parameters():
        if (buffer := tensors.get(_MOMENTUM + name)) is not None:
            # A copy in the parameter's memory layout: the fused optimiser reads both in the same order.
            optimiser.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).copy_(buffer)
    scaler.load_state_dict(record["scaler"])
    divergence = Divergence(**record["divergence"]) if record["divergence"] else None
    return [Epoch(**row) for row in record["history"]], divergence
