import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import vgg as torchvision_vgg

from vgg_ablation.model.table1 import (
    ABLATION,
    ARCHITECTURES,
    PUBLISHED_MILLIONS,
    convolution_groups,
    count_gmacs,
    count_parameters,
    fully_connected,
    weight_layers,
)
from vgg_ablation.model.vgg import VGG

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


def test_the_nets_of_the_ablation_stand_in_the_order_of_table_1() -> None:
    assert ABLATION == ("A", "A_LRN", "B", "C", "D", "E")


def test_the_shallow_net_of_section_4_1_is_the_only_one_beside_them() -> None:
    assert [arch for arch in ARCHITECTURES if arch not in ABLATION] == ["B_5x5"]


def test_depths_are_those_of_table_1() -> None:
    assert [weight_layers(arch) for arch in ABLATION] == [11, 11, 13, 16, 16, 19]


def test_the_shallow_net_has_half_the_convolutions_of_b() -> None:
    assert weight_layers("B_5x5") - 3 == (weight_layers("B") - 3) / 2


def test_a_5x5_layer_has_25_weights_where_the_two_3x3_in_its_place_have_18() -> None:
    """Section 2.3 counts so: C channels in and out, and squared kernel sides times C squared weights a layer."""
    weights = {
        arch: sum(layer.kernel**2 * layer.inputs * layer.outputs for layer in convolution_groups(arch)[4])
        for arch in ("B", "B_5x5")
    }
    assert weights == {"B": 18 * 512**2, "B_5x5": 25 * 512**2}


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_parameters_are_those_derived_from_the_paper(arch: str) -> None:
    assert (count_parameters(arch, 1000), count_parameters(arch, 257)) == SIZES[arch][:2]


@pytest.mark.parametrize("arch", ABLATION)
def test_parameters_in_millions_are_those_of_table_2(arch: str) -> None:
    assert round(count_parameters(arch, 1000) / 1e6) == PUBLISHED_MILLIONS[arch]


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_gmacs_are_those_derived_from_the_paper(arch: str) -> None:
    assert round(count_gmacs(arch, 1000), 2) == SIZES[arch][2]


@pytest.mark.parametrize(
    ("arch", "weights"),
    [
        ("A", torchvision_vgg.VGG11_BN_Weights.DEFAULT),
        ("B", torchvision_vgg.VGG13_BN_Weights.DEFAULT),
        ("D", torchvision_vgg.VGG16_BN_Weights.DEFAULT),
        ("E", torchvision_vgg.VGG19_BN_Weights.DEFAULT),
    ],
)
def test_sizes_with_batch_norm_are_those_torchvision_publishes(
    arch: str, weights: torchvision_vgg.VGG11_BN_Weights
) -> None:
    assert count_parameters(arch, 1000, batch_norm=True) == weights.meta["num_params"]
    assert round(count_gmacs(arch, 1000), 3) == weights.meta["_ops"]


@given(
    arch=st.sampled_from(ARCHITECTURES),
    classes=st.integers(1, 2000),
    input_side=st.integers(1, 10).map(lambda cells: 32 * cells),
    width=st.floats(0.001, 2),
    batch_norm=st.booleans(),
)
def test_parameters_are_those_of_the_network(
    arch: str, classes: int, input_side: int, width: float, batch_norm: bool
) -> None:
    with torch.device("meta"):
        network = VGG(arch, classes, input_side=input_side, width=width, batch_norm=batch_norm)
    assert count_parameters(arch, classes, input_side, width, batch_norm=batch_norm) == module_parameters(network)


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize(("classes", "input_side", "width"), [(1000, 224, 1.0), (10, 96, 0.3)])
def test_gmacs_are_those_torch_counts(arch: str, classes: int, input_side: int, width: float) -> None:
    counter = FlopCounterMode(display=False)
    with torch.device("meta"), counter:
        network = VGG(arch, classes, input_side=input_side, width=width)
        network(torch.empty(1, 3, input_side, input_side))
    layers = [name for name, module in network.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    counted = sum(sum(counter.flop_counts[f"VGG.{name}"].values()) for name in layers)
    assert 2e9 * count_gmacs(arch, classes, input_side, width) == pytest.approx(counted, rel=1e-12)


def test_a_net_keeps_one_channel_at_any_width() -> None:
    layers = [layer for group in convolution_groups("E", width=1e-6) for layer in group]
    assert {layer.outputs for layer in layers + fully_connected(7, width=1e-6)} == {1, 7}


def test_an_unknown_architecture_is_named_with_what_is_allowed() -> None:
    with pytest.raises(ValueError, match=r"unknown architecture 'F'; choose from A, A_LRN, B, C, D, E, B_5x5$"):
        count_parameters("F", 1000)


@pytest.mark.parametrize("input_side", [-32, 0, 16, 50, 225])
def test_an_input_side_that_pooling_would_cut_is_refused(input_side: int) -> None:
    with pytest.raises(ValueError, match=f"input side {input_side} is not a positive multiple of 32"):
        count_parameters("A", 1000, input_side)


@pytest.mark.parametrize("width", [0.0, -1.0, float("nan")])
def test_a_width_that_is_not_positive_is_refused(width: float) -> None:
    with pytest.raises(ValueError, match="is not positive"):
        count_parameters("A", 1000, width=width)


def test_a_net_without_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="0 classes"):
        count_parameters("A", 0)


def test_sizes_and_settings_are_had_without_torch() -> None:
    program = (
        "import sys, vgg_ablation.runtime.settings, vgg_ablation.model.__main__; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
