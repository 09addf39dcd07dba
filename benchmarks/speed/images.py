"""The images of an epoch, as files for the programs that read files, and packed for ours."""

from pathlib import Path

import numpy as np

from benchmarks.speed.cases import Images
from vgg_ablation.dataset.archive import list_archive
from vgg_ablation.dataset.pack import choose, pack
from vgg_ablation.errors import StageError
from vgg_ablation.files import read_table
from vgg_ablation.images.index import INDEX_FILE
from vgg_ablation.runtime.console import Console

_SPARE = 1.02  # chosen per image needed, as some files may be unusable or duplicates


def lay_out(archive: Path, count: int, batch_size: int, side: int, folder: Path, console: Console) -> Images:
    """Write `count` images, evenly spaced over the archive, to `folder`, as files and packed with smallest side `side`.

    There are fewer if the archive has fewer, and always whole batches.

    Raises:
        StageError: the archive is damaged, or holds less than one batch.
    """
    listed = choose(list_archive(archive), "all", clutter=False).members
    wanted = min(int(count * _SPARE) + 1, len(listed))
    chosen = {listed[place].path: listed[place] for place in np.linspace(0, len(listed), wanted, False, dtype=int)}
    pack(archive, list(chosen.values()), side, folder / "packed", console)
    paths = read_table(folder / "packed" / INDEX_FILE)["path"]
    count = min(count, len(paths)) // batch_size * batch_size
    if not count:
        raise StageError(f"{archive}: holds {len(paths)} usable images; a batch needs {batch_size}")
    with archive.open("rb") as tar:
        for path in paths[:count]:
            tar.seek(chosen[path].offset)
            (folder / "files" / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / "files" / path).write_bytes(tar.read(chosen[path].size))
    return Images(folder / "files", folder / "packed", count)
