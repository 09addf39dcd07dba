"""How long a study will take on this machine, before any of it is run: `python -m benchmarks.estimate`."""
