"""A contact sheet: a few labelled images of each category, to see with one's own eyes what the nets are shown."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from vgg_ablation.files import replacing

_THUMBNAIL = 96  # pixels
COLUMNS = 8  # images of a category
_CAPTION = 18  # pixels below a row of thumbnails
_MOST_CATEGORIES = 64


def write_contact_sheet(path: Path, images: Mapping[str, Sequence[np.ndarray]]) -> None:
    """Write the first images of each category as a JPEG, a row a category under its official name.

    More categories than a page holds are thinned out evenly.

    Args:
        path: path of the JPEG.
        images: by category, in the order of the rows; each (height, width, 3) uint8, RGB.
    """
    names = list(images)[:: -(-len(images) // _MOST_CATEGORIES)]
    sheet = Image.new("RGB", (COLUMNS * _THUMBNAIL, len(names) * (_THUMBNAIL + _CAPTION)), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(12)
    for row, name in enumerate(names):
        top = row * (_THUMBNAIL + _CAPTION)
        draw.text((4, top + 1), name, fill="black", font=font)
        for column, image in enumerate(images[name][:COLUMNS]):
            thumbnail = ImageOps.fit(Image.fromarray(np.asarray(image)), (_THUMBNAIL, _THUMBNAIL))
            sheet.paste(thumbnail, (column * _THUMBNAIL, top + _CAPTION))
    with replacing(path) as beside:
        sheet.save(beside, "JPEG", quality=90)
