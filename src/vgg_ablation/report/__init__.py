"""The report: every net's error beside the paper's, with what the data allow to say about the order of the nets.

`read_study` reads what the other stages wrote, `write_report` writes `ablation.md`, `ablation.csv`, `metrics.json`,
`index.html`, and what it all cost, `cost.md` and `cost.csv`.
Nothing here computes with nets, so the report needs no torch and takes seconds.
"""

from vgg_ablation.report.inputs import Study, read_study
from vgg_ablation.report.outputs import write_report

__all__ = ["Study", "read_study", "write_report"]
