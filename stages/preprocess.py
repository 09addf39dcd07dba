"""Decode, rescale, pack and split the archive's images: `python stages/preprocess.py`."""

from pathlib import Path

from vgg_ablation.dataset.preprocess import preprocess
from vgg_ablation.runtime.console import stage
from vgg_ablation.runtime.cost import Meter
from vgg_ablation.runtime.params import read_params
from vgg_ablation.runtime.settings import DataSettings, ScalesSettings

ARCHIVE = Path("data/raw/256_ObjectCategories.tar")
PROCESSED = Path("data/processed")
COST = Path("data/cost")

with stage("preprocess") as report:
    params = read_params()
    settings, scales = params.section("data", DataSettings), params.section("scales", ScalesSettings)
    report.alone()
    meter = Meter()
    with meter.work():
        summary = preprocess(ARCHIVE, settings, scales, PROCESSED, report)
    meter.count(summary["images"])
    meter.write(COST, "preprocess")
    report.made(
        f"{PROCESSED}: {summary['images']} images of {len(summary['categories'])} categories "
        f"({summary['excluded']} files excluded)"
    )
