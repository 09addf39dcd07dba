"""Check the settings before any work: `python stages/check.py`."""

from pathlib import Path

from vgg_ablation.files import write_text
from vgg_ablation.model.table1 import ARCHITECTURES
from vgg_ablation.runtime.console import stage
from vgg_ablation.runtime.params import one_of, read_params
from vgg_ablation.runtime.settings import SELECTIONS, StudySettings

with stage("check") as report:
    params = read_params()
    one_of("params.yaml: arch", params.arch, ("all", *ARCHITECTURES))
    one_of("params.yaml: scale", params.scale, SELECTIONS)
    params.whole(StudySettings)
    report.alone()
    # Always the same text: the work depends on this file, to wait for the check, and must not rerun after each one.
    write_text(Path("data/settings-are-valid.txt"), "params.yaml holds a valid selection and a valid study\n")
    report.made(f"study {params.study}, arch {params.arch}, scale {params.scale}: settings are valid, checked")
