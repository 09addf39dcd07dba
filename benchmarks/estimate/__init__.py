"""How long a study will take on this machine, before anything of it is run: `python -m benchmarks.estimate`."""
