"""The network of section 2, and its random initialisation."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from vgg_ablation.model.table1 import NETS, convolution_groups, fully_connected
from vgg_ablation.runtime.names import norm_of
from vgg_ablation.runtime.settings import Init


class VGG(nn.Module):
    """Configuration `arch` of Table 1: images (N, 3, `input_side`, `input_side`) to logits (N, `classes`).

    The state dict of A, B, D and E has the keys and, at width 1, the shapes of torchvision's vgg11, 13, 16 and 19; that
    of A_BN, B_BN, D_BN and E_BN has those of vgg11_bn, 13, 16 and 19. In A_LRN the normalisation is a module of
    `features` after the ReLU of conv1_1, so later convolutions have the keys of A with an index one higher.

    Args:
        arch: One of `ARCHITECTURES`.
        classes: Number of classes.
        input_side: Side of the crop in pixels, a multiple of 32; it decides the shape of the first FC layer.
        width: Factor on the channels of every hidden layer.
        dropout: Probability of zeroing an output of the first two FC layers.
        init: Random weights, drawn from torch's global generator; see `reset_parameters`.

    Raises:
        ValueError: If `arch` is unknown, or a number is out of range.

    """

    def __init__(
        self,
        arch: str,
        classes: int,
        *,
        input_side: int = 224,
        width: float = 1.0,
        dropout: float = 0.5,
        init: Init = "kaiming",
    ) -> None:
        super().__init__()
        groups = convolution_groups(arch, input_side, width)
        fc6, fc7, fc8 = fully_connected(classes, input_side, width)
        self.arch = arch
        self.input_side = input_side
        self.width = width
        self.layer_names = tuple(layer.name for group in [*groups, [fc6, fc7, fc8]] for layer in group)

        features: list[nn.Module] = []
        for group in groups:
            for layer in group:
                features.append(nn.Conv2d(layer.inputs, layer.outputs, layer.kernel, padding=layer.kernel // 2))
                if norm_of(arch) == "batch":
                    features.append(nn.BatchNorm2d(layer.outputs))
                features.append(nn.ReLU(inplace=True))
                if layer.name == NETS[arch].lrn:
                    features.append(LocalResponseNorm(layer.outputs))
            # Pooling before the ReLU gives the same values, and leaves a quarter of them to rectify.
            place = -1 if isinstance(features[-1], nn.ReLU) else len(features)
            features.insert(place, nn.MaxPool2d(kernel_size=2, stride=2))
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(
            nn.Linear(fc6.kernel**2 * fc6.inputs, fc6.outputs),
            nn.ReLU(inplace=True),
            Dropout(dropout),
            nn.Linear(fc7.inputs, fc7.outputs),
            nn.ReLU(inplace=True),
            Dropout(dropout),
            nn.Linear(fc8.inputs, fc8.outputs),
        )
        self.reset_parameters(init)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, K) of crops (N, 3, `input_side`, `input_side`); for larger images see `dense_logits`.

        Raises:
            ValueError: If the images have another side; pooling would reduce 225 pixels to the same map as 224.

        """
        if images.shape[-2:] != (self.input_side, self.input_side):
            raise ValueError(f"images are {tuple(images.shape)}; this net takes crops of side {self.input_side}")
        return self.classifier(self.features(images).flatten(1))

    def named_layers(self) -> dict[str, nn.Conv2d | nn.Linear]:
        """Return the convolutions and FC layers by the paper's names: conv1_1, ..., conv5_4, fc6, fc7, fc8."""
        layers = [module for module in self.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
        return dict(zip(self.layer_names, layers, strict=True))

    def named_norms(self) -> dict[str, nn.BatchNorm2d]:
        """Return the batch normalisations by the names of their convolutions; none in a plain net."""
        norms = [module for module in self.features if isinstance(module, nn.BatchNorm2d)]
        return dict(zip(self.layer_names, norms, strict=False))  # convolutions come before FC layers, which have none

    def reset_parameters(self, init: Init) -> None:
        """Draw the weights of convolutions and FC layers from torch's global generator; set the biases to zero.

        `kaiming` (He et al. 2015): variance 2 / fan-in, which preserves the signal through ReLU, in convolutions and
        hidden FC layers; N(0, 0.01^2) in the last, as in torchvision's nets. On images of unit variance, the logits of
        the six nets at full width then have an rms of 1.3 to 2.1. With 2 / fan-in in the last layer too it is twice
        that, and E (ten Caltech categories, width 0.25, 15 to 40 epochs at 0.03) stayed at ln K in 3 of 3 runs instead
        of 1.

        `paper` (section 3.1): N(0, 0.01^2). The paper prints "variance 10^-2"; with that standard deviation of 0.1, the
        logits of A have an rms of 2e6, and the loss is not a number after one step at learning rate 0.01. With 0.01
        their rms is 2e-5 in A and 3e-9 in E; on ten classes, A had only learned their frequencies after 400 steps of
        64 images at learning rate 0.01. The deeper nets then need `start.copy_from_shallow`.

        `imagenet`: as `kaiming`; then `start.copy_from_published` replaces all layers but the last.

        Raises:
            ValueError: If `init` is none of these.

        """
        if init not in get_args(Init):
            raise ValueError(f"unknown initialisation {init!r}; choose from {', '.join(get_args(Init))}")
        for name, layer in self.named_layers().items():
            if init == "paper" or name == "fc8":
                nn.init.normal_(layer.weight, std=0.01)
            else:
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


LRN_DIVISOR = 2**0.75
"""What local response normalisation divides small activations by, about: `k ** beta`."""


class LocalResponseNorm(nn.Module):
    """Local response normalisation over channels, with the parameters of Krizhevsky et al. (2012), as in A-LRN.

    Activations (N, C, H, W) are divided by (k + alpha * sum of squares over n channels) ** beta with n = 5, k = 2,
    alpha = 1e-4, beta = 0.75. (PyTorch's own layer takes the mean in place of the sum: with it alpha is n times that.)
    The paper's inputs are pixels of 0 to 255. With inputs of unit variance the sum is small beside k: the divisor
    is within 0.3 % of 2 ** 0.75, which bfloat16 would round to a constant, so it is computed in float32.

    The sum over neighbouring channels is a 1x1 convolution with a banded kernel, and the power two square roots. On a
    CPU this takes a half to a third of the time of PyTorch's layer, which is slower than the rest of a narrow net.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        channel = torch.arange(channels)
        neighbours = (channel[:, None] - channel).abs() <= 2
        self.kernel: Tensor
        self.register_buffer("kernel", 1e-4 * neighbours.float()[:, :, None, None], persistent=False)

    def forward(self, activations: Tensor) -> Tensor:
        """Return the normalised activations, of the same shape and type."""
        values = activations.float()
        root = (2 + functional.conv2d(values.square(), self.kernel.float()).float()).rsqrt()
        return (values * root * root.sqrt()).to(activations.dtype)


class Dropout(nn.Dropout):
    """torch's dropout with a mask that does not depend on how a batch is split; see `batch_in_parts`."""

    def __init__(self, probability: float) -> None:
        super().__init__(probability)
        self.rows = slice(None)
        """Rows of the batch in the next pass."""
        self._batch_size: int | None = None
        self._mask: Tensor | None = None

    def begin(self, batch_size: int | None) -> None:
        """Treat the next passes as parts of one batch, or with None each as a batch of its own."""
        self.rows, self._batch_size, self._mask = slice(None), batch_size, None

    def forward(self, activations: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the activations, of the same shape and type, zeroed or scaled by 1 / (1 - p) in training mode."""
        if self._batch_size is None or not self.training or self.p == 0:
            return super().forward(activations)
        if self._mask is None:
            # Dropout of ones gives the scaled mask, from the random numbers that the whole batch would use.
            self._mask = super().forward(activations.new_ones(self._batch_size, *activations.shape[1:]))
        return activations * self._mask[self.rows]


@contextmanager
def batch_in_parts(network: nn.Module, size: int) -> Iterator[Callable[[slice], None]]:
    """Give a batch of `size` images that goes through `network` in parts the dropout of the whole batch.

    Each `Dropout` draws one mask for the batch at its first pass, from the global generator of the activations' device;
    repeated parts get the same mask. The masks are dropped after the block.

    Yields:
        A function to call before each pass with the rows of the batch that it holds.
    """
    layers = [module for module in network.modules() if isinstance(module, Dropout)]

    def select(rows: slice) -> None:
        for layer in layers:
            layer.rows = rows

    for layer in layers:
        layer.begin(size)
    try:
        yield select
    finally:
        for layer in layers:
            layer.begin(None)
