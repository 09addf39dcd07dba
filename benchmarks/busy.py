"""Cost of a busy core: `python -m benchmarks.busy` (make busy).

Computes the study in params.yaml twice into a new resume state, first alone, then with another program that keeps one
core busy, and prints the ratio of the two times. The images must be there (`dvc repro stages/dvc.yaml:preprocess`).
"""

import multiprocessing
import os
import time
from tempfile import TemporaryDirectory

from vgg_ablation.model.table1 import ABLATION
from vgg_ablation.parallel.__main__ import compute
from vgg_ablation.parallel.units import Work
from vgg_ablation.runtime.console import Console, duration, stage
from vgg_ablation.runtime.params import read_params
from vgg_ablation.runtime.settings import StudySettings


def spin() -> None:
    """Keep a core busy until this process is ended."""
    while True:
        pass


def timed(console: Console) -> float:
    """Return the seconds that the study's units take without any earlier state."""
    params = read_params()
    work = Work(params.whole(StudySettings), params.scale)
    with TemporaryDirectory(prefix="vgg-busy-") as folder:
        os.environ["DVC_ROOT"] = folder  # where the resume state is
        start = time.perf_counter()
        compute(work, params.nets(ABLATION), console)
        return time.perf_counter() - start


if __name__ == "__main__":
    with stage("busy", saved="") as console:
        quiet = timed(console)
        multiprocessing.get_context("spawn").Process(target=spin, daemon=True).start()  # ends with this process
        busy = timed(console)
        console.made(f"alone {duration(quiet)}, beside another program {duration(busy)}: ratio {busy / quiet:.2f}")
