import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import vgg as torchvision_vgg

from vgg_ablation.errors import StageError
from vgg_ablation.model import table1
from vgg_ablation.model.table1 import (
    ABLATION,
    ARCHITECTURES,
    NETS_FILE,
    PLAIN,
    configuration,
    convolution_groups,
    count_gmacs,
    count_parameters,
    fully_connected,
    read_nets,
    steps,
    weight_layers,
)
from vgg_ablation.model.vgg import VGG
from vgg_ablation.paper.tables import TABLE_1

# Derived by hand from Table 1 and section 4.1: parameters for 1000 and 257 classes, GMAC for 1000 at 224 pixels.
SIZES = {
    "A": (132_863_336, 129_819_265, 7.61),
    "A_LRN": (132_863_336, 129_819_265, 7.61),
    "B": (133_047_848, 130_003_777, 11.31),
    "C": (133_638_952, 130_594_881, 11.77),
    "D": (138_357_544, 135_313_473, 15.47),
    "E": (143_667_240, 140_623_169, 19.63),
    "B_5x5": (134_503_528, 131_459_457, 9.36),
}


def module_parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_the_ablation_has_the_nets_of_table_1_in_their_order() -> None:
    """Others may have been added."""
    assert [arch for arch in ABLATION if arch in TABLE_1] == ["A", "A_LRN", "B", "C", "D", "E"]
    assert [weight_layers(arch) for arch in TABLE_1] == [11, 11, 13, 16, 16, 19]


@pytest.mark.parametrize("arch", SIZES)
def test_sizes_are_those_derived_from_the_paper(arch: str) -> None:
    parameters, of_caltech, gmacs = SIZES[arch]
    assert (count_parameters(arch, 1000), count_parameters(arch, 257)) == (parameters, of_caltech)
    assert round(count_gmacs(arch, 1000), 2) == gmacs


def test_a_5x5_layer_has_25_weights_and_the_two_3x3_layers_it_replaces_18() -> None:
    """Section 2.3 counts so: C channels in and out, and squared kernel sides times C squared weights a layer."""
    weights = {
        arch: sum(layer.kernel**2 * layer.inputs * layer.outputs for layer in convolution_groups(arch)[4])
        for arch in ("B", "B_5x5")
    }
    assert weights == {"B": 18 * 512**2, "B_5x5": 25 * 512**2}


@pytest.mark.parametrize(
    ("arch", "weights"),
    [
        ("A_BN", torchvision_vgg.VGG11_BN_Weights.DEFAULT),
        ("B_BN", torchvision_vgg.VGG13_BN_Weights.DEFAULT),
        ("D_BN", torchvision_vgg.VGG16_BN_Weights.DEFAULT),
        ("E_BN", torchvision_vgg.VGG19_BN_Weights.DEFAULT),
    ],
)
def test_sizes_with_batch_norm_are_those_torchvision_publishes(
    arch: str, weights: torchvision_vgg.VGG11_BN_Weights
) -> None:
    assert count_parameters(arch, 1000) == weights.meta["num_params"]
    assert round(count_gmacs(arch, 1000), 3) == weights.meta["_ops"]


@settings(max_examples=25)
@given(
    arch=st.sampled_from(ARCHITECTURES),
    classes=st.integers(1, 2000),
    input_side=st.integers(1, 10).map(lambda cells: 32 * cells),
    width=st.floats(0.001, 2),
)
def test_parameters_are_those_of_the_network(arch: str, classes: int, input_side: int, width: float) -> None:
    with torch.device("meta"):
        network = VGG(arch, classes, input_side=input_side, width=width)
    assert count_parameters(arch, classes, input_side, width) == module_parameters(network)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_gmacs_are_those_torch_counts(arch: str) -> None:
    classes, input_side, width = 10, 96, 0.3
    counter = FlopCounterMode(display=False)
    with torch.device("meta"), counter:
        network = VGG(arch, classes, input_side=input_side, width=width)
        network(torch.empty(1, 3, input_side, input_side))
    layers = [name for name, module in network.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    counted = sum(sum(counter.flop_counts[f"VGG.{name}"].values()) for name in layers)
    assert 2e9 * count_gmacs(arch, classes, input_side, width) == pytest.approx(counted, rel=1e-12)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_layers_have_the_shapes_parameters_and_macs_of_the_network(arch: str) -> None:
    classes, input_side, width = 10, 96, 0.3
    shapes: dict[str, tuple[int, ...]] = {}
    counter = FlopCounterMode(display=False)
    with torch.device("meta"), counter:
        network = VGG(arch, classes, input_side=input_side, width=width)
        layers = network.named_layers()
        pools = [module for module in network.features if isinstance(module, nn.MaxPool2d)]
        named = {**layers, **{f"pool{number}": pool for number, pool in enumerate(pools, start=1)}}
        for name, module in named.items():
            module.register_forward_hook(lambda _, __, out, name=name: shapes.update({name: tuple(out.shape[1:])}))
        network(torch.empty(1, 3, input_side, input_side))
    keys = {module: key for key, module in network.named_modules()}
    norms = network.named_norms()
    for step in steps(arch, classes, input_side, width):
        module = named[step.name]
        assert step.outputs[: len(shapes[step.name])] == shapes[step.name]
        own = [module, norms[step.name]] if step.name in norms else [module]
        assert step.parameters == sum(map(module_parameters, own))
        assert 2 * step.macs == sum(counter.flop_counts[f"VGG.{keys[module]}"].values())
    assert list(shapes) == [step.name for step in steps(arch, classes, input_side, width)]


def test_a_net_keeps_one_channel_at_any_width() -> None:
    layers = [layer for group in convolution_groups("E", width=1e-6) for layer in group]
    assert {layer.outputs for layer in layers + fully_connected(7, width=1e-6)} == {1, 7}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("Z", 1000), rf"unknown architecture 'Z'; choose from {', '.join(ARCHITECTURES)}"),
        (("A", 0), "0 classes"),
        (("A", 1000, 0), "input side 0 is not a positive multiple of 32"),
        (("A", 1000, 225), "input side 225 is not a positive multiple of 32"),
        (("A", 1000, 224, 0.0), "width 0.0 is not positive"),
        (("A", 1000, 224, float("nan")), "width nan is not positive"),
    ],
)
def test_an_impossible_size_is_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        count_parameters(*arguments)


def test_sizes_and_settings_need_no_torch() -> None:
    program = (
        "import sys, vgg_ablation.runtime.settings, vgg_ablation.model.__main__; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


# nets.yaml


BLOCK = "A: {kernels: [[3], [3], [3, 3], [3, 3], [3, 3]], ablation: true}\n"


def test_a_net_is_added_by_a_block_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Two more conv3-512 than E."""
    before = {arch: configuration(arch) for arch in PLAIN}
    block = (
        "NEW: {kernels: [[3, 3], [3, 3], [3, 3, 3, 3], [3, 3, 3, 3, 3], [3, 3, 3, 3, 3]], starts_from_A: true, "
        "ablation: true}\n"
    )
    (tmp_path / "nets.yaml").write_text(NETS_FILE.read_text() + block)
    monkeypatch.setattr(table1, "NETS", read_nets(tmp_path / "nets.yaml"))
    assert {arch: configuration(arch) for arch in PLAIN} == before
    assert weight_layers("NEW") == 21
    assert count_parameters("NEW", 1000) == count_parameters("E", 1000) + 2 * (9 * 512 + 1) * 512


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BLOCK.replace("ablation", "ablatoin"), "A.ablation: Field required"),
        (BLOCK.replace("}", ", lnr: conv1_1}"), "A.lnr: unknown key; allowed: kernels, lrn, starts_from_A, ablation"),
        (BLOCK.replace("}", ", lrn: conv1_2}"), "A: lrn = conv1_2; allowed: conv1_1, conv2_1, conv3_1, conv3_2, "),
        (BLOCK.replace("[[3], ", "[[2], "), "A.kernels.0.0: Input should be 1, 3, 5 or 7"),
        (BLOCK.replace("[[3], ", "["), "A.kernels: List should have at least 5 items after validation, not 4"),
        (BLOCK.replace("[[3]", "[[5]").replace("}", ", starts_from_A: true}"), "A: starts_from_A = true; allowed "),
        (BLOCK.replace("A:", "A/B:"), "A/B.[key]: String should match"),
        (BLOCK.replace("A:", "A_BN:"), "A_BN.[key]: allowed: a name that does not end with _BN"),
        (BLOCK + BLOCK, " is not valid YAML: "),
        ("[", " is not valid YAML: "),
    ],
)
def test_a_wrong_block_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "nets.yaml"
    path.write_text(text)
    with pytest.raises(StageError) as error:
        read_nets(path)
    assert message in str(error.value)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)
