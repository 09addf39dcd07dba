"""Table 11 of the paper: its own results on Caltech-256, with 60 training images a class."""

from typing import NamedTuple


class Recall(NamedTuple):
    """Mean class recall in percent, over three random splits."""

    mean: float
    deviation: float


TABLE_11 = {"D": Recall(85.0, 0.2), "E": Recall(85.1, 0.3), "D+E": Recall(86.2, 0.3)}
"""Three scales stacked, 257 classes. The nets are the authors', trained with scale jitter, not torchvision's."""
OTHERS = {"Zeiler and Fergus": Recall(74.2, 0.3), "Chatfield et al.": Recall(77.6, 0.1)}
"""Results that the paper compares with; He et al. give no number for Caltech-256."""
WITHOUT_WEIGHTS = {
    "A_LRN": "nobody has published weights of A-LRN",
    "C": "nobody has published weights of C",
}
