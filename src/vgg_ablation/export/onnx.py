"""A trained net as an ONNX file, from pixels to posteriors, checked with onnxruntime."""

from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from vgg_ablation.errors import StageError
from vgg_ablation.files import write_bytes
from vgg_ablation.predict.nets import TrainedRun

TOLERANCE = 1e-4
"""Largest difference of a posterior between onnxruntime and torch."""

_LARGEST = 2 * 10**9  # bytes of weights; the format's limit is 2**31 for the file


class FromPixels(nn.Module):
    """A net with its normalisation and soft-max: crops (N, 3, side, side), RGB, 0..255, to posteriors (N, K)."""

    def __init__(self, run: TrainedRun) -> None:
        super().__init__()
        self.network = run.network
        self.mean: Tensor
        self.deviation: Tensor
        for name in ("mean", "deviation"):
            values = 255 * torch.tensor(getattr(run.description, name))
            self.register_buffer(name, values.view(3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the posteriors."""
        return self.network((pixels - self.mean) / self.deviation).softmax(1)


def write_onnx(path: Path, run: TrainedRun) -> None:
    """Write a run as ONNX: input `pixels`, any number of crops as `FromPixels` takes them; output `posteriors`.

    Raises:
        OSError: the file cannot be written.
        StageError: onnxruntime gives other posteriors than torch, the net is too large, or the disk is full.
    """
    if sum(values.nbytes for values in run.network.state_dict().values()) > _LARGEST:
        raise StageError(f"{path}: the net has more than the 2 GB that an ONNX file holds")
    model = FromPixels(run).eval()
    side = run.description.input_side
    pixels = torch.randint(0, 256, (2, 3, side, side), generator=torch.Generator().manual_seed(0)).float()
    program = torch.onnx.export(
        model, (pixels,), dynamo=True, verbose=False, dynamic_shapes=({0: "images"},), input_names=["pixels"],
        output_names=["posteriors"],
    )  # fmt: skip
    assert program is not None  # noqa: S101 - it is with `dynamo`
    content = program.model_proto.SerializeToString()
    require_equal(content, model, path)
    write_bytes(path, content)


@torch.inference_mode()
def require_equal(content: bytes, model: nn.Module, path: Path) -> None:
    """Raise StageError unless onnxruntime's answers to three crops of noise are those of `model`."""
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (side, _) = session.get_inputs()[0].shape[2:]
    pixels = torch.randint(0, 256, (3, 3, side, side), generator=torch.Generator().manual_seed(1)).float()
    (found,) = session.run(None, {"pixels": pixels.numpy()})
    difference = np.abs(np.asarray(found) - model(pixels).numpy()).max()
    if not difference <= TOLERANCE:
        raise StageError(f"{path}: onnxruntime's posteriors differ from torch's by {difference:.2g}")
