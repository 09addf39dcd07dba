"""How fast training, preprocessing and an idle `dvc repro` are: `python -m benchmarks.speed` (make bench)."""
