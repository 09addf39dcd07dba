"""One step of SGD on the multinomial logistic loss (section 3.1), in as many parts as the memory asks for."""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from vgg_ablation.pipeline.compute import Compute


class TrainingStep:
    """Steps that train `network` in place, with the optimiser's state between them.

    Args:
        network: on the compute device, in training mode when a step is taken.
        compute: device and precision.
        learning_rate: of the steps until `learning_rate` is set anew.
        momentum: of SGD.
        weight_decay: factor of the L2 penalty.
        largest: images that go through the network at once. A larger batch goes in equal or nearly equal parts whose
            gradients add up to those of the whole, but for rounding and the order in which dropout draws.
    """

    def __init__(
        self,
        network: nn.Module,
        compute: Compute,
        *,
        learning_rate: float,
        momentum: float,
        weight_decay: float,
        largest: int,
    ) -> None:
        self.network = network
        self.optimiser = torch.optim.SGD(
            network.parameters(), learning_rate, momentum, weight_decay=weight_decay, fused=True
        )
        self.scaler = torch.amp.GradScaler(compute.device.type, enabled=compute.precision == torch.float16)
        self._compute = compute
        self._largest = largest

    @property
    def learning_rate(self) -> float:
        """The rate of the next step."""
        return self.optimiser.param_groups[0]["lr"]

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        self.optimiser.param_groups[0]["lr"] = rate

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """Take one step on a batch, (B, 3, H, W) and (B,), and return its mean loss in nats, before the step.

        The loss stays on the device: nothing here waits for it.
        """
        count = len(labels)
        parts = -(-count // min(self._largest, count))
        total = torch.zeros((), device=labels.device)
        for part_images, part_labels in zip(images.tensor_split(parts), labels.tensor_split(parts), strict=True):
            with self._compute.autocast():
                scores = self.network(part_images)
            loss = cross_entropy(scores.float(), part_labels) * (len(part_labels) / count)
            self.scaler.scale(loss).backward()
            total += loss.detach()
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad(set_to_none=True)
        return total
