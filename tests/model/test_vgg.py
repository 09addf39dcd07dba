import math
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import vgg as torchvision_vgg

from vgg_ablation.model.table1 import ARCHITECTURES
from vgg_ablation.model.vgg import SHALLOW_LAYERS, VGG, Dropout, LocalResponseNorm, batch_in_parts, copy_from_shallow


def narrow(arch: str, **options: object) -> VGG:
    return VGG(arch, 4, **({"input_side": 32, "width": 1 / 16} | options))  # pyright: ignore[reportArgumentType]


@pytest.fixture(scope="module")
def torchvision_classifier() -> nn.Sequential:
    """The FC layers of torchvision's nets, made once as they hold most of the weights."""
    torch.manual_seed(0)
    return torchvision_vgg.vgg11(num_classes=5).classifier


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("arch", ["A", "B", "D", "E"])
def test_a_net_with_torchvisions_weights_gives_torchvisions_outputs(
    arch: str, batch_norm: bool, torchvision_classifier: nn.Sequential
) -> None:
    torch.manual_seed(0)
    with torch.device("meta"):
        reference = torchvision_vgg.VGG(nn.Sequential(), num_classes=5)
        network = VGG(arch, 5, batch_norm=batch_norm)
    reference.features = torchvision_vgg.make_layers(torchvision_vgg.cfgs[arch], batch_norm)
    reference.classifier = torchvision_classifier
    for layer in reference.features:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 2)
            nn.init.uniform_(layer.bias, -0.1, 0.1)
            layer.running_mean = 0.1 * torch.randn(layer.num_features)
            layer.running_var = 0.5 + torch.rand(layer.num_features)
    network.load_state_dict(reference.state_dict(), assign=True)

    images = torch.randn(1, 3, 224, 224)
    for training in (False, True):  # with dropout and batch statistics last, as they change running ones
        outputs: list[Tensor] = []
        for net in (network, reference):
            torch.manual_seed(1)
            with torch.no_grad():
                outputs.append(net.train(training)(images))
        assert outputs[0].std() > 0.01
        assert torch.equal(*outputs)


def test_convolutions_and_their_order_are_those_of_table_1() -> None:
    layers = narrow("C").named_layers()
    assert list(layers) == [
        *("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1", "conv3_2", "conv3_3"),
        *("conv4_1", "conv4_2", "conv4_3", "conv5_1", "conv5_2", "conv5_3", "fc6", "fc7", "fc8"),
    ]
    ones = [name for name, layer in layers.items() if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1)]
    assert ones == ["conv3_3", "conv4_3", "conv5_3"]


def test_the_shallow_net_has_one_5x5_convolution_of_padding_2_in_each_group() -> None:
    layers = {name: layer for name, layer in narrow("B_5x5").named_layers().items() if isinstance(layer, nn.Conv2d)}
    assert list(layers) == ["conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1"]
    assert {(layer.kernel_size, layer.padding, layer.stride) for layer in layers.values()} == {((5, 5), (2, 2), (1, 1))}


def receptive_fields(arch: str) -> list[tuple[int, int]]:
    """Return the rows that a unit near the middle of each group's output sees, first and last.

    Weights of one and means in place of maxima let no pixel that has a part in the unit go without a gradient.
    """
    images = torch.ones(1, 3, 192, 192, dtype=torch.float64, requires_grad=True)
    values, seen = images, []
    for layer in narrow(arch, input_side=192).double().features:
        if isinstance(layer, nn.Conv2d):
            nn.init.ones_(layer.weight)
        values = functional.avg_pool2d(values, 2) if isinstance(layer, nn.MaxPool2d) else layer(values)
        if isinstance(layer, nn.MaxPool2d):
            unit = values[0, 0, values.shape[2] // 2, values.shape[3] // 2]
            (gradient,) = torch.autograd.grad(unit, images, retain_graph=True)
            rows = gradient[0, 0].any(1).nonzero().flatten().tolist()
            seen.append((rows[0], rows[-1]))
    return seen


def test_the_shallow_net_sees_what_b_sees() -> None:
    """Section 2.3: two 3x3 layers have the receptive field of one 5x5. It grows by 5 pixels, those of the pool last."""
    found = receptive_fields("B_5x5")
    assert found == receptive_fields("B")
    assert [last - first + 1 for first, last in found] == [6, 16, 36, 76, 156]


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_convolution_keeps_the_side_and_every_group_halves_it(arch: str) -> None:
    maps = torch.empty(1, 3, 96, 96)
    for layer in narrow(arch, input_side=96).features:
        side = maps.shape[-1]
        maps = layer(maps)
        assert maps.shape[-1] == (side // 2 if isinstance(layer, nn.MaxPool2d) else side)
    assert maps.shape[-1] == 3


def test_width_scales_the_hidden_layers() -> None:
    layers = VGG("A", 7, input_side=64, width=0.25).named_layers()
    assert [layer.weight.shape[0] for layer in layers.values()] == [16, 32, 64, 64, *4 * [128], 1024, 1024, 7]
    assert layers["fc6"].weight.shape == (1024, 128 * 2 * 2)


def test_an_unknown_architecture_is_named_with_what_is_allowed() -> None:
    with pytest.raises(ValueError, match=r"unknown architecture 'vgg16'; choose from A, A_LRN, B, C, D, E, B_5x5$"):
        VGG("vgg16", 10)


def test_a_crop_of_another_side_is_refused_even_if_pooling_would_round_it_off() -> None:
    with pytest.raises(ValueError, match=r"\(1, 3, 33, 33\); this net takes crops of side 32"):
        narrow("A")(torch.zeros(1, 3, 33, 33))


# Local response normalisation


def krizhevsky(activations: np.ndarray) -> np.ndarray:
    """Krizhevsky et al. 2012, section 3.3, word for word.

    b_i = a_i / (k + alpha sum_{j = max(0, i - n/2)}^{min(N - 1, i + n/2)} a_j^2)^beta.
    """
    k, n, alpha, beta = 2.0, 5, 1e-4, 0.75
    channels = activations.shape[1]
    normalised = np.empty_like(activations)
    for i in range(channels):
        total = 0.0
        for j in range(max(0, i - n // 2), min(channels - 1, i + n // 2) + 1):
            total = total + activations[:, j] ** 2
        normalised[:, i] = activations[:, i] / (k + alpha * total) ** beta
    return normalised


def test_lrn_is_the_formula_of_krizhevsky() -> None:
    (lrn,) = (layer for layer in narrow("A_LRN").features if isinstance(layer, LocalResponseNorm))
    activations = 100 * torch.rand(2, len(lrn.kernel), 3, 4, generator=torch.Generator().manual_seed(0))
    expected = krizhevsky(activations.double().numpy())
    np.testing.assert_allclose(lrn(activations).numpy(), expected, rtol=1e-5)
    assert np.median(expected / activations.numpy()) < 0.9 * 2**-0.75  # the sum matters at this scale


def test_lrn_and_its_gradient_are_those_of_torch_with_alpha_times_n() -> None:
    ours = torch.randn(2, 16, 5, 5, generator=torch.Generator().manual_seed(0)).mul_(50).requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    for values, layer in ((ours, LocalResponseNorm(16)), (theirs, nn.LocalResponseNorm(5, 5e-4, 0.75, 2.0))):
        layer(values).square().sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-5)


def test_lrn_of_bfloat16_activations_is_computed_in_float32() -> None:
    activations = torch.rand(2, 9, 3, 4, generator=torch.Generator().manual_seed(0)).bfloat16()
    expected = torch.from_numpy(krizhevsky(activations.double().numpy())).bfloat16()
    assert torch.equal(LocalResponseNorm(9)(activations), expected)


def test_lrn_stands_between_the_first_relu_and_the_first_pool_of_a_lrn_alone() -> None:
    kinds = [type(layer) for layer in narrow("A_LRN").features]
    assert kinds[:4] == [nn.Conv2d, nn.ReLU, LocalResponseNorm, nn.MaxPool2d]
    assert [nn.Conv2d, nn.MaxPool2d, nn.ReLU, *kinds[4:]] == [type(layer) for layer in narrow("A").features]


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("batch_norm", [False, True])
def test_pooling_before_the_relu_gives_the_outputs_and_gradients_of_pooling_after_it(
    arch: str, batch_norm: bool
) -> None:
    ours, literal = narrow(arch, batch_norm=batch_norm), narrow(arch, batch_norm=batch_norm)
    literal.load_state_dict(ours.state_dict())
    layers = list(literal.features)
    for place in range(1, len(layers)):
        if isinstance(layers[place], nn.ReLU) and isinstance(layers[place - 1], nn.MaxPool2d):
            layers[place - 1], layers[place] = layers[place], layers[place - 1]
    literal.features = nn.Sequential(*layers)
    assert [type(layer) for layer in layers] != [type(layer) for layer in ours.features]
    images = torch.randn(4, 3, ours.input_side, ours.input_side, generator=torch.Generator().manual_seed(1))
    for network in (ours.eval(), literal.eval()):
        network(images).square().sum().backward()
    assert torch.equal(ours(images), literal(images))
    gradients = [[parameter.grad for parameter in network.parameters()] for network in (ours, literal)]
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))  # pyright: ignore


# Dropout


def dropped_in_parts(layer: Dropout, activations: Tensor, parts: int) -> Tensor:
    """Return what a layer makes of a batch that comes in parts."""
    numbers = torch.arange(len(activations)).tensor_split(parts)
    found = []
    with batch_in_parts(layer, len(activations)) as select:
        for rows in (slice(int(part[0]), int(part[-1]) + 1) for part in numbers):
            select(rows)
            found.append(layer(activations[rows]))
    return torch.cat(found)


@pytest.mark.parametrize("parts", [1, 2, 3, 7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("probability", [0.2, 0.5])
def test_dropout_of_a_batch_in_parts_is_torchs_of_the_whole(probability: float, dtype: torch.dtype, parts: int) -> None:
    activations = torch.randn(7, 100, generator=torch.Generator().manual_seed(0)).to(dtype)
    torch.manual_seed(3)
    found = dropped_in_parts(Dropout(probability), activations, parts)
    torch.manual_seed(3)
    assert torch.equal(found, functional.dropout(activations, probability))


def test_the_gradient_of_a_part_is_that_of_the_whole() -> None:
    whole = torch.ones(6, 50, requires_grad=True)
    output = dropped_in_parts(Dropout(0.5), whole, 3)
    output.sum().backward()
    assert torch.equal(output, whole.grad)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_dropout_in_parts_zeroes_each_output_with_the_given_probability(probability: float) -> None:
    """The zeros of an image and those of a feature are binomial, so their number has a known mean and variance."""
    torch.manual_seed(0)
    output = dropped_in_parts(Dropout(probability), torch.ones(400, 500, dtype=torch.float64), 9)
    zeroed = output == 0
    torch.testing.assert_close(output[~zeroed], torch.full_like(output[~zeroed], 1 / (1 - probability)))
    for along, tries in ((0, 400), (1, 500)):
        counts = zeroed.sum(along).double()
        variance = tries * probability * (1 - probability)
        assert counts.mean().item() == pytest.approx(tries * probability, abs=4 * (variance / len(counts)) ** 0.5)
        assert counts.var().item() == pytest.approx(variance, rel=4 * (2 / (len(counts) - 1)) ** 0.5)


def test_a_part_that_goes_through_again_meets_the_same_mask() -> None:
    layer, activations = Dropout(0.5), torch.ones(6, 50)
    with batch_in_parts(layer, 6) as select:
        select(slice(2, 4))
        first = layer(activations[2:4])
        select(slice(0, 6))
        assert torch.equal(layer(activations)[2:4], first)


def test_each_batch_has_masks_of_its_own() -> None:
    layer, activations = Dropout(0.5), torch.ones(6, 50)
    first, second = (dropped_in_parts(layer, activations, 2) for _ in range(2))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("probability", [0.0, 0.5])
@pytest.mark.parametrize("training", [False, True])
def test_dropout_that_drops_nothing_hands_on_what_it_got_and_draws_nothing(probability: float, training: bool) -> None:
    layer, activations = Dropout(probability).train(training), torch.ones(6, 50)
    before = torch.get_rng_state()
    with batch_in_parts(layer, 6):
        assert (layer(activations) is activations) == (probability == 0 or not training)
    assert torch.equal(torch.get_rng_state(), before) == (probability == 0 or not training)


def test_a_batch_that_was_cut_off_leaves_plain_dropout() -> None:
    layer, activations = Dropout(0.5), torch.ones(6, 50)
    with suppress(KeyboardInterrupt), batch_in_parts(layer, 6) as select:
        select(slice(0, 2))
        layer(activations[:2])
        raise KeyboardInterrupt
    assert not torch.equal(layer(activations), layer(activations))


def test_dropout_has_no_state_of_its_own() -> None:
    network = narrow("A")
    with batch_in_parts(network, 2):
        network(torch.zeros(2, 3, 32, 32))
        assert not [name for name in network.state_dict() if name.startswith(("classifier.2", "classifier.5"))]


# Initialisation


@pytest.mark.parametrize("init", ["kaiming", "paper"])
def test_the_seed_alone_decides_the_weights(init: str) -> None:
    def weights(seed: int) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        return narrow("C", init=init).state_dict()

    first, again, other = weights(3), weights(3), weights(4)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not any(torch.equal(first[key], other[key]) for key in first if key.endswith("weight"))


def test_paper_initialisation_has_standard_deviation_one_hundredth_and_no_bias() -> None:
    for name, layer in VGG("D", 1000, input_side=32, width=0.25, init="paper").named_layers().items():
        assert layer.weight.std().item() == pytest.approx(0.01, rel=0.1), name
        assert not layer.bias.any(), name  # pyright: ignore[reportOptionalMemberAccess]


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_kaiming_initialisation_keeps_the_signal_at_every_depth(arch: str) -> None:
    torch.manual_seed(0)
    network = VGG(arch, 257, input_side=64, width=0.5).eval()
    with torch.no_grad():
        logits = network(torch.randn(16, 3, 64, 64))
    assert 0.1 < logits.pow(2).mean().sqrt() < 10


def noisy_colours(seed: int) -> Callable[[], tuple[Tensor, Tensor]]:
    """Batches (32, 3, 32, 32) of four noisy colours, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    colours = torch.randn(4, 3, 1, 1, generator=generator)
    labels = torch.arange(32) % 4
    return lambda: (colours[labels] + 0.5 * torch.randn(32, 3, 32, 32, generator=generator), labels)


def last_losses(network: VGG, steps: int = 80) -> float:
    """Mean loss of the last ten of some SGD steps at the paper's learning rate and momentum."""
    batch = noisy_colours(seed=5)
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-2, momentum=0.9)
    losses: list[float] = []
    for _ in range(steps):
        images, labels = batch()
        loss = functional.cross_entropy(network(images), labels)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)  # without it a loss may jump, and the test with it
        optimiser.step()
        losses.append(loss.item())
    return sum(losses[-10:]) / 10


def test_the_deepest_net_trains_from_kaiming_initialisation() -> None:
    torch.manual_seed(0)
    assert last_losses(narrow("E", width=1 / 8)) < 0.8 * math.log(4)


def test_the_deepest_net_does_not_leave_ln_k_from_the_frameworks_initialisation() -> None:
    torch.manual_seed(0)
    network = narrow("E", width=1 / 8)
    for layer in network.named_layers().values():
        layer.reset_parameters()
    assert last_losses(network) == pytest.approx(math.log(4), rel=0.01)


def test_an_unknown_initialisation_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown initialisation 'xavier'; choose from kaiming, paper"):
        narrow("A", init="xavier")


# Start from a shallow net


@pytest.mark.parametrize("arch", ["B", "C", "D", "E"])
def test_a_deep_net_takes_exactly_the_named_layers_of_a(arch: str) -> None:
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


def test_training_the_deep_net_leaves_the_shallow_one_alone() -> None:
    shallow, network = narrow("A"), narrow("E")
    copy_from_shallow(network, shallow)
    for name in SHALLOW_LAYERS:
        nn.init.zeros_(network.named_layers()[name].weight)
        assert shallow.named_layers()[name].weight.any()


def test_nothing_is_copied_between_nets_of_unlike_shapes() -> None:
    network = narrow("B")
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(ValueError, match=r"fc8 has shape \(5, 256\) in A, \(4, 256\) in B"):
        copy_from_shallow(network, VGG("A", 5, input_side=32, width=1 / 16))
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
