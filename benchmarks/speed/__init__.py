"""Speed of training, preprocessing and an idle `dvc repro`: `python -m benchmarks.speed` (make bench)."""
