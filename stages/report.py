"""Write the report on the selected nets: `python stages/report.py`, or with `--partial` on those that are ready."""

import sys

from vgg_ablation.analysis.study import read_partial, read_study
from vgg_ablation.errors import StageError
from vgg_ablation.model.table1 import PLAIN
from vgg_ablation.report.outputs import write_report
from vgg_ablation.runtime.console import stage
from vgg_ablation.runtime.params import read_params
from vgg_ablation.runtime.paths import REPORTS
from vgg_ablation.runtime.settings import StudySettings

with stage("report") as console:
    if (arguments := sys.argv[1:]) not in ([], ["--partial"]):
        raise StageError(f"unknown argument {' '.join(arguments)}; allowed: nothing, or --partial")
    params = read_params()
    params.require_selection(PLAIN)
    console.alone()
    selection = params.scale, params.study, params.whole(StudySettings)
    study = read_partial(params.norm, *selection) if arguments else read_study(params.name, *selection)
    first, *others = write_report(study, REPORTS)
    console.made(f"{first} and {len(others)} more files in {REPORTS}")
