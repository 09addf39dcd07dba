"""Descriptors of images: features of one or more nets at one or more scales, combined and L2-normalised."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vgg_ablation.appendix_b.nets import features_name
from vgg_ablation.errors import StageError
from vgg_ablation.runtime.settings import Descriptor

Parts = Mapping[int, Sequence[np.ndarray]]
"""Features (N, D) of the nets, by scale Q."""


def open_features(folder: Path, scale: int, images: int) -> np.ndarray:
    """Return the features (N, D) float32 of `images` images at a scale, mapped from the disk.

    Raises:
        OSError: the file cannot be read.
        StageError: it is not that of so many images.
    """
    path = folder / features_name(scale)
    values = np.memmap(path, np.float32, mode="r")
    if not images or len(values) % images:
        raise StageError(f"{path} has {len(values):,} values, which {images:,} images cannot have; run features again")
    return values.reshape(images, -1)


def variants(kinds: Sequence[Descriptor], scales: Sequence[int]) -> Iterator[tuple[str, Descriptor, tuple[int, ...]]]:
    """Yield name, kind and scales of each descriptor: `single-256`, ..., `averaged`, `stacked`."""
    for kind in kinds:
        if kind != "single":
            yield kind, kind, tuple(scales)
            continue
        for scale in scales:
            yield f"single-{scale}", kind, (scale,)


def combine(
    parts: Parts, images: np.ndarray, kind: Descriptor, scales: Sequence[int], *, normalise_scales: bool
) -> Tensor:
    """Return the descriptors of M images, (M, D) float32, of unit length.

    Args:
        parts: features of all images.
        images: (M,) image numbers.
        kind: `averaged`: the mean over scales; else the scales' features one after the other. The nets' features
            follow one another in any case.
        scales: those to combine.
        normalise_scales: whether the features of each net at each scale have unit length before.
    """
    nets = []
    for net in range(len(parts[scales[0]])):
        features = [torch.from_numpy(parts[scale][net][images]) for scale in scales]
        if normalise_scales:
            features = [unit_length(part) for part in features]
        nets.append(torch.stack(features).mean(0) if kind == "averaged" else torch.cat(features, 1))
    return unit_length(torch.cat(nets, 1))


def unit_length(vectors: Tensor) -> Tensor:
    """Return vectors (M, D) of L2 norm one; those of zeros stay."""
    return torch.nn.functional.normalize(vectors)
