"""Benefit of the search of learning rate and weight decay over a grid: `python -m benchmarks.search_cost`."""
