"""List the nets of a selection: `python appendix_b/stages/merge.py all none`, `D all`, `all all`."""

import sys

from vgg_ablation.appendix_b.merge import merge
from vgg_ablation.model.published import PUBLISHED
from vgg_ablation.runtime import messages
from vgg_ablation.runtime.console import SAVED_APPENDIX_B, stage
from vgg_ablation.runtime.names import ALL, NORMS
from vgg_ablation.runtime.params import read_arguments

with stage(" ".join(["merge", *sys.argv[1:]]), SAVED_APPENDIX_B) as console:
    arch, norm = read_arguments(arch=(ALL, *PUBLISHED), norm=(*NORMS, ALL))
    console.alone()
    console.made(messages.merged(merge(arch, norm)))
