"""Join results into those of `all`: `python stages/aggregate.py nets fixed`, `... search`, `... scales C`."""

import sys
from pathlib import Path

from vgg_ablation.evaluate.aggregate import join_nets, join_scales, join_search
from vgg_ablation.model.table1 import ARCHITECTURES
from vgg_ablation.runtime.console import stage
from vgg_ablation.runtime.params import read_arguments
from vgg_ablation.runtime.settings import SCALES

RESULTS = Path("results")

with stage(" ".join(["aggregate", *sys.argv[1:]])) as report:
    if sys.argv[1:2] == ["nets"]:
        _, scale = read_arguments(action=["nets"], scale=SCALES)
        report.alone()
        join_nets(RESULTS, scale)
        report.made(f"{RESULTS / 'all' / scale}: the nets of Table 1 and their fusions")
    elif sys.argv[1:2] == ["scales"]:
        _, arch = read_arguments(action=["scales"], arch=["all", *ARCHITECTURES])
        report.alone()
        join_scales(RESULTS, arch)
        report.made(f"{RESULTS / arch / 'all'}: {', '.join(SCALES)}")
    else:
        read_arguments(action=["nets", "search", "scales"])
        report.alone()
        join_search(RESULTS)
        report.made(f"{RESULTS / 'all'}: the search of the nets of Table 1")
