"""From the archive to what the nets read: packed pixels, index, splits, contact sheet and summary."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vgg_ablation.dataset.archive import list_archive
from vgg_ablation.dataset.contact_sheet import COLUMNS, write_contact_sheet
from vgg_ablation.dataset.download import without_credentials
from vgg_ablation.dataset.pack import choose, pack
from vgg_ablation.dataset.splits import count_parts, draw_splits, require_enough
from vgg_ablation.errors import StageError
from vgg_ablation.files import write_json, write_text
from vgg_ablation.images.index import (
    INDEX_FILE,
    LARGE_FOLDER,
    PACKED,
    PIXELS_FILE,
    SPLITS_FILE,
    Index,
    write_checksums,
)
from vgg_ablation.runtime.console import Stage
from vgg_ablation.runtime.settings import DataSettings, ScalesSettings
from vgg_ablation.runtime.state import file_digest

SUMMARY_FILE = "summary.json"
CONTACT_SHEET_FILE = "contact-sheet.jpg"


def preprocess(
    archive: Path, settings: DataSettings, scales: ScalesSettings, folder: Path, stage: Stage
) -> dict[str, Any]:
    """Decode, rescale, pack and split the chosen images of `archive` into `folder`, and return the summary.

    The images are packed twice: at the fixed training scale, and in `folder`/large with the largest side that any
    scale asks for, from which the others are made while they are read.

    Raises:
        OSError: a file cannot be read or written.
        StageError: the archive is damaged, or has too few images, or not the categories asked for.
    """
    chosen = choose(list_archive(archive), settings.categories, clutter=settings.clutter)
    require_enough(Counter(member.category for member in chosen.members), settings.train_per_class)  # before long work
    counts = pack(archive, list(chosen.members), scales.fixed.train, folder, stage, chosen.strays)
    splits = draw_splits(pd.read_csv(folder / INDEX_FILE, dtype={"path": str, "category": str}), settings)
    write_text(folder / SPLITS_FILE, splits.to_csv(index=False))
    write_checksums(folder)
    kept = set(pd.read_csv(folder / INDEX_FILE, dtype={"path": str})["path"])
    members = [member for member in chosen.members if member.path in kept]
    pack(archive, members, scales.largest, folder / LARGE_FOLDER, stage)
    if len(Index.read(folder / LARGE_FOLDER).labels) != len(kept):
        raise StageError(f"{archive}: an image could be decoded once, and not a second time; run preprocess again")
    write_checksums(folder / LARGE_FOLDER, PACKED)
    packed, pixels = Index.read(folder), np.memmap(folder / PIXELS_FILE, np.uint8, mode="r")
    first = {
        name: [packed.image(pixels, number) for number in np.flatnonzero(packed.labels == label)[:COLUMNS].tolist()]
        for label, name in enumerate(packed.categories)
    }
    write_contact_sheet(folder / CONTACT_SHEET_FILE, first)
    summary = {
        "source": without_credentials(settings.source),
        "archive_sha256": file_digest(archive),
        "clutter": settings.clutter,
        "side": scales.fixed.train,
        "train_per_class": settings.train_per_class,
        "splits": settings.splits,
        **counts,
        **count_parts(splits),
    }
    write_json(folder / SUMMARY_FILE, summary)
    return summary
