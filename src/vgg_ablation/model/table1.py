"""Table 1 of the paper as data, and the sizes that follow from it by arithmetic. Imports no torch."""

from typing import NamedTuple

KERNELS: dict[str, tuple[tuple[int, ...], ...]] = {
    "A": ((3,), (3,), (3, 3), (3, 3), (3, 3)),
    "A_LRN": ((3,), (3,), (3, 3), (3, 3), (3, 3)),
    "B": ((3, 3), (3, 3), (3, 3), (3, 3), (3, 3)),
    "C": ((3, 3), (3, 3), (3, 3, 1), (3, 3, 1), (3, 3, 1)),
    "D": ((3, 3), (3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3)),
    "E": ((3, 3), (3, 3), (3, 3, 3, 3), (3, 3, 3, 3), (3, 3, 3, 3)),
    "B_5x5": ((5,), (5,), (5,), (5,), (5,)),
}
"""Kernel side of each convolution (stride 1, same padding) in the five groups of Table 1, and of the shallow net that
section 4.1 compares B with: one 5x5 convolution in place of each pair of 3x3.

A 2x2 max-pool with stride 2 follows every group.
"""

ARCHITECTURES: tuple[str, ...] = tuple(KERNELS)
"""All nets."""

ABLATION: tuple[str, ...] = ("A", "A_LRN", "B", "C", "D", "E")
"""The nets of Table 1 in its order, which `arch: all` means; `A_LRN` is the paper's A-LRN."""

NORMALISED_LAYER = {"A_LRN": "conv1_1"}
"""The convolution whose rectified output goes through local response normalisation."""

GROUP_CHANNELS = (64, 128, 256, 512, 512)
"""Output channels of every convolution in a group, at width 1."""

HIDDEN_UNITS = 4096
"""Outputs of each of the first two fully-connected layers, at width 1."""

STRIDE = 32
"""Pixels of the input per cell of the last feature map: five max-pools halve the side."""

PUBLISHED_MILLIONS = {"A": 133, "A_LRN": 133, "B": 133, "C": 134, "D": 138, "E": 144}
"""Parameters in millions, for 1000 classes and 224-pixel crops (Table 2)."""


class Layer(NamedTuple):
    """A layer with weights. A fully-connected one is a convolution over its whole input (section 3.2)."""

    name: str
    """`conv{group}_{index}` as the paper names them, or `fc6`, `fc7`, `fc8`."""
    kernel: int
    """Side of the kernel."""
    inputs: int
    """Input channels."""
    outputs: int
    """Output channels."""


def convolution_groups(arch: str, input_side: int = 224, width: float = 1.0) -> list[list[Layer]]:
    """List the convolutions of a net, by group.

    Args:
        arch: One of `ARCHITECTURES`.
        input_side: Side of the crop in pixels, a positive multiple of 32.
        width: Factor on the channels of every hidden layer, rounded, at least one channel.

    Raises:
        ValueError: If an argument is none of the above.

    """
    if arch not in KERNELS:
        raise ValueError(f"unknown architecture {arch!r}; choose from {', '.join(ARCHITECTURES)}")
    if input_side < STRIDE or input_side % STRIDE:
        raise ValueError(f"input side {input_side} is not a positive multiple of {STRIDE}")
    if not width > 0:
        raise ValueError(f"width {width} is not positive")
    groups: list[list[Layer]] = []
    inputs = 3
    for group, (kernels, channels) in enumerate(zip(KERNELS[arch], GROUP_CHANNELS, strict=True), start=1):
        outputs = _scaled(channels, width)
        layers: list[Layer] = []
        for index, kernel in enumerate(kernels, start=1):
            layers.append(Layer(f"conv{group}_{index}", kernel, inputs, outputs))
            inputs = outputs
        groups.append(layers)
    return groups


def fully_connected(classes: int, input_side: int = 224, width: float = 1.0) -> list[Layer]:
    """List the three fully-connected layers, which all nets share; arguments as for `convolution_groups`.

    Raises:
        ValueError: If there is no class.

    """
    if classes < 1:
        raise ValueError(f"{classes} classes; a net needs at least 1")
    hidden = _scaled(HIDDEN_UNITS, width)
    return [
        Layer("fc6", input_side // STRIDE, _scaled(GROUP_CHANNELS[-1], width), hidden),
        Layer("fc7", 1, hidden, hidden),
        Layer("fc8", 1, hidden, classes),
    ]


def weight_layers(arch: str) -> int:
    """Count the convolutions and fully-connected layers of a net, the depth that Table 1 prints (11 to 19).

    Raises:
        ValueError: If `arch` is none of `ARCHITECTURES`.

    """
    return sum(len(group) for group in convolution_groups(arch)) + len(fully_connected(classes=1))


def count_parameters(
    arch: str, classes: int, input_side: int = 224, width: float = 1.0, *, batch_norm: bool = False
) -> int:
    """Count weights, biases, and with `batch_norm` a scale and a shift per convolution channel (Table 2).

    Raises:
        ValueError: If an argument is out of range, as in `convolution_groups` and `fully_connected`.

    """
    convolutions = [layer for group in convolution_groups(arch, input_side, width) for layer in group]
    layers = convolutions + fully_connected(classes, input_side, width)
    weights = sum(layer.kernel**2 * layer.inputs * layer.outputs for layer in layers)
    biases = sum(layer.outputs for layer in layers)
    scales_and_shifts = 2 * sum(layer.outputs for layer in convolutions) if batch_norm else 0
    return weights + biases + scales_and_shifts


def count_gmacs(
    arch: str, classes: int, input_side: int = 224, width: float = 1.0, *, image: tuple[int, int] | None = None
) -> float:
    """Count the multiply-accumulates (1e9) of convolutions and fully-connected layers for one crop, forward.

    With `image`, an uncropped image's height and width in pixels: those of the dense form (section 3.2). A training
    step costs about three times as much. Biases, ReLU, pooling and normalisation are not counted.

    Raises:
        ValueError: If an argument is out of range, as in `convolution_groups` and `fully_connected`.

    """
    height, breadth = image or (input_side, input_side)
    macs = 0
    for halvings, group in enumerate(convolution_groups(arch, input_side, width)):
        places = (height >> halvings) * (breadth >> halvings)
        macs += sum(layer.kernel**2 * layer.inputs * layer.outputs for layer in group) * places
    cells = input_side // STRIDE
    windows = (height // STRIDE - cells + 1) * (breadth // STRIDE - cells + 1)
    for layer in fully_connected(classes, input_side, width):
        macs += layer.kernel**2 * layer.inputs * layer.outputs * windows
    return macs / 1e9


def _scaled(channels: int, width: float) -> int:
    return max(1, round(channels * width))
