"""Settings of the study `sample`, and scales of images that are small enough for tests."""

from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
SAMPLE = PARAMS["studies"]["sample"]
SCALES = {
    "fixed": {"train": 32, "test": [32, 36, 40]},
    "large": {"train": 48, "test": [40, 48, 56]},
    "jitter": {"train": [36, 64], "test": [36, 50, 64]},
}
