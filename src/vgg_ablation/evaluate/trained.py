"""One run's trained net and its images, and the posteriors that it gives them, each computed once."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import torch
from torch import Tensor

from vgg_ablation.device import Compute
from vgg_ablation.errors import StageError
from vgg_ablation.evaluate.cache import compute_once
from vgg_ablation.evaluate.protocols import Stored, View, count_view_gmacs, posteriors
from vgg_ablation.model.vgg import VGG
from vgg_ablation.model.weights import read_weights
from vgg_ablation.runtime.checkpoints import Slots
from vgg_ablation.runtime.cost import Meter
from vgg_ablation.runtime.settings import ModelSettings
from vgg_ablation.runtime.state import file_digest, locked, source_digest, state_folder


@dataclass(frozen=True)
class TrainedNet:
    """A net with the weights of one run, and that run's images."""

    network: VGG
    weights: str
    """SHA-256 of their file."""
    model: ModelSettings
    stored: Stored
    training: Tensor
    """Numbers of the training images, int64, as are those below."""
    test: Tensor
    compute: Compute
    say: Callable[[str], None]
    """Tells people why nothing seems to happen."""
    meter: Meter
    """Counts the work."""

    def classify_test(self, view: View) -> Tensor:
        """Return the posteriors (N, K) of the test images. Raises StageError where the disk is full."""
        return self._classify(self.test, view, "test")

    def classify_training(self, view: View) -> Tensor:
        """Return the posteriors (N, K) of the training images. Raises StageError where the disk is full."""
        return self._classify(self.training, view, "training")

    def _classify(self, images: Tensor, view: View, part: str) -> Tensor:
        with locked(folder := self._folder, self.say):
            found, seconds = compute_once(
                Slots(folder / f"{part}-{view.method}-{view.scale}", self.say),
                partial(posteriors, self.network, self.stored, images, view, self.compute),
            )
        self.meter.add(seconds, len(images), count_view_gmacs(self.network, self.stored, images, view))
        return found

    @cached_property
    def _folder(self) -> Path:
        """The state folder; what else posteriors depend on, the part of the images and the view, names a file in it."""
        batches = (self.stored.fixed, self.stored.larger)
        return state_folder(
            "evaluate",
            {
                "arch": self.network.arch,
                "model": self.model.model_dump(),
                "weights": self.weights,
                "images": [each.pixels.digest for each in batches],
                # The colours that inputs are normalised by are those of the training images.
                "split": [hashlib.sha256(part.numpy().tobytes()).hexdigest() for part in (self.training, self.test)],
                "source": source_digest("device.py", "evaluate", "images", "model"),
                **self.compute.names,
                "threads": torch.get_num_threads(),
            },
        )


def load_net(path: Path, digest: str, arch: str, classes: int, model: ModelSettings, compute: Compute) -> VGG:
    """Return the net whose weights `train` wrote to `path`, on the device.

    Raises:
        OSError: the file cannot be read.
        StageError: it is damaged: its SHA-256 is not `digest`, or it holds no weights of this net.
    """
    if file_digest(path) != digest:
        raise StageError(f"{path}: damaged, its SHA-256 is not that in training.json; run train again")
    network = VGG(arch, classes, **model.model_dump())
    read_weights(path, network)
    return network.to(compute.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
