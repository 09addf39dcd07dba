"""Train and test the classifiers of a net, or of D and E: `python appendix_b/stages/classify.py D none`, `D+E none`."""

import sys

from vgg_ablation.appendix_b.classify import classify_nets
from vgg_ablation.appendix_b.nets import BOTH
from vgg_ablation.device import choose_compute
from vgg_ablation.model.published import PUBLISHED
from vgg_ablation.runtime.console import SAVED_APPENDIX_B, stage
from vgg_ablation.runtime.names import NORMS, named
from vgg_ablation.runtime.params import read_arguments, read_params
from vgg_ablation.runtime.paths import APPENDIX_B_IMAGES, appendix_b

with stage(" ".join(["classify", *sys.argv[1:]]), SAVED_APPENDIX_B) as console:
    net = named(*read_arguments(arch=(*PUBLISHED, BOTH), norm=NORMS))
    settings = read_params().of_appendix_b()
    console.alone()
    classify_nets(
        {one: appendix_b(one, "features") for one in net.split("+")}, APPENDIX_B_IMAGES,
        appendix_b(net, "classification"), settings=settings, compute=choose_compute(settings.threads), console=console,
    )  # fmt: skip
