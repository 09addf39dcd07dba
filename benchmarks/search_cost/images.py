"""The images of this measurement: those of the study `sample`, and enough more to tell nets a point apart."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from vgg_ablation.dataset.archive import list_archive, obtain
from vgg_ablation.dataset.pack import choose, pack
from vgg_ablation.dataset.sample import CATEGORIES, render_sample
from vgg_ablation.dataset.splits import draw_splits
from vgg_ablation.files import write_text
from vgg_ablation.images.index import INDEX_FILE, SPLITS_FILE
from vgg_ablation.runtime.console import Stage
from vgg_ablation.runtime.settings import DataSettings
from vgg_ablation.runtime.state import source_digest, state_folder


def prepare(settings: DataSettings, side: int, report: Stage) -> Path:
    """Return the folder with the images, packed and split as `preprocess` does; they are made once.

    A category has one image more than training and validation take: a split has test images, and nothing reads them.

    Args:
        settings: of the data.
        side: smallest side of the stored images, in pixels.
        report: the running stage.
    """
    determinants = {"data": settings.model_dump(), "side": side, "source": source_digest("dataset")}
    folder = state_folder("search-cost/images", determinants)
    if not (folder / SPLITS_FILE).exists():
        with TemporaryDirectory(dir=folder) as temporary:
            rendered, archive = Path(temporary) / "rendered", Path(temporary) / "images.tar"
            per_category = settings.train_per_class + 1
            with report.task("rendering", per_category * len(CATEGORIES), quiet=5.0) as task:
                for path, content in render_sample(per_category):
                    _write(rendered / path, content)
                    task.advance()
            obtain(str(rendered), archive, report)
            chosen = choose(list_archive(archive), "all", clutter=False)
            pack(archive, list(chosen.members), side, folder, report)
        index = pd.read_csv(folder / INDEX_FILE, dtype={"path": str, "category": str})
        write_text(folder / SPLITS_FILE, draw_splits(index, settings).to_csv(index=False))
    return folder


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
