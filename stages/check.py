"""Check the settings before any work, and say what is run: `python stages/check.py`."""

from vgg_ablation.files import write_text
from vgg_ablation.model.published import twin
from vgg_ablation.model.table1 import ABLATION, PLAIN
from vgg_ablation.runtime.console import stage
from vgg_ablation.runtime.experiment import changes, in_temporary_folder, require_kept, restoring_refused_settings
from vgg_ablation.runtime.params import read_params
from vgg_ablation.runtime.paths import SETTINGS_VALID
from vgg_ablation.runtime.settings import StudySettings

with stage("check") as console:
    with restoring_refused_settings():
        params = read_params()
        params.require_selection(PLAIN)
        study = params.whole(StudySettings)
        for net in params.nets(ABLATION) if study.model.init == "imagenet" else ():
            twin(net)
    console.say(params.selection(study.data.source))
    if changed := changes():
        console.say(f"not as committed: {changed}{'' if in_temporary_folder() else '; to undo: make undo'}")
    require_kept()
    console.alone()
    # Always the same text: all stages depend on this file, to wait for the check, and must not rerun after each one.
    write_text(SETTINGS_VALID, "params.yaml holds a valid selection and a valid study\n")
