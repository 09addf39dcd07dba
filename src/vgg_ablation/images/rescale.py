"""Isotropic rescaling of packed images to a smallest side: S of section 3.1, Q of section 3.2.

The filter is a triangle two pixels wide in the smaller of the two images, as in Pillow and torch's antialiased
`interpolate`.
"""

import torch
from torch import Tensor

from vgg_ablation.images.pixels import Pixels, to_device

_AT_ONCE = 2**26  # values of the windows that crops are made from: bounds the memory


def rescaled_sizes(pixels: Pixels, images: Tensor, scale: Tensor | int) -> Tensor:
    """Return heights and widths, (2, B) int64, of `images` (B,) with smallest side `scale`, (B,) or one for all."""
    stored = torch.stack([pixels.heights[images], pixels.widths[images]])
    return (stored * (scale / stored.amin(0).double())).round().long()


def rescaled_crops(
    pixels: Pixels,
    images: Tensor,
    sizes: Tensor,
    corners: Tensor,
    side: int,
    device: torch.device,
    flip: Tensor | None = None,
) -> Tensor:
    """Cut a square from each of B rescaled images, of which no more is computed: (B, side, side, 3) float32, 0..255.

    Args:
        pixels: the images.
        images: (B,) image numbers, on the CPU as are all other tensors given.
        sizes: (2, B) heights and widths to rescale to, at least `side` + 4 and not above those stored.
        corners: (2, B) first row and first column of each square in the rescaled image.
        side: side of the squares in pixels.
        device: that computes them.
        flip: (B,) bool, whether to mirror the square; None for none.
    """
    stored = torch.stack([pixels.heights[images], pixels.widths[images]])
    ratio = stored.double() / sizes
    window = int(((side + 1) * ratio).max()) + 1
    first = ((corners - 0.5) * ratio + 0.5).floor().long().clamp(min=0).minimum(stored - window)
    mirrored = torch.zeros(len(images), dtype=torch.bool) if flip is None else flip
    parts = []
    for part in torch.arange(len(images)).split(max(1, _AT_ONCE // (3 * window * window))):
        values = to_device(pixels.crop(images[part], first[0, part], first[1, part], window), device)
        here = [to_device(each[:, part], device) for each in (corners, ratio, first)]
        down, across = (
            _filter(corner, stride, start, side, window) for corner, stride, start in zip(*here, strict=True)
        )
        across = torch.where(to_device(mirrored[part], device)[:, None, None], across.flip(1), across)
        # Rows first, then columns: a product of matrices each, with the three colours beside one another.
        narrow = (down @ values.float().flatten(2)).view(len(part), side, window, 3)
        small = across @ narrow.transpose(1, 2).flatten(2)
        parts.append(small.view(len(part), side, side, 3).transpose(1, 2))
    return torch.cat(parts).contiguous()


def _filter(corner: Tensor, ratio: Tensor, first: Tensor, side: int, window: int) -> Tensor:
    """Return (B, side, window) float32: the share of each pixel of the window in each pixel of the result."""
    centres = (corner[:, None] + torch.arange(side, device=corner.device) + 0.5) * ratio[:, None]
    pixels = first[:, None] + torch.arange(window, device=first.device) + 0.5
    weights = (1 - (pixels[:, None, :] - centres[:, :, None]).abs() / ratio[:, None, None]).clamp(min=0)
    return (weights / weights.sum(2, keepdim=True)).float()
