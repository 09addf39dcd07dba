"""Find the images that are nearly the same, whatever the split: `python stages/near_duplicates.py`."""

from pathlib import Path

from vgg_ablation.dataset.near_duplicates import COLUMNS, find_near_duplicates
from vgg_ablation.files import write_table
from vgg_ablation.images.index import verify
from vgg_ablation.runtime.console import stage
from vgg_ablation.runtime.cost import Meter

PROCESSED = Path("data/processed")
PAIRS = Path("data/near-duplicates.csv")
COST = Path("data/cost")

with stage("near_duplicates") as report:
    report.alone()
    verify(PROCESSED)
    meter = Meter()
    with meter.work():
        found = find_near_duplicates(PROCESSED, report)
    meter.count(found.images)
    write_table(PAIRS, COLUMNS, found.pairs)
    meter.write(COST, "near_duplicates", threads=1)
    report.made(
        f"{PAIRS}: {len(found.pairs)} pairs among {found.images} images ({found.faint} too faint to be compared)"
    )
