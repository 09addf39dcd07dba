"""Weights of made-up nets, written as `train` writes them."""

from pathlib import Path

from vgg_ablation.model.vgg import VGG
from vgg_ablation.model.weights import Description, write_weights


def description(network: VGG) -> Description:
    """A net for images of its own side, which need no normalisation."""
    classes = tuple(f"{label + 1:03d}.made-up" for label in range(len(network.state_dict()["classifier.6.bias"])))
    return Description(
        arch=network.arch, width=network.width, input_side=network.input_side, classes=classes,
        stored_side=network.input_side, test_scale=network.input_side, mean=(0.0,) * 3, deviation=(1.0,) * 3,
    )  # fmt: skip


def write_described(path: Path, network: VGG) -> None:
    """Write a net's weights with `description`."""
    write_weights(path, network, description(network))
