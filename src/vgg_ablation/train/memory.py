"""Number of images that the memory holds in a training step."""

from pathlib import Path

import psutil
import torch
from torch import Tensor, nn

from vgg_ablation.device import Compute

_SHARE = 0.5  # of the memory; the rest is for intermediate gradients, workspaces of kernels and other programs
_CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")
_BYTES_PER_PARAMETER = 14  # float32 weight, gradient and momentum, and a copy of the weight in 16 bits


def images_at_once(network: nn.Module, side: int, compute: Compute) -> int:
    """Return how many images of `side` pixels a training step may hold at once, at least one.

    The number depends on the net and the machine's total memory, not on the memory that is free: how a batch is split
    decides the last digits of its gradient.
    """
    left = _SHARE * total_memory(compute.device) - _bytes_of_weights(network)
    return max(1, int(left / _bytes_of_image(network, side, compute)))


def step_memory(network: nn.Module, side: int, batch_size: int, compute: Compute) -> float:
    """Return the bytes that a training step of `batch_size` images needs, a generous estimate."""
    return (_bytes_of_weights(network) + batch_size * _bytes_of_image(network, side, compute)) / _SHARE


def _bytes_of_weights(network: nn.Module) -> int:
    return _BYTES_PER_PARAMETER * sum(parameter.numel() for parameter in network.parameters())


def _bytes_of_image(network: nn.Module, side: int, compute: Compute) -> int:
    # The difference of two passes, as both also keep copies of the weights.
    return _kept_for_backward(network, 2, side, compute) - _kept_for_backward(network, 1, side, compute)


def total_memory(device: torch.device) -> int:
    """Return the device's memory in bytes, or what a container may use of it."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    memory = psutil.virtual_memory().total
    try:
        return min(memory, int(_CONTAINER_LIMIT.read_text()))
    except (OSError, ValueError):  # another system, or `max`
        return memory


def _kept_for_backward(network: nn.Module, count: int, side: int, compute: Compute) -> int:
    """Return the bytes that a forward pass of `count` images keeps for the backward pass, without the weights."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    images = torch.zeros(count, 3, side, side, device=compute.device).to(memory_format=torch.channels_last)
    training = network.training
    network.eval()  # in training mode, dropout would draw random numbers
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor), compute.autocast():
        scores = network(images)  # noqa: F841 - keeps the saved tensors alive
    network.train(training)
    return sum(kept.values())
