"""From the archive to what the nets read: packed pixels, index, splits, contact sheet and summary."""

from pathlib import Path
from typing import Any

import numpy as np

from vgg_ablation.dataset.archive import CLUTTER, list_archive
from vgg_ablation.dataset.contact_sheet import COLUMNS, write_contact_sheet
from vgg_ablation.dataset.pack import choose, pack
from vgg_ablation.dataset.splits import require_split, write_splits
from vgg_ablation.errors import StageError
from vgg_ablation.files import file_digest, read_table, write_json
from vgg_ablation.images.index import INDEX_FILE, LARGE_FOLDER, PACKED, PIXELS_FILE, Index, write_checksums
from vgg_ablation.runtime.console import Console
from vgg_ablation.runtime.settings import SCALES, DataSettings, ScalesSettings
from vgg_ablation.text import without_credentials

SUMMARY_FILE = "summary.json"
CONTACT_SHEET_FILE = "contact-sheet.jpg"


def largest_side(scales: ScalesSettings) -> int:
    """Return the largest S or Q of all training scales (sections 3.1, 3.2), in pixels."""
    tests = (side for name in SCALES for side in scales.of(name).test)
    return max(scales.fixed.train, scales.large.train, *scales.jitter.train, *tests)


def preprocess(
    archive: Path, settings: DataSettings, scales: ScalesSettings, folder: Path, console: Console
) -> dict[str, Any]:
    """Decode, rescale, pack and split the chosen images of `archive` into `folder`, and return the summary.

    The images are packed twice: at the fixed training scale, and in `folder`/large with the largest side that any
    scale asks for, from which the other sizes are made while they are read.

    Raises:
        OSError: a file cannot be read or written.
        StageError: the archive is damaged, or has too few images, or not the categories asked for.
    """
    chosen = choose(list_archive(archive), settings.categories, clutter=settings.clutter)
    parts = {member.path: member.part for member in chosen.members}
    require_split(parts, {member.path: member.category for member in chosen.members}, settings)  # before long work
    counts = pack(archive, list(chosen.members), scales.fixed.train, folder, console, chosen.strays)
    sizes = write_splits(folder, settings, parts)
    write_checksums(folder)
    paths = set(read_table(folder / INDEX_FILE)["path"])
    members = [member for member in chosen.members if member.path in paths]
    pack(archive, members, largest_side(scales), folder / LARGE_FOLDER, console)
    if len(Index.read(folder / LARGE_FOLDER).labels) != len(paths):
        raise StageError(f"{archive}: an image could be decoded once, and not a second time; run preprocess again")
    write_checksums(folder / LARGE_FOLDER, PACKED)
    _write_contact_sheet(folder)
    summary = {
        "source": without_credentials(settings.source),
        "archive_sha256": file_digest(archive),
        "clutter": CLUTTER in Index.read(folder).categories,
        "side": scales.fixed.train,
        "train_per_class": settings.train_per_class,
        "splits": settings.splits,
        **counts,
        **sizes,
    }
    write_json(folder / SUMMARY_FILE, summary)
    return summary


def _write_contact_sheet(folder: Path) -> None:
    index, pixels = Index.read(folder), np.memmap(folder / PIXELS_FILE, np.uint8, mode="r")
    first = {
        name: [index.image(pixels, number) for number in np.flatnonzero(index.labels == label)[:COLUMNS].tolist()]
        for label, name in enumerate(index.categories)
    }
    write_contact_sheet(folder / CONTACT_SHEET_FILE, first)
