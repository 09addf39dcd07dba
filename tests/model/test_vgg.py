import math
from contextlib import suppress

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import get_model
from torchvision.models import vgg as torchvision_vgg

from vgg_ablation.model.table1 import ARCHITECTURES
from vgg_ablation.model.vgg import VGG, Dropout, LocalResponseNorm, batch_in_parts


def narrow(arch: str, **options: object) -> VGG:
    return VGG(arch, 4, **({"input_side": 32, "width": 1 / 16} | options))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("arch", ["B_BN", "D", "E_BN"])
def test_a_net_with_torchvisions_weights_gives_torchvisions_outputs(arch: str) -> None:
    """With crops of 64 pixels: fc6 sees 2 x 2 cells in place of 7 x 7."""
    torch.manual_seed(0)
    with torch.device("meta"):
        network = VGG(arch, 5, input_side=64)
        reference = torchvision_vgg.VGG(nn.Sequential(), num_classes=5, init_weights=False)
    reference.features = torchvision_vgg.make_layers(torchvision_vgg.cfgs[arch[0]], arch.endswith("_BN"))
    reference.avgpool = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
    reference.classifier[0] = nn.Linear(2 * 2 * 512, 4096)
    reference.classifier[3], reference.classifier[6] = nn.Linear(4096, 4096), nn.Linear(4096, 5)
    for layer in reference.features:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 2)
            nn.init.uniform_(layer.bias, -0.1, 0.1)
            layer.running_mean = 0.1 * torch.randn(layer.num_features)
            layer.running_var = 0.5 + torch.rand(layer.num_features)
    network.load_state_dict(reference.state_dict(), assign=True)

    images = torch.randn(2, 3, 64, 64)
    for training in (False, True):  # training mode last: it changes the running statistics
        outputs: list[Tensor] = []
        for net in (network, reference):
            torch.manual_seed(1)
            with torch.no_grad():
                outputs.append(net.train(training)(images))
        assert outputs[0].std() > 0.01
        assert torch.equal(*outputs)


@pytest.mark.parametrize(
    ("arch", "name"),
    [
        *(("A", "vgg11"), ("B", "vgg13"), ("D", "vgg16"), ("E", "vgg19")),
        *(("A_BN", "vgg11_bn"), ("B_BN", "vgg13_bn"), ("D_BN", "vgg16_bn"), ("E_BN", "vgg19_bn")),
    ],
)
def test_names_and_shapes_of_weights_are_those_of_torchvisions_net(arch: str, name: str) -> None:
    with torch.device("meta"):
        ours, theirs = VGG(arch, 1000), get_model(name, init_weights=False)
    shapes = [{key: value.shape for key, value in network.state_dict().items()} for network in (ours, theirs)]
    assert shapes[0] == shapes[1]


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


def test_the_receptive_fields_of_b_5x5_are_those_of_b() -> None:
    """Section 2.3: two 3x3 layers have the receptive field of one 5x5."""
    found = receptive_fields("B_5x5")
    assert found == receptive_fields("B")
    assert [last - first + 1 for first, last in found] == [6, 16, 36, 76, 156]


def test_a_crop_of_another_side_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1, 3, 33, 33\); this net takes crops of side 32"):
        narrow("A")(torch.zeros(1, 3, 33, 33))


# Local response normalisation


def krizhevsky(activations: np.ndarray) -> np.ndarray:
    """Krizhevsky et al. 2012, section 3.3, literally.

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


def test_lrn_is_between_the_first_relu_and_the_first_pool_of_a_lrn_only() -> None:
    kinds = [type(layer) for layer in narrow("A_LRN").features]
    assert kinds[:4] == [nn.Conv2d, nn.ReLU, LocalResponseNorm, nn.MaxPool2d]
    assert [nn.Conv2d, nn.MaxPool2d, nn.ReLU, *kinds[4:]] == [type(layer) for layer in narrow("A").features]


@pytest.mark.parametrize("arch", ["A_LRN", "B_5x5_BN", "E_BN"])
def test_pooling_before_the_relu_gives_the_outputs_and_gradients_of_pooling_after_it(arch: str) -> None:
    ours, literal = narrow(arch), narrow(arch)
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
    """Return the output of a layer for a batch in parts."""
    numbers = torch.arange(len(activations)).tensor_split(parts)
    found = []
    with batch_in_parts(layer, len(activations)) as select:
        for rows in (slice(int(part[0]), int(part[-1]) + 1) for part in numbers):
            select(rows)
            found.append(layer(activations[rows]))
    return torch.cat(found)


@pytest.mark.parametrize(
    ("probability", "dtype", "parts"),
    [(0.2, torch.float32, 7), (0.5, torch.float32, 3), (0.5, torch.float64, 3), (0.5, torch.bfloat16, 3)],
)
def test_dropout_of_a_batch_in_parts_is_torchs_dropout_of_the_whole(
    probability: float, dtype: torch.dtype, parts: int
) -> None:
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


def test_a_part_that_is_repeated_gets_the_same_mask_and_the_next_batch_another() -> None:
    layer, activations = Dropout(0.5), torch.ones(6, 50)
    with batch_in_parts(layer, 6) as select:
        select(slice(2, 4))
        first = layer(activations[2:4])
        select(slice(0, 6))
        whole = layer(activations)
    assert torch.equal(whole[2:4], first)
    assert not torch.equal(dropped_in_parts(layer, activations, 2), whole)


@pytest.mark.parametrize("probability", [0.0, 0.5])
@pytest.mark.parametrize("training", [False, True])
def test_dropout_that_drops_nothing_returns_its_input_and_draws_nothing(probability: float, training: bool) -> None:
    layer, activations = Dropout(probability).train(training), torch.ones(6, 50)
    before = torch.get_rng_state()
    with batch_in_parts(layer, 6):
        assert (layer(activations) is activations) == (probability == 0 or not training)
    assert torch.equal(torch.get_rng_state(), before) == (probability == 0 or not training)


def test_after_an_interrupted_batch_dropout_is_plain_again() -> None:
    layer, activations = Dropout(0.5), torch.ones(6, 50)
    with suppress(KeyboardInterrupt), batch_in_parts(layer, 6) as select:
        select(slice(0, 2))
        layer(activations[:2])
        raise KeyboardInterrupt
    assert not torch.equal(layer(activations), layer(activations))


# Initialisation


@pytest.mark.parametrize("init", ["kaiming", "paper"])
def test_the_seed_alone_decides_the_initial_weights(init: str) -> None:
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
def test_kaiming_initialisation_preserves_the_signal_at_every_depth(arch: str) -> None:
    torch.manual_seed(0)
    network = VGG(arch, 257, input_side=32, width=0.25).eval()
    with torch.no_grad():
        logits = network(torch.randn(8, 3, 32, 32))
    assert 0.1 < logits.pow(2).mean().sqrt() < 10


def test_the_deepest_net_trains_from_kaiming_initialisation() -> None:
    """Noisy images of four colours, at the paper's learning rate and momentum."""
    torch.manual_seed(0)
    network = narrow("E", width=1 / 8)
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-2, momentum=0.9)
    colours, labels = torch.randn(4, 3, 1, 1), torch.arange(16) % 4
    losses: list[float] = []
    for _ in range(50):
        loss = functional.cross_entropy(network(colours[labels] + 0.5 * torch.randn(16, 3, 32, 32)), labels)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)  # without it a loss may jump, and the test with it
        optimiser.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) / 10 < 0.8 * math.log(4)
