"""Where training starts if not at random, against the nets that it starts from."""

import pytest
import torch
from scipy.stats import norm as normal
from torch import Tensor, nn
from torchvision.transforms import Normalize

from published_fixtures import random_net
from vgg_ablation.errors import StageError
from vgg_ablation.model.published import DEVIATION, MEAN, OFFICIAL, SHAPE, twin
from vgg_ablation.model.start import copy_from_published, copy_from_shallow
from vgg_ablation.model.table1 import ARCHITECTURES
from vgg_ablation.model.vgg import VGG


def narrow(arch: str, **options: object) -> VGG:
    return VGG(arch, 4, **({"input_side": 32, "width": 1 / 16} | options))  # pyright: ignore[reportArgumentType]


# Start from a trained A


@pytest.mark.parametrize("arch", ["B", "C", "D", "E"])
def test_a_deep_net_copies_exactly_the_named_layers_of_a(arch: str) -> None:
    shallow, network = narrow("A", init="paper"), narrow(arch, init="paper")
    nn.init.normal_(shallow.features[0].bias)  # pyright: ignore[reportArgumentType]
    before = {name: layer.weight.clone() for name, layer in network.named_layers().items()}
    copy_from_shallow(network, shallow)
    for name, layer in network.named_layers().items():
        if name in {"conv1_1", "conv2_1", "conv3_1", "conv3_2", "fc6", "fc7", "fc8"}:
            source = shallow.named_layers()[name]
            assert torch.equal(layer.weight, source.weight), name
            assert torch.equal(layer.bias, source.bias), name  # pyright: ignore[reportArgumentType]
        else:
            assert torch.equal(layer.weight, before[name]), name


def test_a_net_with_batch_normalisation_copies_that_of_the_named_layers_too() -> None:
    shallow, network = narrow("A_BN"), narrow("C_BN")
    for number, norm in enumerate(shallow.named_norms().values()):
        nn.init.constant_(norm.weight, 2 + number)
        norm.running_mean = torch.full_like(norm.running_mean, 3 + number)  # pyright: ignore[reportArgumentType]
    copy_from_shallow(network, shallow)
    kinds = {kind for kind in network.features if isinstance(kind, nn.BatchNorm2d) and kind.weight[0] != 1}
    assert kinds == {network.features[place] for place in (1, 8, 15, 18)}  # after conv1_1, conv2_1, conv3_1, conv3_2
    for name in ("conv1_1", "conv2_1", "conv3_1", "conv3_2"):
        one, other = (net.named_norms()[name].state_dict() for net in (network, shallow))
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_nothing_is_copied_between_nets_of_different_shapes() -> None:
    network = narrow("B")
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(ValueError, match=r"fc8 has shape \(5, 256\) in A, \(4, 256\) in B"):
        copy_from_shallow(network, VGG("A", 5, input_side=32, width=1 / 16))
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


# Start from a published net


def started(arch: str, mean: Tensor, deviation: Tensor, seed: int = 0) -> VGG:
    network = VGG(arch, 4, **SHAPE, init="imagenet").eval()
    copy_from_published(network, random_net(twin(arch), seed), mean, deviation)
    return network


def hidden(network: VGG, inputs: Tensor) -> Tensor:
    """The outputs of the last hidden layer."""
    with torch.no_grad():
        return network.classifier[:6](network.features(inputs).flatten(1))


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("arch", ["A", "B_BN", "D", "E_BN"])
def test_a_net_sees_what_the_published_net_sees_though_its_inputs_have_another_deviation(arch: str) -> None:
    pixels, deviation = torch.rand(3, 3, 32, 32), torch.tensor([0.3, 0.31, 0.2])
    network = started(arch, torch.tensor(MEAN), deviation)
    found = hidden(network, Normalize(MEAN, deviation.tolist())(pixels))
    expected = hidden(random_net(arch), Normalize(MEAN, DEVIATION)(pixels))
    assert expected.std() > 0.01
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("arch", ["A_LRN", "A_LRN_BN"])
def test_local_response_normalisation_changes_little_of_what_a_published_net_sees(arch: str) -> None:
    pixels = Normalize(MEAN, DEVIATION)(torch.rand(3, 3, 32, 32))
    found = hidden(started(arch, torch.tensor(MEAN), torch.tensor(DEVIATION)), pixels)
    expected = hidden(random_net(twin(arch)), pixels)
    assert (found - expected).norm() < 0.05 * expected.norm()


@pytest.mark.usefixtures("narrow")
def test_another_mean_of_the_inputs_changes_the_first_convolution_at_the_border_alone() -> None:
    pixels, mean, deviation = torch.rand(3, 3, 32, 32), torch.tensor([0.55, 0.53, 0.5]), torch.tensor([0.3, 0.31, 0.2])
    with torch.no_grad():
        found = started("A", mean, deviation).features[0](Normalize(mean.tolist(), deviation.tolist())(pixels))
        expected = random_net("A").features[0](Normalize(MEAN, DEVIATION)(pixels))
    torch.testing.assert_close(found[:, :, 1:-1, 1:-1], expected[:, :, 1:-1, 1:-1], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(found[:, :, 0], expected[:, :, 0], atol=1e-2)


def without_third_convolutions(network: VGG) -> nn.Sequential:
    """The features of D without the third 3x3 convolution of the last three groups."""
    drop = set()
    for name in ("conv3_3", "conv4_3", "conv5_3"):
        drop.add(network.named_layers()[name])
        if name in network.named_norms():
            drop.add(network.named_norms()[name])
    return nn.Sequential(*(module for module in network.features if module not in drop))


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("arch", ["C", "C_BN"])
def test_c_computes_what_d_computes_without_the_convolutions_in_place_of_which_it_has_1x1_ones(arch: str) -> None:
    inputs = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = without_third_convolutions(random_net(twin(arch)))(inputs)
        found = started(arch, torch.tensor(MEAN), torch.tensor(DEVIATION)).features(inputs)
    assert expected.std() > 0.01
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("narrow")
def test_a_normalisation_after_a_1x1_convolution_starts_with_the_moments_of_rectified_normal_values() -> None:
    network = started("C_BN", torch.tensor(MEAN), torch.tensor(DEVIATION))
    before, after = network.named_norms()["conv4_2"], network.named_norms()["conv4_3"]
    shift, spread = before.bias[0].item(), before.weight[0].item()
    first, second = (
        normal(shift, spread).expect(lambda value, power=power: max(value, 0) ** power) for power in (1, 2)
    )
    assert after.running_mean[0].item() == pytest.approx(first, rel=1e-5)  # pyright: ignore[reportOptionalSubscript]
    assert after.running_var[0].item() == pytest.approx(second - first**2, rel=1e-4)  # pyright: ignore[reportOptionalSubscript]


@pytest.mark.usefixtures("narrow")
def test_such_a_normalisation_changes_little_in_training_mode_too() -> None:
    network = started("C_BN", torch.tensor(MEAN), torch.tensor(DEVIATION))
    before, after = network.named_norms()["conv4_2"], network.named_norms()["conv4_3"]
    values = before.train()(torch.randn(64, before.num_features, 16, 16)).relu()
    with torch.no_grad():
        assert (after.train()(values) - values).abs().max() < 0.05
        assert (nn.BatchNorm2d(after.num_features)(values) - values).abs().max() > 1


@pytest.mark.usefixtures("narrow")
def test_the_last_layer_stays_random_and_no_other() -> None:
    pair = [started("A_LRN", torch.tensor(MEAN), torch.tensor(DEVIATION)).named_layers() for _ in range(2)]
    differ = {name for name in pair[0] if not torch.equal(pair[0][name].weight, pair[1][name].weight)}
    assert differ == {"fc8"}


@pytest.mark.usefixtures("narrow")
def test_a_published_net_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match=r"conv1_1 has shape \(4, 3, 3, 3\) in D, \(8, 3, 3, 3\) in C"):
        copy_from_published(narrow("C", width=1 / 8), random_net("D"), torch.tensor(MEAN), torch.tensor(DEVIATION))


def test_each_net_of_table_1_has_a_published_twin_with_its_normalisation_and_b_5x5_has_none() -> None:
    twins = {arch: twin(arch) for arch in ARCHITECTURES if not arch.startswith("B_5x5")}
    assert {arch for arch, found in twins.items() if arch != found} == {"A_LRN", "A_LRN_BN", "C", "C_BN"}
    assert set(twins.values()) == set(OFFICIAL)
    with pytest.raises(StageError, match="no published ImageNet weights fit net B_5x5"):
        twin("B_5x5")
