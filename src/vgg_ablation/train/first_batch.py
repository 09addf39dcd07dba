"""Draw the first images of an epoch as the nets see them: crops, flips and colour shifts, under their classes' names.

`python -m vgg_ablation.train.first_batch`, after `dvc repro stages/dvc.yaml:preprocess`.
"""

import math
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from vgg_ablation.device import Compute
from vgg_ablation.files import replacing
from vgg_ablation.images.batches import Batches
from vgg_ablation.images.index import LARGE_FOLDER, PACKED, verify
from vgg_ablation.runtime.console import stage
from vgg_ablation.runtime.params import read_params
from vgg_ablation.runtime.paths import PROCESSED
from vgg_ablation.runtime.settings import SCALES, StudySettings
from vgg_ablation.train.experiment import seed_of
from vgg_ablation.train.net import images_of_run
from vgg_ablation.train.run import derive_seed

_IMAGES = 32
_COLUMNS = 8
_TILE = 96  # pixels at least; crops are enlarged by a whole factor, so that each of their pixels shows
_CAPTION = 18  # pixels above a tile


def as_seen(batches: Batches, inputs: Tensor) -> np.ndarray:
    """Return network inputs (B, 3, side, side) as images (B, side, side, 3) uint8: the normalisation undone.

    Colours that a shift moved out of range are cut.
    """
    colours = inputs.permute(0, 2, 3, 1) * batches.colour.deviation + batches.colour.mean
    return (255 * colours).round().clamp(0, 255).byte().numpy()


def draw_batch(path: Path, crops: np.ndarray, names: Sequence[str]) -> None:
    """Write crops (B, side, side, 3) uint8 as a PNG, each under its name. Raises as `files.replacing`."""
    side = crops.shape[1]
    tile = side * math.ceil(_TILE / side)
    columns = min(_COLUMNS, len(crops))
    sheet = Image.new("RGB", (columns * tile, math.ceil(len(crops) / columns) * (tile + _CAPTION)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for place, (crop, name) in enumerate(zip(crops, names, strict=True)):
        row, column = divmod(place, columns)
        left, top = column * tile, row * (tile + _CAPTION)
        while name and draw.textlength(name, font) > tile - 4:
            name = name[:-1]
        draw.text((left + 2, top + 1), name, fill="black", font=font)
        sheet.paste(Image.fromarray(crop).resize((tile, tile), Image.Resampling.NEAREST), (left, top + _CAPTION))
    with replacing(path) as beside:
        sheet.save(beside, "PNG")


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and params.yaml, and draw the images."""
    parser = ArgumentParser(prog="python -m vgg_ablation.train.first_batch", description=__doc__)
    parser.add_argument("path", nargs="?", type=Path, default=Path("training-batch.png"), help="of the PNG to write")
    parser.add_argument("--scale", choices=SCALES, default=SCALES[0], help="training scale (default: %(default)s)")
    parser.add_argument("--epoch", type=int, default=1, help="epoch of run 0 that they are the first of (default: 1)")
    given = parser.parse_args(arguments)
    if given.epoch < 1:
        parser.error("--epoch must be at least 1")
    with stage("first_batch", saved=""):
        study = read_params().whole(StudySettings)
        verify(PROCESSED)
        if given.scale != SCALES[0]:
            verify(PROCESSED / LARGE_FOLDER, PACKED)
        compute = Compute(torch.device("cpu"), torch.float32)
        images = images_of_run(0, given.scale, study.scales, study.model, compute, refit=study.train.refit)
        # All crops of an epoch are drawn before its first batch, so that its size changes none.
        crops = torch.Generator().manual_seed(derive_seed(seed_of(0, given.scale), given.epoch, "crops"))
        drawn = images.batches.training(images.training, _IMAGES, study.train.colour_shift, crops)
        inputs, labels = next(drawn)
        names = [images.batches.pixels.categories[label] for label in labels.tolist()]
        draw_batch(given.path, as_seen(images.batches, inputs), names)
        print(f"{given.path}: the first {len(names)} images of run 0, epoch {given.epoch}, scale {given.scale}")


if __name__ == "__main__":
    main()
