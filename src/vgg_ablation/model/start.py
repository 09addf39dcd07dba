"""Where training starts if not at random: a trained A (section 3.1), or a net that was trained on ImageNet."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vgg_ablation.model.published import CLASSES, DEVIATION, MEAN, SHAPE
from vgg_ablation.model.table1 import NETS
from vgg_ablation.model.vgg import LRN_DIVISOR, VGG

SHALLOW_LAYERS = ("conv1_1", "conv2_1", "conv3_1", "conv3_2", "fc6", "fc7", "fc8")
"""Layers that the deeper nets copy from a trained A: its first four convolutions and its FC layers (section 3.1)."""


def empty_net(net: str) -> VGG:
    """Return a net of ImageNet's classes in evaluation mode whose values are not set."""
    with torch.device("meta"):  # drawing initial values of all weights would take seconds
        network = VGG(net, CLASSES, **SHAPE)
    return network.to_empty(device="cpu").eval()


@torch.no_grad()
def copy_from_shallow(network: VGG, shallow: VGG) -> None:
    """Copy `SHALLOW_LAYERS` of a trained A into a deeper net, in place; its other layers keep their values.

    A trained A_BN, for a deeper net with batch normalisation, gives the normalisations of these layers too.

    Raises:
        ValueError: If the two nets have a layer of different shape; then nothing is copied.

    """
    _copy(shallow, network, SHALLOW_LAYERS)


@torch.no_grad()
def copy_from_published(network: VGG, published: VGG, mean: Tensor, deviation: Tensor) -> None:
    """Copy all layers but the last from a published net into a net of the same shape, in place.

    No published net has C's 1x1 convolutions, which become the identity, or A_LRN's local response normalisation: the
    layer before it is scaled by about what it divides by. The first convolution is changed so that the net sees what
    the published one sees, although its inputs are normalised otherwise; only at the image's border, where the inputs
    are padded with zeros, this is not exact.

    Args:
        network: starts with these layers.
        published: net with ImageNet's weights.
        mean: (3,) of the channels that the inputs of `network` are normalised with, pixel values in 0..1.
        deviation: (3,), likewise.

    Raises:
        ValueError: If the two nets have a layer of different shape; then nothing is copied.

    """
    layers, norms = network.named_layers(), network.named_norms()
    added = [name for name, layer in layers.items() if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1)]
    _copy(published, network, [name for name in layers if name not in (*added, "fc8")])
    for name in added:
        nn.init.dirac_(layers[name].weight)
        nn.init.zeros_(layers[name].bias)  # pyright: ignore[reportArgumentType] - all layers have one
        if name in norms:
            _pass_on(norms[name], norms[network.layer_names[network.layer_names.index(name) - 1]])
    if before := NETS[network.arch].lrn:
        for values in norms.get(before, layers[before]).parameters():
            values.mul_(LRN_DIVISOR)
    first = layers["conv1_1"]
    assert first.bias is not None  # noqa: S101 - all layers have one
    theirs = torch.tensor([MEAN, DEVIATION], device=first.weight.device)
    offset, scale = (mean.to(theirs) - theirs[0]) / theirs[1], deviation.to(theirs) / theirs[1]
    first.bias.add_(torch.einsum("oikl,i->o", first.weight, offset))
    first.weight.mul_(scale[:, None, None])


def _pass_on(norm: nn.BatchNorm2d, before: nn.BatchNorm2d) -> None:
    """Make a normalisation the identity for the rectified outputs of the one before, about so while training too.

    A batch of outputs of `before` has mean `bias` and deviation `weight` in each channel. Taken as normal, they have
    the moments below once they are rectified.
    """
    shift, spread = before.bias.double(), before.weight.double().abs().clamp(min=1e-12)
    positive = torch.special.ndtr(shift / spread)
    density = torch.exp(-((shift / spread) ** 2) / 2) / math.sqrt(2 * math.pi)
    mean = shift * positive + spread * density
    variance = ((shift**2 + spread**2) * positive + shift * spread * density - mean**2).clamp(min=0)
    values = {"running_mean": mean, "running_var": variance, "bias": mean, "weight": (variance + norm.eps).sqrt()}
    norm.load_state_dict({**norm.state_dict(), **values})


def _copy(source: VGG, target: VGG, names: Sequence[str]) -> None:
    """Copy layers, and the batch normalisations after them, by name: conv2_1 is the second of A and the third of D.

    Raises:
        ValueError: If the two nets have a layer of different shape; then nothing is copied.

    """
    sources, targets = source.named_layers(), target.named_layers()
    for name in names:
        theirs, ours = sources[name].weight.shape, targets[name].weight.shape
        if theirs != ours:
            raise ValueError(f"{name} has shape {tuple(theirs)} in {source.arch}, {tuple(ours)} in {target.arch}")
    norms = target.named_norms()
    for name in names:
        targets[name].load_state_dict(sources[name].state_dict())
        if name in norms:
            norms[name].load_state_dict(source.named_norms()[name].state_dict())
