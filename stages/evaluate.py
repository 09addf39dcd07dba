"""Test the runs of one net on their test images: `python stages/evaluate.py C batch fixed`."""

import sys

from vgg_ablation.device import choose_compute
from vgg_ablation.evaluate.net import evaluate_net
from vgg_ablation.model.table1 import ABLATION, PLAIN, count_gmacs
from vgg_ablation.runtime import paths
from vgg_ablation.runtime.console import stage
from vgg_ablation.runtime.names import NORMS, named
from vgg_ablation.runtime.outlook import look_ahead
from vgg_ablation.runtime.params import read_arguments, read_params
from vgg_ablation.runtime.settings import SCALES, StudySettings

with stage(" ".join(["evaluate", *sys.argv[1:]])) as console:
    arch, norm, scale = read_arguments(arch=PLAIN, norm=NORMS, scale=SCALES)
    params, net = read_params(), named(arch, norm)
    study = params.whole(StudySettings)
    console.alone()
    console.in_study(look_ahead(params, study, paths.evaluation(net, scale), net, ABLATION, count_gmacs))
    evaluate_net(
        net, scale, sides=study.scales.of(scale), model=study.model,
        protocols=study.evaluate.protocols.of(scale), compute=choose_compute(study.compute.threads), console=console,
    )  # fmt: skip
