"""Batches of network inputs: random crop, horizontal flip, colour shift, normalisation, on the device (section 3.1)."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from vgg_ablation.errors import StageError
from vgg_ablation.images.index import LARGE_FOLDER, TEST, TRAIN, VALIDATION, images_in, read_splits
from vgg_ablation.images.pixels import Pixels, to_device
from vgg_ablation.images.rescale import rescaled_crops, rescaled_sizes

_CHUNK = 4 * 2**20  # pixels summed at once: bounds the memory


@dataclass(frozen=True)
class Colour:
    """Colour statistics of a set of images, with pixel values in 0..1. All float32."""

    mean: Tensor
    """(3,) mean of each channel."""
    deviation: Tensor
    """(3,) standard deviation of each channel."""
    shift: Tensor
    """(3, 3) principal components of RGB as columns, each times its eigenvalue: `shift @ alpha` is a colour shift.

    Krizhevsky et al. 2012, section 4.1. The eigenvalues are of values in 0..1; of values in 0..255 their own formula
    would shift colours by several times the range.
    """

    @classmethod
    def measure(cls, pixels: Pixels, images: Tensor) -> "Colour":
        """Measure all pixels of `images` (numbers, on the CPU): exact integer sums, so the order cannot matter."""
        count = 0
        sums = torch.zeros(3, dtype=torch.int64)
        products = torch.zeros(3, 3, dtype=torch.float64)
        for number in images.tolist():
            for values in pixels.image(number).view(-1, 3).split(_CHUNK):
                double = values.double()
                count += len(values)
                sums += values.sum(0, dtype=torch.int64).cpu()
                products += (double.T @ double).cpu()
        mean = sums.double() / count / 255
        covariance = products / count / 255**2 - torch.outer(mean, mean)
        eigenvalues, components = torch.linalg.eigh(covariance)
        # A component's sign is free; fix it, so that all platforms draw the same shifts from a seed.
        components *= torch.where(components.sum(0) < 0, -1.0, 1.0)
        deviation = covariance.diagonal().clamp(min=1 / 255**2).sqrt()
        return cls(mean.float(), deviation.float(), (components * eigenvalues).float())


@dataclass(frozen=True)
class Batches:
    """The batches of one run: its images, their colour statistics, and the side of the network's input in pixels."""

    pixels: Pixels
    colour: Colour
    side: int
    device: torch.device
    training_scale: int | tuple[int, int] | None = None
    """S of section 3.1 in pixels, or smallest and largest S, drawn for each image in each epoch; None: as stored."""
    test_scale: int | None = None
    """Q of section 3.2 that centre crops are cut at, in pixels; None: as stored."""

    def training(
        self, images: Tensor, batch_size: int, colour_shift: float, generator: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield one epoch of `images` in random order: (B, 3, side, side) float32 channels-last, labels (B,) int64.

        Each image gives one random crop, flipped with probability 1/2, its colour shifted by the principal components
        of RGB with strengths alpha ~ N(0, `colour_shift`), once. The image has the training scale; between two of them,
        all whole numbers of pixels are equally likely. All random numbers come from `generator` (a CPU one) before the
        first batch. All batches have one size, `batch_size` or the number of images if that is smaller: the
        images left over by the last whole batch are not in this epoch.
        """
        count = len(images)
        order = images[torch.randperm(count, generator=generator)]
        place = torch.rand(2, count, generator=generator)
        flip = torch.rand(count, generator=generator) < 0.5
        alpha = torch.randn(count, 3, generator=generator) * colour_shift
        scale = self._draw_scales(count, generator)
        batch_size = min(batch_size, count)
        for start in range(0, count - batch_size + 1, batch_size):
            batch = slice(start, start + batch_size)
            numbers = order[batch]
            if scale is None:
                top = (place[0, batch] * (self.pixels.heights[numbers] - self.side + 1)).long()
                left = (place[1, batch] * (self.pixels.widths[numbers] - self.side + 1)).long()
                crops = to_device(self.pixels.crop(numbers, top, left, self.side), self.device)
                flipped = crops.flip(2).flatten(1)
                crops = torch.where(to_device(flip[batch], self.device)[:, None], flipped, crops.flatten(1)).view_as(
                    crops
                )
            else:
                sizes = rescaled_sizes(self.pixels, numbers, scale[batch])
                corners = (place[:, batch] * (sizes - self.side + 1)).long()
                crops = rescaled_crops(self.pixels, numbers, sizes, corners, self.side, self.device, flip[batch])
            yield self.normalise(crops, alpha[batch] @ self.colour.shift.T), self.labels(numbers)

    def centre(self, images: Tensor, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the centre crops of `images` in order, normalised, and their labels; shapes as in `training`."""
        for numbers in images.split(batch_size):
            if self.test_scale is None:
                top = (self.pixels.heights[numbers] - self.side) // 2
                left = (self.pixels.widths[numbers] - self.side) // 2
                crops = self.pixels.crop(numbers, top, left, self.side)
            else:
                sizes = rescaled_sizes(self.pixels, numbers, self.test_scale)
                crops = rescaled_crops(self.pixels, numbers, sizes, (sizes - self.side) // 2, self.side, self.device)
            yield self.normalise(to_device(crops, self.device)), self.labels(numbers)

    def whole(
        self, images: Tensor, largest: int, scale: int | None = None, *, multiple: int = 1
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield `images` uncropped, normalised: numbers (B,) and inputs (B, 3, H, W), images of one size together.

        B is a power of two, but for the last batch of each size.

        Args:
            images: (N,) their numbers.
            largest: pixels of a batch, unless it is one image.
            scale: smallest side in pixels that the images are rescaled to first; None: that of the stored ones.
            multiple: each image is cut at its centre to the largest multiples of this many pixels; so
                many sizes become few.
        """
        pixels = self.pixels
        stored = torch.stack([pixels.heights[images], pixels.widths[images]])
        sizes = stored if scale is None else rescaled_sizes(pixels, images, scale)
        shapes, group = (sizes // multiple * multiple).unique(dim=1, return_inverse=True)
        for label, (height, width) in enumerate(shapes.T.tolist()):
            most = 1 << max(1, largest // (height * width)).bit_length() - 1
            for places in (group == label).nonzero().flatten().split(most):
                numbers = images[places]
                whole = [
                    _centre(_rescaled(to_device(pixels.image(number), self.device), *size), height, width)
                    for number, size in zip(numbers.tolist(), sizes[:, places].T.tolist(), strict=True)
                ]
                yield numbers, self.normalise(torch.stack(whole))

    def _draw_scales(self, count: int, generator: torch.Generator) -> Tensor | None:
        """Return the training scale of each of `count` images, (N,) int64; None where it is that of the stored ones."""
        if isinstance(self.training_scale, tuple):
            smallest, largest = self.training_scale
            return torch.randint(smallest, largest + 1, (count,), generator=generator)
        return None if self.training_scale is None else torch.full((count,), self.training_scale)

    def labels(self, images: Tensor) -> Tensor:
        """Return the labels of `images` on the device, (B,) int64."""
        return to_device(self.pixels.labels[images], self.device)

    def normalise(self, values: Tensor, shift: Tensor | None = None) -> Tensor:
        """Turn (B, H, W, 3), 0..255, into (B, 3, H, W) float32 channels-last of zero mean and unit deviation a channel.

        `shift` is (B, 3), added to the colours in units of 0..1 before.
        """
        mean = self.colour.mean if shift is None else self.colour.mean - shift[:, None, :]
        width = values.shape[2]
        # A row of pixels at a time: operations on three channels at a time take ten times as long on a CPU.
        scale = to_device((1 / (255 * self.colour.deviation)).repeat(width), self.device)
        offset = to_device((-mean / self.colour.deviation).view(-1, 1, 3).repeat(1, 1, width), self.device)
        return values.flatten(2).float().mul_(scale).add_(offset).view(values.shape).permute(0, 3, 1, 2)


def _rescaled(image: Tensor, height: int, width: int) -> Tensor:
    """Return an image (h, w, 3) as (`height`, `width`, 3), the very same where it has that size, else float32."""
    if image.shape[:2] == (height, width):
        return image
    planes = image.permute(2, 0, 1)[None].float()
    return interpolate(planes, (height, width), mode="bilinear", antialias=True)[0].permute(1, 2, 0)


def _centre(image: Tensor, height: int, width: int) -> Tensor:
    """Return the centre of an image (h, w, 3) as (`height`, `width`, 3), a view."""
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]


@dataclass(frozen=True)
class RunImages:
    """The images of one split: the batches to take them from, and the numbers of each part's images, int64."""

    batches: Batches
    training: Tensor
    validation: Tensor
    test: Tensor
    """For the evaluation alone."""

    @classmethod
    def open(cls, folder: Path, split: int, side: int, device: torch.device, *, refit: bool = False) -> "RunImages":
        """Open split number `split` of what `preprocess` wrote to `folder`, for network inputs of `side` pixels.

        The images have the fixed scale. With `refit`, the validation images are training images too, and none are left
        to validate on. The colour statistics are those of the training images.
        """
        pixels = Pixels.open(folder)
        table = read_splits(folder, images=len(pixels.labels))
        training, validation, test = (torch.tensor(images_in(table, split, part)) for part in (TRAIN, VALIDATION, TEST))
        if refit:
            training, validation = torch.cat([training, validation]).sort().values, validation[:0]
        batches = Batches(pixels.resident(device), Colour.measure(pixels, training), side, device)
        return cls(batches, training, validation, test)

    def rescaled(self, folder: Path, training_scale: int | tuple[int, int] | None, test_scale: int) -> "RunImages":
        """Return the same images at other scales, made from the larger ones that `preprocess` wrote to `folder`.

        The colour statistics stay: nets resume from weights that were trained with them.

        Raises:
            StageError: the larger images are not the same ones.
        """
        larger = Pixels.open(folder / LARGE_FOLDER)
        if not torch.equal(larger.labels, self.batches.pixels.labels):
            raise StageError(f"{folder / LARGE_FOLDER} has other images than {folder}; run preprocess again")
        device = self.batches.device
        batches = replace(
            self.batches, pixels=larger.resident(device), training_scale=training_scale, test_scale=test_scale
        )
        return replace(self, batches=batches)
