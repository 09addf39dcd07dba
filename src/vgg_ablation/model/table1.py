"""Table 1 of the paper, read from nets.yaml, and the sizes that follow from it by arithmetic. Imports no torch."""

from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from vgg_ablation.errors import StageError
from vgg_ablation.runtime.names import NORMS, SUFFIXES, named, norm_of

NETS_FILE = Path(__file__).with_name("nets.yaml")


def _without_suffix(name: str) -> str:
    if norm_of(name) != "none":
        raise ValueError(f"allowed: a name that does not end with {SUFFIXES[norm_of(name)]}")
    return name


Name = Annotated[str, Field(pattern="^[A-Za-z0-9_]+$"), AfterValidator(_without_suffix)]
Kernels = Annotated[list[Literal[1, 3, 5, 7]], Field(min_length=1)]


class Net(BaseModel):
    """One block of nets.yaml. A 2x2 max-pool with stride 2 follows every group."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    kernels: Annotated[list[Kernels], Field(min_length=5, max_length=5)]
    """Kernel side of each convolution (stride 1, same padding) in the five groups of Table 1."""
    lrn: str | None = None
    """The convolution whose rectified output goes through local response normalisation, such as `conv1_1`."""
    starts_from_A: bool = False  # noqa: N815
    """Whether, with `init: paper`, training starts from a trained A (section 3.1), else at random."""
    ablation: bool
    """Whether `arch: all` includes the net."""

    @model_validator(mode="after")
    def _is_consistent(self) -> "Net":
        names = [f"conv{group}_{index + 1}" for group, row in enumerate(self.kernels, 1) for index in range(len(row))]
        if self.lrn not in (None, *names):
            raise ValueError(f"lrn = {self.lrn}; allowed: {', '.join(names)}")
        if self.starts_from_A and [*self.kernels[0][:1], *self.kernels[1][:1], *self.kernels[2][:2]] != [3, 3, 3, 3]:
            raise ValueError("starts_from_A = true; allowed with kernels of 3 in conv1_1, conv2_1, conv3_1, conv3_2")
        return self


def read_nets(path: Path) -> dict[str, Net]:
    """Read the nets by plain name, in the order of the file.

    Raises:
        OSError: the file cannot be read.
        StageError: it is not YAML, or a net has a key or value that is not allowed.
    """
    try:
        return TypeAdapter(dict[Name, Net]).validate_python(YAML(typ="safe", pure=True).load(path))
    except YAMLError as error:
        raise StageError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place, reason = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            reason = f"unknown key; allowed: {', '.join(Net.model_fields)}"
        raise StageError(f"{path}: {place}: {reason}") from None


_PLAIN = read_nets(NETS_FILE)

NETS = {named(arch, norm): net for norm in NORMS for arch, net in _PLAIN.items()}
"""All nets by name, without and then with batch normalisation, which the name alone tells.

`A_LRN` is the paper's A-LRN, `B_5x5` the shallow net of section 4.1, `A_BN` is A with batch normalisation.
"""

ARCHITECTURES: tuple[str, ...] = tuple(NETS)
"""Names of all nets."""

PLAIN: tuple[str, ...] = tuple(_PLAIN)
"""Names of the nets in nets.yaml, which have no batch normalisation."""

ABLATION: tuple[str, ...] = tuple(arch for arch, net in _PLAIN.items() if net.ablation)
"""The nets that `arch: all` includes, by plain name: those of Table 1 in its order."""

GROUP_CHANNELS = (64, 128, 256, 512, 512)
"""Output channels of every convolution in a group, at width 1."""

HIDDEN_UNITS = 4096
"""Outputs of each of the first two fully-connected layers, at width 1."""

STRIDE = 32
"""Pixels of the input per cell of the last feature map: five max-pools halve the side."""


class Layer(NamedTuple):
    """A layer with weights. A fully-connected one counts as a convolution over its whole input (section 3.2)."""

    name: str
    """`conv{group}_{index}` as the paper names them, or `fc6`, `fc7`, `fc8`."""
    kernel: int
    """Side of the kernel."""
    inputs: int
    """Input channels."""
    outputs: int
    """Output channels."""


def configuration(arch: str) -> dict[str, Any]:
    """Return what decides a net's layers and its start, as JSON values: part of the key of resume state."""
    return NETS[arch].model_dump(exclude={"ablation"}) | {"norm": norm_of(arch)}


def convolution_groups(arch: str, input_side: int = 224, width: float = 1.0) -> list[list[Layer]]:
    """List the convolutions of a net, by group.

    Args:
        arch: One of `ARCHITECTURES`.
        input_side: Side of the crop in pixels, a positive multiple of 32.
        width: Factor on the channels of every hidden layer, rounded, at least one channel.

    Raises:
        ValueError: If an argument is none of the above.

    """
    if arch not in NETS:
        raise ValueError(f"unknown architecture {arch!r}; choose from {', '.join(ARCHITECTURES)}")
    if input_side < STRIDE or input_side % STRIDE:
        raise ValueError(f"input side {input_side} is not a positive multiple of {STRIDE}")
    if not width > 0:
        raise ValueError(f"width {width} is not positive")
    groups: list[list[Layer]] = []
    inputs = 3
    for group, (kernels, channels) in enumerate(zip(NETS[arch].kernels, GROUP_CHANNELS, strict=True), start=1):
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


class Step(NamedTuple):
    """A layer in the order of computation: with its activations, and its normalisation if it has one."""

    name: str
    """As in `Layer`, or `pool1` to `pool5`."""
    kind: str
    """In words: `conv 3x3, BN` (batch normalisation), `max-pool 2x2`, `fully connected`."""
    outputs: tuple[int, int, int]
    """Channels, height and width of its outputs, for one crop."""
    parameters: int
    macs: int
    """Multiply-accumulates for one crop, forward; biases, ReLU, pooling and normalisation are not counted."""


def steps(arch: str, classes: int, input_side: int = 224, width: float = 1.0) -> list[Step]:
    """List a net layer by layer.

    Raises:
        ValueError: If an argument is out of range, as in `convolution_groups` and `fully_connected`.

    """
    groups, fc = convolution_groups(arch, input_side, width), fully_connected(classes, input_side, width)
    norm = ", BN" if norm_of(arch) == "batch" else ""
    found: list[Step] = []
    side = input_side
    for number, group in enumerate(groups, start=1):
        for layer in group:
            weights = layer.kernel**2 * layer.inputs * layer.outputs
            others = layer.outputs * (3 if norm else 1)  # bias; scale and shift
            kind = f"conv {layer.kernel}x{layer.kernel}{norm}" + ", LRN" * (layer.name == NETS[arch].lrn)
            found.append(Step(layer.name, kind, (layer.outputs, side, side), weights + others, weights * side**2))
        side //= 2
        found.append(Step(f"pool{number}", "max-pool 2x2", (group[-1].outputs, side, side), 0, 0))
    for layer in fc:
        weights = layer.kernel**2 * layer.inputs * layer.outputs
        found.append(Step(layer.name, "fully connected", (layer.outputs, 1, 1), weights + layer.outputs, weights))
    return found


def weight_layers(arch: str) -> int:
    """Count the convolutions and fully-connected layers of a net, the depth that Table 1 prints (11 to 19).

    Raises:
        ValueError: If `arch` is none of `ARCHITECTURES`.

    """
    return sum(len(group) for group in convolution_groups(arch)) + len(fully_connected(classes=1))


def count_parameters(arch: str, classes: int, input_side: int = 224, width: float = 1.0) -> int:
    """Count weights, biases, and with batch normalisation a scale and a shift per convolution channel (Table 2).

    Raises:
        ValueError: If an argument is out of range, as in `convolution_groups` and `fully_connected`.

    """
    return sum(step.parameters for step in steps(arch, classes, input_side, width))


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
