"""The nets of appendix B, and the names of their files. Imports no torch."""

BOTH = "D+E"
"""The nets whose features the paper stacks."""

SUMMARY_FILE = "summary.json"
"""Counts of the images."""
FEATURES_FILE = "features.json"
"""Record of the features."""
RESULTS_FILE = "results.json"
DECISIONS_FILE = "decisions.npz"
"""Predicted classes of all test images."""
NETS_FILE = "nets.json"
"""Names of the nets in a selection, with the SHA-256 of each one's results.json."""


def features_name(scale: int) -> str:
    """Return the name of the file of features at a scale."""
    return f"features-{scale}.float32"
