"""Obtain the study's images as one tar in the official layout: `python stages/download.py`."""

from vgg_ablation.dataset.source import obtain
from vgg_ablation.runtime import messages
from vgg_ablation.runtime.console import stage
from vgg_ablation.runtime.params import read_params
from vgg_ablation.runtime.paths import ARCHIVE
from vgg_ablation.runtime.settings import DataSettings
from vgg_ablation.text import without_credentials

with stage("download") as console:
    source = read_params().section("data", DataSettings).source
    console.alone()
    obtain(source, ARCHIVE, console)
    console.made(messages.archive_made(str(ARCHIVE), ARCHIVE.stat().st_size, without_credentials(source)))
