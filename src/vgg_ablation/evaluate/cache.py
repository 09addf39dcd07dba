"""Posteriors of one run, cached on disk: an interrupted evaluation computes none of them twice."""

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vgg_ablation.device import Compute
from vgg_ablation.evaluate.protocols import PackedImages, View, count_view_gmacs, posteriors
from vgg_ablation.model.table1 import configuration
from vgg_ablation.model.vgg import VGG
from vgg_ablation.model.weights import pack, unpack
from vgg_ablation.runtime.checkpoints import Checkpoints
from vgg_ablation.runtime.cost import Meter
from vgg_ablation.runtime.settings import ModelSettings
from vgg_ablation.runtime.state import source_digest, state_folder

SOURCES = (
    "device.py",
    "evaluate/arrays.py",
    "evaluate/cache.py",
    "evaluate/calibration.py",
    "evaluate/decisions.py",
    "evaluate/metrics.py",
    "evaluate/net.py",
    "evaluate/protocols.py",
    "images/batches.py",
    "images/index.py",
    "images/pixels.py",
    "images/rescale.py",
    "model/dense.py",
    "model/table1.py",
    "model/vgg.py",
    "model/weights.py",
)
"""Files of the package that `stages/evaluate.py` imports, without runtime/ and files.py, which change no posterior."""


@dataclass(frozen=True)
class CachedNet:
    """A trained net and the images of its run; its posteriors are cached."""

    network: VGG
    packed: PackedImages
    parts: Mapping[str, Tensor]
    """Image numbers (N,) by part of the split: `training` and `test`."""
    compute: Compute
    folder: Path
    """Folder of the cache, see `cache_folder`."""
    say: Callable[[str], None]
    """Prints a line about a damaged file."""
    meter: Meter
    """Counts the work, also that of cached posteriors."""

    def labels(self, part: str) -> Tensor:
        """Return the labels (N,) of the images of one part."""
        return self.packed.fixed.pixels.labels[self.parts[part]]

    def classify(self, part: str, view: View) -> Tensor:
        """Return the posteriors (N, K) float32 of one part in one view. Raises StageError if the disk is full."""
        images = self.parts[part]
        checkpoints = Checkpoints(self.folder / f"{part}-{view.method}-{view.scale}", self.say)
        if (content := checkpoints.read()) is None:
            began = time.perf_counter()
            result = posteriors(self.network, self.packed, images, view, self.compute)
            seconds = torch.tensor(time.perf_counter() - began, dtype=torch.float64)
            checkpoints.write(0, content := pack({"posteriors": result, "seconds": seconds}))
        cached = unpack(content, checkpoints.name)
        gmacs = count_view_gmacs(self.network, self.packed, images, view)
        self.meter.add(cached["seconds"].item(), len(images), gmacs)
        return cached["posteriors"]


def cache_folder(
    arch: str, model: ModelSettings, weights: str, packed: PackedImages, parts: Mapping[str, Tensor], compute: Compute
) -> Path:
    """Return the state folder for the posteriors of one run, keyed by all that determines them.

    `weights` is the SHA-256 of the net's file. The training images count, as their colours normalise all inputs.
    """
    return state_folder(
        "evaluate",
        {
            "arch": arch,
            "configuration": configuration(arch),
            "model": model.model_dump(),
            "weights": weights,
            "images": [batches.pixels.digest for batches in (packed.fixed, packed.larger)],
            "split": {name: hashlib.sha256(part.numpy().tobytes()).hexdigest() for name, part in parts.items()},
            "source": source_digest(*SOURCES),
            **compute.names,
            "threads": torch.get_num_threads(),
        },
    )
