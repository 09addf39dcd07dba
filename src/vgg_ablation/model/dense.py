"""The dense form of a net (section 3.2): its FC layers applied as convolutions to images larger than a crop."""

from torch import Tensor, nn
from torch.nn import functional

from vgg_ablation.model.table1 import STRIDE
from vgg_ablation.model.vgg import VGG


def class_score_map(network: VGG, images: Tensor) -> Tensor:
    """Return the class scores (logits) of a net in evaluation mode at every place of uncropped images.

    The first FC layer becomes a convolution with a kernel of `input_side` / 32 cells, the others 1x1 convolutions, with
    views of the same weights.

    Args:
        network: Net in evaluation mode.
        images: (N, 3, H, W) with H and W at least the net's `input_side`.

    Returns:
        Scores (N, K, h, w) with h = H // 32 - `input_side` / 32 + 1, w likewise: one per window of `input_side`
        pixels, in steps of 32. Pixels beyond the last whole cell of 32 matter only through the convolutions.

    Raises:
        ValueError: If the net is in training mode, or an image is smaller than the net's crop.

    """
    if network.training:
        raise ValueError("the dense form is for evaluation; call network.eval() first")
    if min(images.shape[-2:]) < network.input_side:
        raise ValueError(f"images are {tuple(images.shape)}; no side may be below {network.input_side}")
    scores = network.features(images)
    kernel = network.input_side // STRIDE
    for layer in network.classifier:
        if isinstance(layer, nn.Linear):
            weight = layer.weight.view(layer.out_features, scores.shape[1], kernel, kernel)
            scores = functional.conv2d(scores, weight, layer.bias)
            kernel = 1
        else:
            scores = layer(scores)
    return scores


def dense_logits(network: VGG, images: Tensor) -> Tensor:
    """Return the logits (N, K) of uncropped images (N, 3, H, W): the class score map averaged over space.

    The paper averages scores before the soft-max, and the posteriors of an image and its mirror image after it.

    Raises:
        ValueError: As `class_score_map`.

    """
    return class_score_map(network, images).mean(dim=(2, 3))
