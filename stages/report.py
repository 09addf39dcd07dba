"""Write the report on the selected nets: `python stages/report.py`."""

from pathlib import Path

from vgg_ablation.pipeline.console import stage
from vgg_ablation.pipeline.params import read_params
from vgg_ablation.report import read_study, write_report

DATA = Path("data")
REPORTS = Path("reports")

with stage("report") as report:
    params = read_params()
    report.alone()
    study = read_study(Path("results") / params.arch, DATA, params.study)
    report.made(", ".join(str(path) for path in write_report(study, REPORTS)))
