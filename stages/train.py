"""Train one net with its tuned settings, one run per split: `python stages/train.py C batch fixed`."""

import sys

from vgg_ablation.device import choose_compute
from vgg_ablation.model.table1 import ABLATION, PLAIN, count_gmacs
from vgg_ablation.runtime import paths
from vgg_ablation.runtime.console import stage
from vgg_ablation.runtime.names import NORMS, named
from vgg_ablation.runtime.outlook import look_ahead
from vgg_ablation.runtime.params import read_arguments, read_params
from vgg_ablation.runtime.settings import SCALES, StudySettings
from vgg_ablation.train.net import train_net

with stage(" ".join(["train", *sys.argv[1:]])) as console:
    arch, norm, scale = read_arguments(arch=PLAIN, norm=NORMS, scale=SCALES)
    params, net = read_params(), named(arch, norm)
    study = params.whole(StudySettings)
    console.alone()
    console.in_study(look_ahead(params, study, paths.training(net, scale), net, ABLATION, count_gmacs))
    train_net(
        net, scale, runs=study.data.splits, scales=study.scales, model=study.model, shared=study.train,
        fine_tune=study.fine_tune, compute=choose_compute(study.compute.threads), console=console,
    )  # fmt: skip
