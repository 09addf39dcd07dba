"""Checkpoints of a run after an epoch: safetensors and a JSON record, so nothing is unpickled."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from vgg_ablation.errors import StageError
from vgg_ablation.model.weights import put, unpack
from vgg_ablation.runtime.checkpoints import BackgroundCheckpoints, Checkpoints
from vgg_ablation.train.epoch import Divergence, Epoch

_NETWORK, _MOMENTUM, _RECORD = "network.", "momentum.", "record"
_TYPES = {torch.float32: "F32", torch.int64: "I64", torch.uint8: "U8"}


def keep(
    checkpoints: BackgroundCheckpoints,
    network: nn.Module,
    optimiser: torch.optim.SGD,
    scaler: torch.amp.GradScaler,
    history: list[Epoch],
    divergence: Divergence | None = None,
) -> None:
    """Copy weights, momentum, loss scale, the history so far, and a divergence; `checkpoints` keeps the copies.

    They are in host memory. From a GPU they are copied in the order of its kernels; nothing here waits for that, and
    the next step changes the weights after they were copied. Raises as `checkpoints.keep`.
    """
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
    copied = torch.cuda.Event(blocking=True) if any(tensor.is_cuda for tensor in tensors.values()) else None
    copies = {name: _copy_to_host(tensor) for name, tensor in tensors.items()}
    if copied:
        copied.record()
    copies[_RECORD] = torch.frombuffer(bytearray(json.dumps(record).encode()), dtype=torch.uint8)

    def content() -> list[memoryview]:
        if copied:
            copied.synchronize()
        return pack_in_parts(copies)

    checkpoints.keep(len(history) + (divergence is not None), content)


def _copy_to_host(tensor: Tensor) -> Tensor:
    copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
    return copy.copy_(tensor, non_blocking=True)


def pack_in_parts(tensors: Mapping[str, Tensor]) -> list[memoryview]:
    """Return contiguous tensors on the CPU as the parts of a safetensors file, which share their memory.

    safetensors itself returns such a file as one copy, and stops all threads of Python while it copies: seconds for a
    net of full width.
    """
    header: dict[str, object] = {}
    parts: list[memoryview] = []
    end = 0
    for name, tensor in tensors.items():
        parts.append(memoryview(tensor.flatten().view(torch.uint8).numpy()))  # pyright: ignore[reportArgumentType]
        start, end = end, end + tensor.nbytes
        header[name] = {"dtype": _TYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return [memoryview(len(text).to_bytes(8, "little") + text), *parts]


@dataclass(frozen=True)
class Progress:
    """What a run has done, as its latest checkpoint says; nothing without one."""

    history: list[Epoch] = field(default_factory=list)
    divergence: Divergence | None = None
    momentum: Mapping[str, Tensor] = field(default_factory=dict)
    """By parameter."""
    scaler: dict[str, Any] = field(default_factory=dict)
    """State of the loss scaler; empty if there is none."""

    def restore(self, network: nn.Module, optimiser: torch.optim.SGD, scaler: torch.amp.GradScaler) -> None:
        """Put momentum and loss scale where the next step of the network's training needs them."""
        for name, parameter in network.named_parameters():
            if (buffer := self.momentum.get(name)) is not None:
                # A copy in the parameter's memory layout: the fused optimiser reads both in the same order.
                optimiser.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).copy_(buffer)
        if self.scaler:
            scaler.load_state_dict(self.scaler)


def load(checkpoints: Checkpoints, network: nn.Module) -> Progress:
    """Load the weights of the latest valid checkpoint into the network, and return the rest of it.

    Raises:
        StageError: the checkpoint is not one of a run, or of another net.
    """
    if (content := checkpoints.read()) is None:
        return Progress()
    tensors = unpack(content, checkpoints.name)
    if _RECORD not in tensors:
        raise StageError(f"{checkpoints.name}: not the checkpoint of a run; delete it and run this again")
    record = json.loads(bytes(tensors[_RECORD].tolist()))
    weights, momentum = (
        {name.removeprefix(kind): value for name, value in tensors.items() if name.startswith(kind)}
        for kind in (_NETWORK, _MOMENTUM)
    )
    put(weights, network, checkpoints.name)
    divergence = Divergence(**record["divergence"]) if record["divergence"] else None
    return Progress([Epoch(**row) for row in record["history"]], divergence, momentum, record["scaler"])
