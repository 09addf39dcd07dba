"""Check the settings before any work: `python stages/check.py`."""

from vgg_ablation.files import write_text
from vgg_ablation.model.table1 import PLAIN
from vgg_ablation.runtime.console import stage
from vgg_ablation.runtime.params import read_params
from vgg_ablation.runtime.paths import SETTINGS_VALID
from vgg_ablation.runtime.settings import StudySettings

with stage("check") as console:
    params = read_params()
    params.require_selection(PLAIN)
    params.whole(StudySettings)
    console.alone()
    # Always the same text: all stages depend on this file, to wait for the check, and must not rerun after each one.
    write_text(SETTINGS_VALID, "params.yaml holds a valid selection and a valid study\n")
    selection = f"study {params.study}, arch {params.arch}, norm {params.norm}, scale {params.scale}"
    console.made(f"{selection}: settings are valid, checked")
