"""Packed images opened for reading, and rectangles cut from them in one gather."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vgg_ablation.images.index import PIXELS_FILE, Index


@dataclass(frozen=True)
class Pixels:
    """N images of different sizes, one after the other in one flat tensor; the other tensors are int64, (N,)."""

    flat: Tensor
    """uint8: for each image height x width x 3 values, RGB."""
    offsets: Tensor
    heights: Tensor
    widths: Tensor
    labels: Tensor
    categories: tuple[str, ...]
    """Official names by label."""
    digest: str
    """SHA-256 of the index, which holds the digest of each image's file: identifies the data."""

    @classmethod
    def open(cls, folder: Path) -> "Pixels":
        """Open what `preprocess` wrote to `folder`; the pixels are mapped from the disk, not read.

        Raises as `Index.read` does.
        """
        index = Index.read(folder)
        # Not torch.from_file: what it maps may be written to, and so must fit in memory and swap.
        mapped = np.memmap(folder / PIXELS_FILE, np.uint8, mode="r")
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # torch's: the array is not writable
            flat = torch.from_numpy(mapped)
        offsets, heights, widths, labels = map(
            torch.from_numpy, (index.offsets, index.heights, index.widths, index.labels)
        )
        return cls(flat, offsets, heights, widths, labels, index.categories, index.digest)

    @classmethod
    def pack(
        cls, images: Sequence[np.ndarray], categories: tuple[str, ...], labels: Sequence[int] | None = None
    ) -> "Pixels":
        """Return images in memory as `preprocess` packs them on disk, with an empty digest.

        Args:
            images: (height, width, 3) uint8, RGB.
            categories: names by label.
            labels: labels of the images; None: all 0.
        """
        sizes = torch.tensor([image.shape[:2] for image in images])
        values = 3 * sizes.prod(1)
        return cls(
            flat=torch.from_numpy(np.concatenate([image.ravel() for image in images])),
            offsets=values.cumsum(0) - values,
            heights=sizes[:, 0],
            widths=sizes[:, 1],
            labels=torch.zeros(len(images), dtype=torch.int64) if labels is None else torch.tensor(labels),
            categories=categories,
            digest="",
        )

    @property
    def side(self) -> int:
        """Smallest side of the images in pixels."""
        return int(torch.minimum(self.heights, self.widths).min())

    def image(self, number: int) -> Tensor:
        """Return one whole image as (height, width, 3) uint8, a view."""
        height, width, offset = (int(part[number]) for part in (self.heights, self.widths, self.offsets))
        return self.flat[offset : offset + 3 * height * width].view(height, width, 3)

    def resident(self, device: torch.device) -> "Pixels":
        """Return these images with their pixels on `device` if they fit in half its free memory, else unchanged.

        Half, because the nets and their activations need the rest.
        """
        if device.type != "cuda":
            return self
        torch.cuda.empty_cache()  # what torch holds of earlier runs' tensors is free, and the device does not know it
        if self.flat.numel() > torch.cuda.mem_get_info(device)[0] // 2:
            return self
        return replace(self, flat=self.flat.to(device))

    def crop(self, images: Tensor, top: Tensor, left: Tensor, side: int) -> Tensor:
        """Cut a square from each of B images: (B, side, side, 3) uint8, where the pixels are.

        Args:
            images: (B,) image numbers, on the CPU as are `top` and `left`.
            top: (B,) first row of each square, 0 to height - side.
            left: (B,) first column of each square, 0 to width - side.
            side: side of the squares in pixels.
        """
        rows = top[:, None] + torch.arange(side)
        starts = self.offsets[images, None] + (rows * self.widths[images, None] + left[:, None]) * 3
        # Every window of one row's length in the file, overlapping, as a view: a crop is a choice of such windows.
        row = 3 * side
        windows = self.flat.as_strided((self.flat.numel() - row + 1, row), (1, 1))
        starts = to_device(starts.flatten(), self.flat.device)
        return windows.index_select(0, starts).view(len(images), side, side, 3)


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return `tensor` on `device`; to a GPU the copy runs beside the CPU."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor
