"""A run's state between two epochs: nothing is pickled, and no file is half-written."""

import json
from dataclasses import asdict, dataclass

import torch
from torch import nn

from vgg_ablation.errors import StageError
from vgg_ablation.model.weights import pack, put, unpack
from vgg_ablation.runtime.checkpoints import Slots
from vgg_ablation.train.epoch import Epoch

_NETWORK, _MOMENTUM, _RECORD = "network.", "momentum.", "record"


@dataclass(frozen=True)
class Lost:
    """The epoch in which a run came to be of no use, and how; see `run.DivergedError`."""

    epoch: int
    seconds: float
    reason: str
    found: str


def save(
    slots: Slots,
    network: nn.Module,
    optimiser: torch.optim.SGD,
    scaler: torch.amp.GradScaler,
    history: list[Epoch],
    lost: Lost | None = None,
) -> None:
    """Keep weights, momentum, the loss scale, the history so far, and how a run was lost. Raises as `Slots.write`."""
    tensors = {_NETWORK + name: tensor for name, tensor in network.state_dict().items()}
    for name, parameter in network.named_parameters():
        buffer = optimiser.state[parameter].get("momentum_buffer")
        if buffer is not None:
            tensors[_MOMENTUM + name] = buffer
    record = {
        "history": [asdict(epoch) for epoch in history],
        "scaler": scaler.state_dict(),
        "lost": asdict(lost) if lost else None,
    }
    tensors[_RECORD] = torch.frombuffer(bytearray(json.dumps(record).encode()), dtype=torch.uint8)
    slots.write(len(history) + (lost is not None), pack(tensors))


def load(
    slots: Slots, network: nn.Module, optimiser: torch.optim.SGD, scaler: torch.amp.GradScaler
) -> tuple[list[Epoch], Lost | None]:
    """Put the latest whole state into network, optimiser and scaler, and return the history and how it was lost.

    Raises:
        StageError: a state is whole, but of another net, and so not of our making.
    """
    if (content := slots.read()) is None:
        return [], None
    tensors = unpack(content, slots.name)
    if _RECORD not in tensors:
        raise StageError(f"{slots.name}: no state of a run; delete it and run this again")
    record = json.loads(bytes(tensors[_RECORD].tolist()))
    weights = {name.removeprefix(_NETWORK): value for name, value in tensors.items() if name.startswith(_NETWORK)}
    put(weights, network, slots.name)
    for name, parameter in network.named_parameters():
        if (buffer := tensors.get(_MOMENTUM + name)) is not None:
            # A copy in the parameter's own memory layout: the fused optimiser walks both together.
            optimiser.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).copy_(buffer)
    scaler.load_state_dict(record["scaler"])
    lost = Lost(**record["lost"]) if record["lost"] else None
    return [Epoch(**row) for row in record["history"]], lost
