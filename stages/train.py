"""Train one net with its tuned settings, one run per split: `python stages/train.py C batch fixed`."""

import sys

from vgg_ablation.device import choose_compute
from vgg_ablation.model.table1 import PLAIN
from vgg_ablation.runtime.console import stage
from vgg_ablation.runtime.names import NORMS, named
from vgg_ablation.runtime.params import read_arguments, read_params
from vgg_ablation.runtime.settings import SCALES, StudySettings
from vgg_ablation.train.net import train_net

with stage(" ".join(["train", *sys.argv[1:]])) as console:
    arch, norm, scale = read_arguments(arch=PLAIN, norm=NORMS, scale=SCALES)
    study = read_params().whole(StudySettings)
    console.alone()
    train_net(
        named(arch, norm), scale, runs=study.data.splits, scales=study.scales, model=study.model, shared=study.train,
        fine_tune=study.fine_tune, compute=choose_compute(study.compute.threads), console=console,
    )  # fmt: skip
