"""The images of appendix B: packed once at the largest test scale, and split."""

from pathlib import Path
from typing import Any

from vgg_ablation.appendix_b.nets import SUMMARY_FILE
from vgg_ablation.dataset.archive import CLUTTER, list_archive
from vgg_ablation.dataset.pack import choose, pack
from vgg_ablation.dataset.splits import require_split, write_splits
from vgg_ablation.files import file_digest, write_json
from vgg_ablation.images.index import write_checksums
from vgg_ablation.runtime.console import Console
from vgg_ablation.runtime.settings import DataSettings
from vgg_ablation.text import without_credentials


def pack_images(archive: Path, settings: DataSettings, side: int, folder: Path, console: Console) -> dict[str, Any]:
    """Decode the chosen images of `archive`, rescale them to smallest side `side`, pack and split them into `folder`.

    Returns:
        The content of summary.json: the source, counts of images and of files left out.

    Raises:
        OSError: a file cannot be read or written.
        StageError: the archive is damaged, has too few images, or not the categories asked for.
    """
    chosen = choose(list_archive(archive), settings.categories, clutter=settings.clutter)
    parts = {member.path: member.part for member in chosen.members}
    require_split(parts, {member.path: member.category for member in chosen.members}, settings)  # before long work
    counts = pack(archive, list(chosen.members), side, folder, console, chosen.strays)
    sizes = write_splits(folder, settings, parts)
    write_checksums(folder)
    summary = {
        "source": without_credentials(settings.source),
        "archive_sha256": file_digest(archive),
        "clutter": any(member.category == CLUTTER for member in chosen.members),
        "train_per_class": settings.train_per_class,
        "splits": settings.splits,
        **counts,
        **sizes,
    }
    write_json(folder / SUMMARY_FILE, summary)
    return summary
