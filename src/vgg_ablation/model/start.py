"""Where training starts, if not at random: a trained A, or a net that was trained on ImageNet."""

import torch

from vgg_ablation.model.published import CLASSES, SHAPE
from vgg_ablation.model.vgg import VGG


def empty_net(net: str) -> VGG:
    """Return a net of ImageNet's classes in evaluation mode whose values are not set."""
    with torch.device("meta"):  # drawing initial values of all weights would take seconds
        network = VGG(net, CLASSES, **SHAPE)
    return network.to_empty(device="cpu").eval()
