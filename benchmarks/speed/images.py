"""The images of an epoch, for contestants that read files and for ours."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.speed.forms import Images
from vgg_ablation.dataset.archive import Member, list_archive
from vgg_ablation.dataset.pack import choose, pack
from vgg_ablation.errors import StageError
from vgg_ablation.files import read_table
from vgg_ablation.images.index import INDEX_FILE
from vgg_ablation.runtime.console import Stage

_SPARE = 1.02  # chosen for one needed: files may be no images, or repeat another's bytes


def lay_out(archive: Path, count: int, batch_size: int, side: int, folder: Path, stage: Stage) -> Images:
    """Write images from all over the archive to `folder`, as files and packed with smallest side `side`.

    There are `count` of them, or as many as the archive has; in any case whole batches.

    Raises:
        StageError: the archive does not hold a batch, or is none.
    """
    chosen = _spread(choose(list_archive(archive), "all", clutter=False).members, math.ceil(count * _SPARE))
    packed = folder / "packed"
    pack(archive, chosen, side, packed, stage)
    paths = read_table(packed / INDEX_FILE)["path"]
    count = min(count, len(paths)) // batch_size * batch_size
    if not count:
        raise StageError(f"{archive}: holds {len(paths)} usable images; a batch takes {batch_size}")
    by_path = {member.path: member for member in chosen}
    with archive.open("rb") as tar:
        for path in paths[:count]:
            tar.seek(by_path[path].offset)
            (folder / "files" / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / "files" / path).write_bytes(tar.read(by_path[path].size))
    return Images(folder / "files", packed, count)


def _spread(listed: Sequence[Member], count: int) -> list[Member]:
    """Return `count` of them at even distances, or all if there are no more."""
    places = np.linspace(0, len(listed), min(count, len(listed)), endpoint=False, dtype=int)
    return [listed[place] for place in places]
