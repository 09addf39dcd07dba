"""How many images go through a net at once in the memory that there is."""

from pathlib import Path

import psutil
import torch
from torch import Tensor, nn

from vgg_ablation.device import Compute

_SHARE = 0.5  # of the memory; the rest is for gradients on their way, for kernels' workspaces and for other programs
_CONTAINERS_LIMIT = Path("/sys/fs/cgroup/memory.max")
_BYTES_PER_PARAMETER = 14  # float32 weight, gradient and momentum, and a copy of the weight in 16 bits


def images_at_once(network: nn.Module, side: int, compute: Compute) -> int:
    """Return how many images of `side` pixels a training step may hold at once, at least one.

    It depends on the net and on the machine's whole memory, not on what is free just now: the split of a batch decides
    the last digits of its gradient, and these must be the same each time.
    """
    parameters = sum(parameter.numel() for parameter in network.parameters())
    left = _SHARE * _memory(compute.device) - _BYTES_PER_PARAMETER * parameters
    # Of two passes the difference, as both keep the copies of the weights.
    each = _kept_for_backward(network, 2, side, compute) - _kept_for_backward(network, 1, side, compute)
    return max(1, int(left / each))


def _memory(device: torch.device) -> int:
    """Bytes of memory in the device, or that a container may use of it."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    memory = psutil.virtual_memory().total
    try:
        return min(memory, int(_CONTAINERS_LIMIT.read_text()))
    except (OSError, ValueError):  # another system, or `max`
        return memory


def _kept_for_backward(network: nn.Module, count: int, side: int, compute: Compute) -> int:
    """Bytes that a forward pass of `count` images keeps for the backward pass, weights left out."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    images = torch.zeros(count, 3, side, side, device=compute.device).to(memory_format=torch.channels_last)
    training = network.training
    network.eval()  # a pass in training mode would draw from the dropout's random numbers
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor), compute.autocast():
        scores = network(images)  # noqa: F841 - what it keeps lives as long as this name
    network.train(training)
    return sum(kept.values())
