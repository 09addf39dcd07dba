"""Measurements beside the pipeline: speed, checkpoints, scaling, search, ranks of trials, appendix B, GPU check."""
