"""One step of SGD on the multinomial logistic loss (section 3.1), in parts if memory is short."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from vgg_ablation.device import Compute
from vgg_ablation.errors import StageError
from vgg_ablation.model.vgg import VGG, batch_in_parts
from vgg_ablation.runtime import messages
from vgg_ablation.train.execution import CapturedGradient, Execution, choose_execution, compiled, has_compiler


class TrainingStep:
    """Steps of SGD that train `network` in place.

    Args:
        network: on the compute device, in training mode when a step is taken.
        compute: device and precision.
        learning_rate: initial learning rate; may be changed later.
        momentum: SGD momentum.
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
        # Fused, as others wait for the device with a loss scaler: they ask it whether the step overflowed.
        self.optimiser = torch.optim.SGD(
            network.parameters(), learning_rate, momentum, weight_decay=weight_decay, fused=True
        )
        self.scaler = torch.amp.GradScaler(compute.device.type, enabled=compute.precision == torch.float16)
        if self.scaler.is_enabled():
            # If the first step overflows, the fused kernel skips it and would leave the momentum uninitialised.
            for parameter in network.parameters():
                self.optimiser.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        self._compute = compute
        self._largest = largest
        self._say = say
        self._execution: Execution | None = None  # of the first batch's size
        self._forward: Callable[[Tensor], Tensor] = network
        self._captured: CapturedGradient | None = None
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
        if self._execution is None:
            self._execution = self._choose(len(labels))
        found = self._replay(images, labels) if self._execution == "captured" else None
        if found is None:
            found = self._in_parts(images, labels)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad(set_to_none=True)
        return found

    def _choose(self, count: int) -> Execution:
        """Choose how to compute the gradients of batches of `count` images, and prepare for it."""
        network = self.network
        if not isinstance(network, VGG):
            return "eager"
        classes = len(network.named_layers()["fc8"].weight)
        device = self._compute.device
        execution = choose_execution(
            network.arch, classes, network.input_side, network.width, count, device.type, compiler=has_compiler(device)
        )
        if execution == "compiled":
            self._compile(network)
        # A graph overwrites the gradients that it has computed, so the parts of a batch cannot share one.
        return "eager" if execution == "captured" and self._parts(count) > 1 else execution

    def _compile(self, network: VGG) -> None:
        """Compile the convolutions; FC layers and loss are few kernels, and dropout keeps torch's random numbers."""
        features = compiled(network.features)
        self._forward = lambda images: network.classifier(features(images).flatten(1))

    def _replay(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor] | None:
        """Compute the gradients as one CUDA graph; return as `__call__`, or None if memory ran out."""
        if self._captured is None:
            try:
                self._captured = CapturedGradient(self._whole, self.network, images, labels)
            except torch.OutOfMemoryError:
                self.optimiser.zero_grad(set_to_none=True)  # a pass that stopped half-way leaves some
                self._execution = "eager"
                return None
        return self._captured(images, labels)

    def _whole(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        with batch_in_parts(self.network, len(labels)) as select:
            if (found := self._gradients(images, labels, select)) is None:
                raise torch.OutOfMemoryError
        return found

    def _in_parts(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the gradients in parts that the memory holds; return as `__call__`."""
        count = len(labels)
        with batch_in_parts(self.network, count) as select:
            while (found := self._gradients(images, labels, select)) is None:
                self.optimiser.zero_grad(set_to_none=True)
                if self._compute.device.type == "cuda":
                    torch.cuda.empty_cache()
                self._halve(count, images.shape[-1])
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
                    scores = self._forward(images[rows]).float()
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
        if self._execution == "compiled" and isinstance(self.network, VGG):
            self._compile(self.network)
        self._say(messages.split_batch(too_much, self._largest))
