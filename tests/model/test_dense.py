import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vgg_ablation.model.dense import class_score_map, dense_logits
from vgg_ablation.model.table1 import ARCHITECTURES
from vgg_ablation.model.vgg import VGG


def narrow(arch: str, input_side: int) -> VGG:
    torch.manual_seed(0)
    network = VGG(arch, 5, input_side=input_side, width=1 / 16)
    for layer in network.classifier:
        if isinstance(layer, torch.nn.Linear):
            torch.nn.init.normal_(layer.bias)
    return network.eval()


@pytest.mark.parametrize("arch", ARCHITECTURES)
@torch.no_grad()
def test_on_one_crop_the_dense_form_is_the_plain_net(arch: str) -> None:
    network, crops = narrow(arch, 64), torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(dense_logits(network, crops), network(crops))


@settings(deadline=None, max_examples=10)
@given(
    arch=st.sampled_from(ARCHITECTURES),
    cells=st.integers(1, 3),
    height=st.integers(0, 100),
    width=st.integers(0, 100),
)
@torch.no_grad()
def test_scores_are_those_of_the_classifier_on_every_window_of_the_feature_map(
    arch: str, cells: int, height: int, width: int
) -> None:
    network = narrow(arch, 32 * cells)
    images = torch.randn(2, 3, 32 * cells + height, 32 * cells + width)
    windows = network.features(images).unfold(2, cells, 1).unfold(3, cells, 1)  # (N, C, h, w, cells, cells)
    scores = network.classifier(windows.permute(0, 2, 3, 1, 4, 5).flatten(3))  # (N, h, w, K)
    torch.testing.assert_close(class_score_map(network, images), scores.permute(0, 3, 1, 2))
    torch.testing.assert_close(dense_logits(network, images), scores.mean((1, 2)))


@torch.no_grad()
def test_dense_logits_are_the_mean_of_the_plain_net_over_crops_whose_padding_changes_nothing() -> None:
    # A crop differs from a window of the whole image where padding replaces pixels. With zero biases it does not for an
    # object on black, so far inside that its signal, which A's convolutions spread by 59 pixels, reaches no edge.
    network = narrow("A", 224)
    image = torch.zeros(1, 3, 256, 288)
    image[..., 123:165, 123:165] = torch.randn(1, 3, 42, 42)
    crops = torch.cat([image[..., y : y + 224, x : x + 224] for y in (0, 32) for x in (0, 32, 64)])
    scores = network(crops)
    assert scores.std(dim=0).min() > 0.01
    torch.testing.assert_close(class_score_map(network, image)[0].flatten(1).T, scores)
    torch.testing.assert_close(dense_logits(network, image)[0], scores.mean(0))


def test_the_dense_form_uses_the_weights_of_the_net() -> None:
    network = narrow("A", 64)
    dense_logits(network, torch.randn(1, 3, 96, 96)).sum().backward()
    gradients: list[Tensor | None] = [layer.weight.grad for layer in network.named_layers().values()]
    assert all(gradient is not None and gradient.any() for gradient in gradients)


def test_a_net_in_training_mode_is_refused() -> None:
    with pytest.raises(ValueError, match=r"call network\.eval\(\)"):
        dense_logits(narrow("A", 32).train(), torch.zeros(1, 3, 64, 64))


def test_an_image_smaller_than_the_crop_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1, 3, 96, 63\); no side may be below 64"):
        dense_logits(narrow("A", 64), torch.zeros(1, 3, 96, 63))
