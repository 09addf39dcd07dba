"""Measurements beside the pipeline: speed, and what the search buys."""
