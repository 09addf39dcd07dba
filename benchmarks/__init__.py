"""Measurements beside the pipeline: speed, time estimates, and what the search buys."""
