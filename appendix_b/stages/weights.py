"""Obtain and convert the ImageNet weights of one net: `python appendix_b/stages/weights.py D none`."""

import sys

from vgg_ablation.imagenet import obtain_weights
from vgg_ablation.model.published import PUBLISHED
from vgg_ablation.runtime import messages
from vgg_ablation.runtime.console import SAVED_APPENDIX_B, stage
from vgg_ablation.runtime.names import NORMS, named
from vgg_ablation.runtime.params import read_arguments, read_params
from vgg_ablation.runtime.paths import appendix_b

with stage(" ".join(["weights", *sys.argv[1:]]), SAVED_APPENDIX_B) as console:
    net = named(*read_arguments(arch=PUBLISHED, norm=NORMS))
    source = read_params().of_appendix_b().weights
    console.alone()
    found = obtain_weights(net, source, appendix_b(net, "weights"), console)
    console.made(messages.weights_converted(appendix_b(net, "weights"), str(found["file"]), bool(found["published"])))
