"""Obtain the images of appendix B as one tar: `python appendix_b/stages/archive.py`."""

from vgg_ablation.dataset.source import obtain
from vgg_ablation.runtime import messages
from vgg_ablation.runtime.console import SAVED_APPENDIX_B, stage
from vgg_ablation.runtime.params import read_params
from vgg_ablation.runtime.paths import APPENDIX_B_ARCHIVE
from vgg_ablation.text import without_credentials

with stage("archive", SAVED_APPENDIX_B) as console:
    source = read_params().of_appendix_b().data.source
    console.alone()
    obtain(source, APPENDIX_B_ARCHIVE, console)
    size = APPENDIX_B_ARCHIVE.stat().st_size
    console.made(messages.archive_made(str(APPENDIX_B_ARCHIVE), size, without_credentials(source)))
