"""Measure what the search buys: `python -m benchmarks.search_cost` (make search-cost)."""

import os
import platform
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from importlib.metadata import version
from pathlib import Path

from benchmarks.search_cost.measure import Plan, measure
from benchmarks.search_cost.page import document, table
from vgg_ablation.files import write_text
from vgg_ablation.runtime.console import stage
from vgg_ablation.runtime.params import one_of, read_params

STUDY = "sample"
PAGE, TRIALS = Path("docs/search-cost.md"), Path("docs/search-cost.csv")


def main() -> None:
    """Read the command line, measure, and write the page and its trials."""
    parser = ArgumentParser(
        prog="python -m benchmarks.search_cost", description=__doc__, formatter_class=ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="how many, of one thread each")
    processes = parser.parse_args().processes
    if processes < 1:
        parser.error("--processes: one or more")
    with stage("search-cost") as report:
        params = read_params()
        one_of("study", params.study, [STUDY])
        plan = Plan.of_study(params)
        measured = measure(plan, processes, report)
        versions = ", ".join(f"{name} {version(name)}" for name in ("optuna", "torch", "numpy"))
        made = (
            f"By `python -m benchmarks.search_cost --processes {processes}`, in {processes} processes of one thread "
            f"each, with Python {platform.python_version()}, {versions}."
        )
        write_text(TRIALS, table(measured))
        write_text(PAGE, document(plan, measured, made))
        report.made(f"{PAGE} and {TRIALS}")


if __name__ == "__main__":
    main()
