"""The network that published weights are put into."""

from typing import Any

import torch

from vgg_ablation.model.vgg import VGG

CLASSES = 1000
"""Number of classes of ImageNet."""
SHAPE: dict[str, Any] = {"input_side": 224, "width": 1.0}
"""Side of the crop that the published nets were trained on, and their width: keyword arguments of `VGG`."""


def empty_net(net: str) -> VGG:
    """Return a net of ImageNet's classes in evaluation mode whose values are not set."""
    with torch.device("meta"):  # drawing initial values of all weights would take seconds
        network = VGG(net, CLASSES, **SHAPE)
    return network.to_empty(device="cpu").eval()
