"""Pack and split the images of appendix B: `python appendix_b/stages/images.py`."""

from vgg_ablation.appendix_b.images import pack_images
from vgg_ablation.runtime import messages
from vgg_ablation.runtime.console import SAVED_APPENDIX_B, stage
from vgg_ablation.runtime.params import read_params
from vgg_ablation.runtime.paths import APPENDIX_B_ARCHIVE, APPENDIX_B_IMAGES

with stage("images", SAVED_APPENDIX_B) as console:
    settings = read_params().of_appendix_b()
    console.alone()
    summary = pack_images(APPENDIX_B_ARCHIVE, settings.data, max(settings.scales), APPENDIX_B_IMAGES, console)
    counts = summary["images"], len(summary["categories"]), summary["excluded"]
    console.made(messages.images_packed(str(APPENDIX_B_IMAGES), *counts))
