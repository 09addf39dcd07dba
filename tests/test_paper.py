import pytest
import torchvision

from vgg_ablation.model.table1 import NETS, count_parameters, weight_layers
from vgg_ablation.paper.tables import (
    TABLE_1,
    TABLE_2,
    TABLE_3,
    TABLE_4,
    TABLE_5,
    TORCHVISION,
    TRAINING_SCALES,
    published_errors,
)


@pytest.mark.parametrize("arch", TABLE_1)
def test_tables_1_and_2_describe_the_nets_that_are_built(arch: str):
    layers = [[layer for layer in group.split() if layer != "LRN"] for group in TABLE_1[arch]]
    assert [[1 if layer.endswith("/1") else 3 for layer in group] for group in layers] == NETS[arch].kernels
    assert ("LRN" in " ".join(TABLE_1[arch])) == (NETS[arch].lrn is not None)
    assert TABLE_2[arch] == round(count_parameters(arch, 1000) / 1e6)


@pytest.mark.parametrize(("scale", "better"), [("fixed", "D"), ("large", "D"), ("jitter", "E")])
def test_e_beats_d_under_scale_jitter_alone(scale: str, better: str):
    assert min(TABLE_3[scale], key=lambda arch: TABLE_3[scale][arch].top1) == better


@pytest.mark.parametrize("scale", TRAINING_SCALES)
def test_three_test_scales_are_better_than_one_for_every_net(scale: str):
    assert all(errors.top1 < TABLE_3[scale][arch].top1 for arch, errors in TABLE_4[scale].items())


def test_tables_4_and_5_share_the_dense_errors():
    assert {arch: TABLE_4["jitter"][arch] for arch in ("D", "E")} == TABLE_5["dense_scales"]


@pytest.mark.parametrize(("norm", "suffix"), [("none", ""), ("batch", "_bn")])
def test_torchvisions_errors_are_those_in_torchvision(norm: str, suffix: str):
    for arch, errors in TORCHVISION[norm].items():
        weights = torchvision.models.get_model_weights(f"vgg{weight_layers(arch)}{suffix}")["IMAGENET1K_V1"]
        accuracy = weights.meta["_metrics"]["ImageNet-1K"]
        assert errors.top1 == pytest.approx(100 - accuracy["acc@1"])
        assert errors.top5 == pytest.approx(100 - accuracy["acc@5"])


@pytest.mark.parametrize(
    ("scale", "protocol", "expected"),
    [
        ("fixed", "dense", {"A": 29.6, "A_LRN": 29.7, "B": 28.7, "C": 28.1, "D": 27.0, "E": 27.3}),
        ("jitter", "dense_scales", {"C": 26.3, "D": 24.8, "E": 24.8, "D+E": 24.0}),
        ("jitter", "combined", {"D": 24.4, "E": 24.4, "D+E": 23.7}),
        ("large", "combined", {}),
        ("fixed", "centre", {}),
    ],
)
def test_what_the_paper_has_for_a_training_scale_and_protocol(scale: str, protocol: str, expected: dict[str, float]):
    assert {name: errors.top1 for name, errors in published_errors(scale, protocol).items()} == expected
