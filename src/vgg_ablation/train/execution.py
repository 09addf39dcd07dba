"""Execution of a training step's gradient on a GPU: by operation, compiled, or captured as one CUDA graph."""

import os
import shutil
import sysconfig
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from vgg_ablation.model.table1 import count_gmacs, weight_layers
from vgg_ablation.runtime.state import repository_root

Execution = Literal["eager", "compiled", "captured"]

_CACHE = "TORCHINDUCTOR_CACHE_DIR"
_LAUNCH_BOUND = 1e11  # operations of a step for each weight layer; see `choose_execution`
_WARM_UP = 3  # passes before the capture, in which libraries reserve memory and choose kernels


def choose_execution(
    arch: str, classes: int, input_side: int, width: float, batch_size: int, device: str, *, compiler: bool
) -> Execution:
    """Return how to compute the gradient of a batch. It depends on the arguments alone; nothing is timed.

    On the CPU, eager: oneDNN's kernels already do what the compiler would, and results stay the same to the byte.

    On a GPU (times on an NVIDIA H200 in bfloat16, deterministic, of an earlier version; this code has not run on a GPU
    yet):

    * Launching the kernels takes about 0.37 ms for each weight layer: E at 64 pixels, width 1/4 and batches of 32 takes
      6.9 ms a step, and 1.3 ms as a CUDA graph. In that time the GPU does 1e11 operations for each layer at the 290
      TFLOP/s of eager steps. Steps with fewer operations wait for the launches: they are captured.
    * Larger steps gain nothing from a graph (E at 224 pixels: batches of 32 12.9 and 13.2 ms, of 256 77.4 and 77.5 ms).
      They are compiled, which fuses biases, ReLU and pooling: E in batches of 256 59.4 ms, A 27.7 instead of 40.9 ms.

    Args:
        arch: name of the net.
        classes: number of classes.
        input_side: side of the crops in pixels.
        width: factor on the channels.
        batch_size: images of a step.
        device: `cpu` or `cuda`.
        compiler: see `has_compiler`; without it, larger steps on a GPU are eager.
    """
    if device != "cuda":
        return "eager"
    operations = 6e9 * count_gmacs(arch, classes, input_side, width) * batch_size
    if operations < _LAUNCH_BOUND * weight_layers(arch):
        return "captured"
    return "compiled" if compiler else "eager"


def has_compiler(device: torch.device) -> bool:
    """Return whether this machine can compile for its GPU: Triton needs a C compiler and Python's header files.

    A result depends on it, so it is part of the key of resume state.
    """
    if device.type != "cuda":
        return False
    found = os.environ.get("CC") or any(map(shutil.which, ("gcc", "clang")))  # as Triton looks for it
    return bool(found) and Path(sysconfig.get_path("include", "posix_prefix"), "Python.h").exists()


def compiled(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return `module` compiled, one program for each shape of its input; the module itself stays as it is.

    Compiled programs are cached with the resume state: later trials, runs and processes load them. The compiler forgets
    what it did before in this process, as it would compile differently after too many shapes or after a size that
    changed. Its deterministic mode chooses kernels without timing them.
    """
    os.environ.setdefault(_CACHE, str(repository_root() / ".state" / "compiled"))
    # The compiler advises TensorFloat32 for products in float32; precision is chosen in `device.choose_compute`.
    warnings.filterwarnings("ignore", "TensorFloat32 tensor cores", UserWarning)
    torch.compiler.reset()
    return torch.compile(module, fullgraph=True, dynamic=False, options={"deterministic": True})


class CapturedGradient:
    """A CUDA graph of the forward and backward pass of a batch: one launch instead of hundreds.

    The graph draws the random numbers of dropout from torch's generator, as eager passes do. The passes before the
    capture leave no trace in it or in the running statistics: each step of a run is a replay, also after a resumption.

    Args:
        gradient: takes images and labels, adds to the gradients of `network`, and returns tensors on the device.
        network: whose gradients are none yet.
        images: images of a batch; all batches have this shape.
        labels: labels of these images.

    Raises:
        OutOfMemoryError: memory ran out before the capture.
    """

    def __init__(
        self,
        gradient: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
        network: nn.Module,
        images: Tensor,
        labels: Tensor,
    ) -> None:
        self._network = network
        self._inputs = images.clone(), labels.clone()
        random_state = torch.cuda.get_rng_state(images.device)
        buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
        here, beside = torch.cuda.current_stream(images.device), torch.cuda.Stream(images.device)
        beside.wait_stream(here)
        try:
            with torch.cuda.stream(beside):
                for _ in range(_WARM_UP):
                    gradient(*self._inputs)
                    network.zero_grad(set_to_none=True)
            here.wait_stream(beside)
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph, stream=beside):
                self._found = gradient(*self._inputs)
        finally:
            torch.cuda.set_rng_state(random_state, images.device)
            for buffer, before in buffers:
                buffer.copy_(before)
        self._gradients = [parameter.grad for parameter in network.parameters()]

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Set the gradients of the network to those of a batch; return what `gradient` returns for it."""
        for held, given in zip(self._inputs, (images, labels), strict=True):
            held.copy_(given)
        self._graph.replay()
        for parameter, gradient in zip(self._network.parameters(), self._gradients, strict=True):
            parameter.grad = gradient
        first, second = self._found
        return first.clone(), second.clone()  # the next replay writes to the same memory
