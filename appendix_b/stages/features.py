"""Compute the features of all images with one net: `python appendix_b/stages/features.py D none`."""

import sys

from vgg_ablation.appendix_b.features import extract_net
from vgg_ablation.device import choose_compute
from vgg_ablation.model.published import PUBLISHED
from vgg_ablation.runtime.console import SAVED_APPENDIX_B, stage
from vgg_ablation.runtime.names import NORMS, named
from vgg_ablation.runtime.params import read_arguments, read_params
from vgg_ablation.runtime.paths import APPENDIX_B_IMAGES, appendix_b

with stage(" ".join(["features", *sys.argv[1:]]), SAVED_APPENDIX_B) as console:
    net = named(*read_arguments(arch=PUBLISHED, norm=NORMS))
    settings = read_params().of_appendix_b()
    console.alone()
    extract_net(
        net, appendix_b(net, "weights"), APPENDIX_B_IMAGES, appendix_b(net, "features"), scales=settings.scales,
        relu=settings.relu, compute=choose_compute(settings.threads), console=console,
    )  # fmt: skip
