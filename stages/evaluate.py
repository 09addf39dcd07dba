"""Test the runs of one net on their test images: `python stages/evaluate.py C batch fixed`."""

import sys

from vgg_ablation.device import choose_compute
from vgg_ablation.evaluate.net import evaluate_net
from vgg_ablation.model.table1 import PLAIN
from vgg_ablation.runtime.console import stage
from vgg_ablation.runtime.names import NORMS, named
from vgg_ablation.runtime.params import read_arguments, read_params
from vgg_ablation.runtime.settings import SCALES, StudySettings

with stage(" ".join(["evaluate", *sys.argv[1:]])) as console:
    arch, norm, scale = read_arguments(arch=PLAIN, norm=NORMS, scale=SCALES)
    study = read_params().whole(StudySettings)
    console.alone()
    evaluate_net(
        named(arch, norm), scale, sides=study.scales.of(scale), model=study.model,
        protocols=study.evaluate.protocols.of(scale), compute=choose_compute(study.compute.threads), console=console,
    )  # fmt: skip
