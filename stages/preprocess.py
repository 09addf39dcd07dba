"""Decode, rescale, pack and split the archive's images: `python stages/preprocess.py`."""

from vgg_ablation.dataset.preprocess import preprocess
from vgg_ablation.runtime import messages
from vgg_ablation.runtime.console import stage
from vgg_ablation.runtime.cost import Meter
from vgg_ablation.runtime.params import read_params
from vgg_ablation.runtime.paths import ARCHIVE, PROCESSED
from vgg_ablation.runtime.settings import DataSettings, ScalesSettings

with stage("preprocess") as console:
    params = read_params()
    data, scales = params.section("data", DataSettings), params.section("scales", ScalesSettings)
    console.alone()
    meter = Meter()
    with meter.work():
        summary = preprocess(ARCHIVE, data, scales, PROCESSED, console)
    meter.count(summary["images"])
    meter.write(PROCESSED, "preprocess")
    counts = summary["images"], len(summary["categories"]), summary["excluded"]
    console.made(messages.images_packed(str(PROCESSED), *counts))
