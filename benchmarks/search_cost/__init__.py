"""What the search of learning rate and weight decay buys, against a grid: `python -m benchmarks.search_cost`."""
