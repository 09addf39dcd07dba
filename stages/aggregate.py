"""Merge results: `python stages/aggregate.py nets all batch fixed`, `search C all`, `scales C none`."""

import sys

from vgg_ablation.evaluate.aggregate import merge_nets, merge_scales, merge_search
from vgg_ablation.model.table1 import PLAIN
from vgg_ablation.runtime import messages
from vgg_ablation.runtime.console import stage
from vgg_ablation.runtime.names import ALL, NORMS, named
from vgg_ablation.runtime.params import read_arguments
from vgg_ablation.runtime.settings import SELECTIONS

ACTIONS = {
    "nets": (merge_nets, {"scale": SELECTIONS}),
    "search": (merge_search, {}),
    "scales": (merge_scales, {}),
}

with stage(" ".join(["aggregate", *sys.argv[1:]])) as console:
    merge, scale = ACTIONS.get("".join(sys.argv[1:2]), ACTIONS["search"])
    _, arch, norm, *chosen = read_arguments(action=ACTIONS, arch=(ALL, *PLAIN), norm=(*NORMS, ALL), **scale)
    console.alone()
    console.made(messages.merged(merge(named(arch, norm), *chosen)))
