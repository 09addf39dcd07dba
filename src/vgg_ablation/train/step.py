"""One step of SGD on the multinomial logistic loss (section 3.1), in parts if memory is short."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from vgg_ablation.device import Compute
from vgg_ablation.errors import StageError
from vgg_ablation.model.vgg import VGG, batch_in_parts
from vgg_ablation.runtime import messages


class TrainingStep:
    """Steps of SGD that train `network` in place.

    Args:
        network: on the compute device, in training mode when a step is taken.
        compute: device and precision.
        learning_rate: of the steps until `learning_rate` is changed.
        momentum: of SGD.
        weight_decay: factor of the L2 penalty.
        largest: images that go through the network at once. A larger batch is split into parts of nearly equal size.
            Up to rounding, their gradients add up to that of the whole batch: dropout does not depend on the split.
        say: receives a progress line when memory runs out and `largest` is reduced.
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
        say: Callable[[str], None] = print,
    ) -> None:
        self.network = network
        scaled = compute.precision == torch.float16
        # Not fused with a loss scaler: if the first step overflows, the fused kernel skips it and leaves the momentum
        # uninitialised, which the optimiser then uses.
        self.optimiser = torch.optim.SGD(
            network.parameters(), learning_rate, momentum, weight_decay=weight_decay, fused=not scaled
        )
        self.scaler = torch.amp.GradScaler(compute.device.type, enabled=scaled)
        self._compute = compute
        self._largest = largest
        self._say = say
        self._whole_batch = any(isinstance(module, nn.BatchNorm2d) for module in network.modules())

    @property
    def learning_rate(self) -> float:
        """Learning rate of the next step."""
        return self.optimiser.param_groups[0]["lr"]

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        self.optimiser.param_groups[0]["lr"] = rate

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Take one step on a batch, (B, 3, H, W) and (B,); return its mean loss in nats and its count of top-1 errors.

        Both are those before the step. They stay on the device: nothing here waits for them. If memory runs out, the
        number of images that go through the network at once is halved, for all later steps too, and the step is
        repeated. Its result is that of a step with this number from the start.

        Raises:
            StageError: the memory holds not even one image, or not the whole batch that batch normalisation needs.
        """
        count = len(labels)
        with batch_in_parts(self.network, count) as select:
            while (found := self._gradients(images, labels, select)) is None:
                self.optimiser.zero_grad(set_to_none=True)
                if self._compute.device.type == "cuda":
                    torch.cuda.empty_cache()
                self._halve(count, images.shape[-1])
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad(set_to_none=True)
        return found

    def _gradients(
        self, images: Tensor, labels: Tensor, select: Callable[[slice], None]
    ) -> tuple[Tensor, Tensor] | None:
        """Accumulate the gradients of the batch's parts; return as `__call__`, or None if memory ran out."""
        count = len(labels)
        total = torch.zeros((), device=labels.device)
        wrong = torch.zeros((), dtype=torch.int64, device=labels.device)
        try:
            start = 0
            for part in labels.tensor_split(self._parts(count)):
                rows = slice(start, start := start + len(part))
                select(rows)
                with self._compute.autocast():
                    scores = self.network(images[rows]).float()
                loss = cross_entropy(scores, part) * (len(part) / count)
                self.scaler.scale(loss).backward()
                total += loss.detach()
                wrong += (scores.detach().argmax(1) != part).sum()
        except torch.OutOfMemoryError:
            return None  # memory is freed by the caller: the error keeps tensors alive until this function returns
        return total, wrong

    def _parts(self, count: int) -> int:
        return -(-count // min(self._largest, count))

    def _halve(self, count: int, side: int) -> None:
        """Halve the number of images that go through the network at once, from that of a batch of `count`."""
        net = f"net {self.network.arch}" if isinstance(self.network, VGG) else "the net"
        at_once = -(-count // self._parts(count))
        images = f"{at_once} images" if at_once > 1 else "one image"
        too_much = f"{net}: the memory of {self._compute.names['device']} does not hold {images} of side {side}"
        if self._whole_batch:
            raise StageError(
                f"{too_much}, and batch normalisation needs the whole batch; lower tune.batch_size, model.width or "
                "model.input_side, or run it with more memory"
            )
        if at_once == 1:
            raise StageError(f"{too_much}; lower model.width or model.input_side, or run it with more memory")
        self._largest = at_once // 2
        self._say(messages.split_batch(too_much, self._largest))
