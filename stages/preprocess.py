"""Decode, rescale, pack and split the archive's images: `python stages/preprocess.py`."""

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from vgg_ablation.data.archive import members
from vgg_ablation.data.contact_sheet import write_contact_sheet
from vgg_ablation.data.pack import choose_members, pack
from vgg_ablation.data.packed import INDEX_FILE, PIXELS_FILE, SPLITS_FILE, Index
from vgg_ablation.data.settings import DataSettings
from vgg_ablation.data.splits import count_parts, draw_splits, require_enough
from vgg_ablation.pipeline.console import stage
from vgg_ablation.pipeline.cost import Meter
from vgg_ablation.pipeline.files import write_json, write_text
from vgg_ablation.pipeline.params import read_params
from vgg_ablation.pipeline.state import file_digest

ARCHIVE = Path("data/raw/256_ObjectCategories.tar")
PROCESSED = Path("data/processed")
COST = Path("data/cost")

with stage("preprocess") as report:
    settings = read_params().section("data", DataSettings)
    chosen = choose_members(members(ARCHIVE), settings.categories, clutter=settings.clutter)
    require_enough(Counter(member.category for member in chosen), settings.train_per_class)  # before the long work
    meter = Meter()
    with meter.work(len(chosen)):
        counts = pack(ARCHIVE, chosen, settings.side, PROCESSED, report)
    index = pd.read_csv(PROCESSED / INDEX_FILE, dtype={"path": str, "category": str})
    splits = draw_splits(index, settings)
    write_text(PROCESSED / SPLITS_FILE, splits.to_csv(index=False))
    packed, pixels = Index.read(PROCESSED), np.memmap(PROCESSED / PIXELS_FILE, np.uint8, mode="r")
    by_category = {
        name: [packed.image(pixels, number) for number in np.flatnonzero(packed.labels == label).tolist()]
        for label, name in enumerate(packed.categories)
    }
    write_contact_sheet(PROCESSED / "contact-sheet.jpg", by_category)
    summary = {
        "source": settings.source,
        "archive_sha256": file_digest(ARCHIVE),
        "clutter": settings.clutter,
        "side": settings.side,
        "train_per_class": settings.train_per_class,
        "splits": settings.splits,
        **counts,
        **count_parts(splits),
    }
    write_json(PROCESSED / "summary.json", summary)
    meter.write(COST, "preprocess")
    report.made(
        f"{PROCESSED}: {counts['images']} images of {len(index['category'].unique())} categories "
        f"({counts['excluded']} files excluded)"
    )
