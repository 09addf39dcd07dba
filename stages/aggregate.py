"""Join the six nets' results: `python stages/aggregate.py`."""

from pathlib import Path

import pandas as pd

from vgg_ablation.model.configurations import ARCHITECTURES
from vgg_ablation.pipeline.console import stage
from vgg_ablation.pipeline.files import read_json, write_json, write_text

RESULTS = Path("results")

with stage("aggregate") as report:
    nets = [net for arch in ARCHITECTURES for net in read_json(RESULTS / arch / "metrics.json")["nets"]]
    write_json(RESULTS / "all" / "metrics.json", {"nets": nets})
    for name in ("curves.csv", "trials.csv"):
        # As text: a number read and written again might lose its last digit.
        tables = [pd.read_csv(RESULTS / arch / name, dtype=str, keep_default_na=False) for arch in ARCHITECTURES]
        write_text(RESULTS / "all" / name, pd.concat(tables).to_csv(index=False))
    report.made(f"{RESULTS / 'all'}: {len(nets)} nets")
