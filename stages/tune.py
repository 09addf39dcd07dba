"""Search one net's learning rate, weight decay and batch size: `python stages/tune.py C batch`."""

import sys

from vgg_ablation.device import choose_compute
from vgg_ablation.model.table1 import ABLATION, PLAIN, count_gmacs
from vgg_ablation.runtime import paths
from vgg_ablation.runtime.console import stage
from vgg_ablation.runtime.names import NORMS, named
from vgg_ablation.runtime.outlook import look_ahead
from vgg_ablation.runtime.params import read_arguments, read_params
from vgg_ablation.runtime.settings import StudySettings
from vgg_ablation.train.tune import tune_net

with stage(" ".join(["tune", *sys.argv[1:]])) as console:
    arch, norm = read_arguments(arch=PLAIN, norm=NORMS)
    params, net = read_params(), named(arch, norm)
    study = params.whole(StudySettings)
    console.alone()
    console.in_study(look_ahead(params, study, paths.search(net), net, ABLATION, count_gmacs))
    tune_net(
        net, model=study.model, shared=study.train, settings=study.tune,
        compute=choose_compute(study.compute.threads), console=console,
    )  # fmt: skip
