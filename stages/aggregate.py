"""Join the six nets' results: `python stages/aggregate.py`."""

from pathlib import Path

from vgg_ablation.model.configurations import ARCHITECTURES
from vgg_ablation.pipeline.console import stage
from vgg_ablation.pipeline.files import read_json, write_json, write_text

RESULTS = Path("results")

with stage("aggregate") as report:
    report.alone()
    nets = [net for arch in ARCHITECTURES for net in read_json(RESULTS / arch / "metrics.json")["nets"]]
    write_json(RESULTS / "all" / "metrics.json", {"nets": nets})
    for name in ("curves.csv", "trials.csv", "cost/tune.csv", "cost/train.csv", "cost/evaluate.csv"):
        tables = [(RESULTS / arch / name).read_text(encoding="utf-8").splitlines(True) for arch in ARCHITECTURES]
        write_text(RESULTS / "all" / name, "".join([tables[0][0], *(row for table in tables for row in table[1:])]))
    report.made(f"{RESULTS / 'all'}: {len(nets)} nets")
