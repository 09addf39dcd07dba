"""Merge results into those of `all`: `python stages/aggregate.py nets fixed`, `... search`, `... scales C`."""

import sys

from vgg_ablation.evaluate.aggregate import merge_nets, merge_scales, merge_search
from vgg_ablation.model.table1 import ARCHITECTURES
from vgg_ablation.runtime import messages
from vgg_ablation.runtime.console import stage
from vgg_ablation.runtime.params import read_arguments
from vgg_ablation.runtime.paths import ALL
from vgg_ablation.runtime.settings import SCALES

ACTIONS = {
    "nets": (merge_nets, {"scale": SCALES}),
    "search": (merge_search, {}),
    "scales": (merge_scales, {"arch": (ALL, *ARCHITECTURES)}),
}

with stage(" ".join(["aggregate", *sys.argv[1:]])) as console:
    merge, choices = ACTIONS.get("".join(sys.argv[1:2]), ACTIONS["search"])
    _, *chosen = read_arguments(action=ACTIONS, **choices)
    console.alone()
    console.made(messages.merged(merge(*chosen)))
