"""Write the report on the selected nets: `python stages/report.py`, or with `--partial` on those that are there."""

import sys
from pathlib import Path

from vgg_ablation.analysis.study import read_partial, read_study
from vgg_ablation.errors import StageError
from vgg_ablation.model.table1 import ARCHITECTURES
from vgg_ablation.report.outputs import write_report
from vgg_ablation.runtime.console import stage
from vgg_ablation.runtime.params import one_of, read_params
from vgg_ablation.runtime.settings import SCALES, SELECTIONS, StudySettings

DATA = Path("data")
REPORTS = Path("reports")
RESULTS = Path("results")

with stage("report") as report:
    if (given := sys.argv[1:]) not in ([], ["--partial"]):
        raise StageError(f"{' '.join(given)} is not understood; allowed: nothing, or --partial")
    params = read_params()
    one_of("params.yaml: arch", params.arch, ("all", *ARCHITECTURES))
    one_of("params.yaml: scale", params.scale, SELECTIONS)
    report.alone()
    if given:
        scales = SCALES if params.scale == "all" else (params.scale,)
        study = read_partial(RESULTS, DATA, params.study, scales, params.whole(StudySettings))
    else:
        search = RESULTS / params.arch
        study = read_study(search / params.scale, search, DATA, params.study, params.whole(StudySettings))
    first, *others = write_report(study, REPORTS)
    report.made(f"{first} and {len(others)} more files in {REPORTS}")
