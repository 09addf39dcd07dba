"""Check the settings of appendix B before any work: `python appendix_b/stages/settings.py`."""

from vgg_ablation.files import write_text
from vgg_ablation.model.published import PUBLISHED
from vgg_ablation.runtime.console import SAVED_APPENDIX_B, stage
from vgg_ablation.runtime.names import ALL, NORMS
from vgg_ablation.runtime.params import one_of, read_params
from vgg_ablation.runtime.paths import APPENDIX_B_VALID

with stage("settings", SAVED_APPENDIX_B) as console:
    params = read_params()
    one_of("params.yaml: arch (ImageNet weights of no other net are published)", params.arch, (ALL, *PUBLISHED))
    one_of("params.yaml: norm", params.norm, (*NORMS, ALL))
    params.of_appendix_b()
    console.alone()
    write_text(APPENDIX_B_VALID, "params.yaml holds valid settings of appendix B\n")  # always the same: reruns nothing
    console.made(f"appendix B, arch {params.arch}, norm {params.norm}: settings are valid, checked")
