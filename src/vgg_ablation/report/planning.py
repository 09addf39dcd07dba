"""Write docs/planning.md, the differences that a study would find: `python -m vgg_ablation.report.planning`."""

from itertools import combinations
from pathlib import Path

from vgg_ablation.analysis.power import planned_difference
from vgg_ablation.analysis.statistics import LEVEL, POWER
from vgg_ablation.files import write_text
from vgg_ablation.model.table1 import ABLATION
from vgg_ablation.runtime.console import stage

FILE = Path("docs/planning.md")
ERROR, CORRELATION = 30.0, 0.5
"""Assumed error of both nets, percent, and correlation of their errors on an image."""
SPREADS = (1.0, 3.0)
"""Assumed standard deviations over runs of the difference between two nets, points."""
RUNS = (3, 5, 10, 20)
IMAGES = (400, 1000, 4000)


def render() -> str:
    """Return the page as Markdown."""
    tests = len(list(combinations(ABLATION, 2)))
    header = ["spread, points", "runs", *(f"{images:,} test images" for images in IMAGES)]
    rows = [
        [
            f"{spread:g}",
            f"{runs}",
            *(
                f"{planned_difference(ERROR, CORRELATION, spread, runs=runs, images=images, tests=tests):.1f}"
                for images in IMAGES
            ),
        ]
        for spread in SPREADS
        for runs in RUNS
    ]
    table = "".join(f"| {' | '.join(line)} |\n" for line in (header, ["---:"] * len(header), *rows))
    return f"""\
# Planning a study

Generated from `src/vgg_ablation/report/planning.py` by `make docs`; do not edit.

The smallest true difference between two nets, points, that a study finds in {100 * POWER:.0f} of 100 repetitions:
paired t-test over runs at level {LEVEL}, corrected for the {tests} pairs of Table 1's nets. Assumed: both nets have an
error of about {ERROR:g} %, their errors on an image have a correlation of {CORRELATION}, and runs have test images of
their own. The spread is the standard deviation over splits and seeds of the difference between the two nets.

{table}
More runs help more than more images: with three runs the t-test has two degrees of freedom. For other assumptions:
`planned_difference` in `analysis/power.py`. A report states the difference that its own study finds.
"""


if __name__ == "__main__":
    with stage("planning", saved=""):
        write_text(FILE, render())
