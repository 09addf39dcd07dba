"""Measure what the search buys: `python -m benchmarks.search_cost` (make search-cost)."""

import os
import platform
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.search_cost.measure import ARCH, Plan, measure
from benchmarks.search_cost.methods import method_of
from benchmarks.search_cost.page import About, trials_to_csv, write_page
from vgg_ablation.files import write_json, write_text
from vgg_ablation.runtime.console import stage
from vgg_ablation.runtime.params import one_of, read_params
from vgg_ablation.runtime.settings import StudySettings

STUDY = "sample"
PAGE = Path("docs/search-cost.md")


def main() -> None:
    """Read the command line, measure, and write the page, its trials and its facts."""
    parser = ArgumentParser(
        prog="python -m benchmarks.search_cost", description=__doc__, formatter_class=ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="how many, of one thread each")
    processes = parser.parse_args().processes
    if processes < 1:
        parser.error("--processes: one or more")
    with stage("search-cost", saved="") as console, TemporaryDirectory(prefix="vgg-search-cost-") as folder:
        params = read_params()
        one_of("study", params.study, [STUDY])
        plan = Plan.of_study(params.whole(StudySettings))
        model, tune = plan.study.model, plan.study.tune
        method = method_of(tune)  # before the work: it may be none
        trials, facts = measure(plan, processes, Path(folder), console)
        about = About(
            arch=ARCH,
            width=model.width,
            method=method,
            epochs=tune.epochs,
            trials=tune.trials,
            round_size=tune.round_size,
            random_trials=tune.random_trials,
            grid=plan.grid,
            learning_rate=(tune.learning_rate.low, tune.learning_rate.high),
            weight_decay=(tune.weight_decay.low, tune.weight_decay.high),
            **asdict(facts),
            processes=processes,
            training_seconds=round(sum(trial.seconds for trial in trials)),
            versions={"Python": platform.python_version()}
            | {name: version(name) for name in ("optuna", "torch", "numpy")},
        )
        write_text(PAGE.with_suffix(".csv"), trials_to_csv(trials))
        write_json(PAGE.with_suffix(".json"), asdict(about))
        write_text(PAGE, write_page(trials, about))
        console.made(f"{PAGE}, {PAGE.with_suffix('.csv').name} and {PAGE.with_suffix('.json').name}")


if __name__ == "__main__":
    main()
