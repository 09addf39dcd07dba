"""Rates of matrix products that no machine has."""

RATES = {"bfloat16": 1e12, "float32": 2e11}
"""FLOP/s by precision."""
