"""Bring the study's images here as one tar in the official layout: `python stages/download.py`."""

from pathlib import Path

from vgg_ablation.dataset.archive import obtain
from vgg_ablation.dataset.download import without_credentials
from vgg_ablation.runtime.console import stage
from vgg_ablation.runtime.cost import Meter
from vgg_ablation.runtime.params import read_params
from vgg_ablation.runtime.settings import DataSettings

ARCHIVE = Path("data/raw/256_ObjectCategories.tar")
COST = Path("data/cost")

with stage("download") as report:
    source = read_params().section("data", DataSettings).source
    report.alone()
    meter = Meter()
    with meter.work():
        meter.count(obtain(source, ARCHIVE, report))
    meter.write(COST, "download")
    report.made(f"{ARCHIVE}: {ARCHIVE.stat().st_size / 1e6:,.1f} MB from {without_credentials(source)}")
