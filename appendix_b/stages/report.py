"""Write the report on appendix B: `python appendix_b/stages/report.py`."""

from vgg_ablation.appendix_b.findings import read_findings
from vgg_ablation.appendix_b.nets import SUMMARY_FILE
from vgg_ablation.appendix_b.report import write_report
from vgg_ablation.files import read_json
from vgg_ablation.runtime.console import SAVED_APPENDIX_B, stage
from vgg_ablation.runtime.params import read_params
from vgg_ablation.runtime.paths import APPENDIX_B_IMAGES, APPENDIX_B_REPORT

with stage("table-11", SAVED_APPENDIX_B) as console:
    params = read_params()
    console.alone()
    findings, summary = read_findings(params.arch, params.norm), read_json(APPENDIX_B_IMAGES / SUMMARY_FILE)
    first, *others = write_report(findings, params.norm, summary, APPENDIX_B_REPORT)
    console.made(f"{first} and {len(others)} more files")
