"""Find images that are nearly the same, whatever the split: `python stages/near_duplicates.py`."""

from vgg_ablation.dataset.near_duplicates import COLUMNS, PAIRS_FILE, find_near_duplicates
from vgg_ablation.files import write_table
from vgg_ablation.images.index import verify
from vgg_ablation.runtime import messages
from vgg_ablation.runtime.console import stage
from vgg_ablation.runtime.cost import Meter
from vgg_ablation.runtime.paths import NEAR_DUPLICATES, PROCESSED

with stage("near_duplicates") as console:
    console.alone()
    verify(PROCESSED)
    meter = Meter()
    with meter.work():
        found = find_near_duplicates(PROCESSED, console)
    meter.count(found.images)
    pairs = NEAR_DUPLICATES / PAIRS_FILE
    write_table(pairs, COLUMNS, found.pairs)
    meter.write(NEAR_DUPLICATES, "near_duplicates", threads=1)
    console.made(messages.near_duplicates_found(str(pairs), len(found.pairs), found.images, found.faint))
