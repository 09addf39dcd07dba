"""A run's state between two epochs: nothing is pickled, and no file is half-written."""

import json
from dataclasses import asdict

import torch
from torch import nn

from vgg_ablation.model.weights import pack, put, unpack
from vgg_ablation.pipeline.slots import Slots
from vgg_ablation.train.epoch import Epoch

_NETWORK, _MOMENTUM, _RECORD = "network.", "momentum.", "record"


def save(
    slots: Slots, network: nn.Module, optimiser: torch.optim.SGD, scaler: torch.amp.GradScaler, history: list[Epoch]
) -> None:
    """Keep weights, momentum, the loss scale and the history so far. Raises as `Slots.write`."""
    tensors = {_NETWORK + name: tensor for name, tensor in network.state_dict().items()}
    for name, parameter in network.named_parameters():
        buffer = optimiser.state[parameter].get("momentum_buffer")
        if buffer is not None:
            tensors[_MOMENTUM + name] = buffer
    record = json.dumps({"history": [asdict(epoch) for epoch in history], "scaler": scaler.state_dict()})
    tensors[_RECORD] = torch.frombuffer(bytearray(record.encode()), dtype=torch.uint8)
    slots.write(len(history), pack(tensors))


def load(slots: Slots, network: nn.Module, optimiser: torch.optim.SGD, scaler: torch.amp.GradScaler) -> list[Epoch]:
    """Put the latest whole state into network, optimiser and scaler, and return the history; empty if there is none.

    Raises:
        StageError: a state is whole, but of another net, and so not of our making.
    """
    if (content := slots.read()) is None:
        return []
    tensors = unpack(content, slots.name)
    record = json.loads(bytes(tensors.pop(_RECORD).tolist()))
    weights = {name.removeprefix(_NETWORK): value for name, value in tensors.items() if name.startswith(_NETWORK)}
    put(weights, network, slots.name)
    for name, parameter in network.named_parameters():
        if (buffer := tensors.get(_MOMENTUM + name)) is not None:
            # A copy in the parameter's own memory layout: the fused optimiser walks both together.
            optimiser.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).copy_(buffer)
    scaler.load_state_dict(record["scaler"])
    return [Epoch(**row) for row in record["history"]]
