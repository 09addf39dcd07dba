"""Compare the reports of two experiments: `python -m vgg_ablation.report compare EXP1 EXP2 [--output FILE]`.

An experiment is a revision, branch or tag of git, an experiment of DVC by its name, or `workspace`, the files as they
lie here. The page goes to reports/compare.html.
"""

from argparse import ArgumentParser
from pathlib import Path

from vgg_ablation.files import write_text
from vgg_ablation.report.compare import document, read_experiment
from vgg_ablation.runtime.console import stage

REPOSITORY = Path()


def main() -> None:
    """Read both, write the page, and say where it is."""
    parser = ArgumentParser(prog="python -m vgg_ablation.report", description=__doc__)
    command = parser.add_subparsers(required=True).add_parser("compare", help="write a page on two experiments")
    command.add_argument("first", metavar="EXP1", help="a revision of git, an experiment of DVC, or workspace")
    command.add_argument("second", metavar="EXP2", help="the one to hold against it")
    command.add_argument("--output", metavar="FILE", type=Path, default=Path("reports/compare.html"))
    given = parser.parse_args()
    with stage("compare") as report:
        experiments = [read_experiment(REPOSITORY, name) for name in (given.first, given.second)]
        write_text(given.output, document(*experiments))
        report.made(str(given.output))


if __name__ == "__main__":
    main()
