"""The paper's single-scale results, what it claims about their order, and the settings that it chose.

Source: Simonyan and Zisserman, arXiv 1409.1556v6, Table 3, sections 3.1 and 4.1.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Errors:
    """Error on ImageNet's validation images, percent."""

    top1: float
    top5: float


@dataclass(frozen=True)
class Claim:
    """What section 4.1 says about two nets next to each other in Table 3."""

    first: str
    second: str
    improves: bool
    """True: the second net has the lower error. False: it does not."""
    reason: str


WEIGHT_LAYERS = {"A": 11, "A_LRN": 11, "B": 13, "C": 16, "D": 16, "E": 19}
"""Table 1's nets in its order, with their depth."""

TABLE_3 = {
    "256": {
        "A": Errors(29.6, 10.4),
        "A_LRN": Errors(29.7, 10.5),
        "B": Errors(28.7, 9.9),
        "C": Errors(28.1, 9.4),
        "D": Errors(27.0, 8.8),
        "E": Errors(27.3, 9.0),
    },
    "384": {"C": Errors(28.1, 9.3), "D": Errors(26.8, 8.7), "E": Errors(26.9, 8.7)},
    "[256; 512]": {"C": Errors(27.3, 8.8), "D": Errors(25.6, 8.1), "E": Errors(25.5, 8.0)},
}
"""By training scale S, then net. Test scale Q = S, and Q = 384 for S in [256; 512]."""

SINGLE_SCALE = TABLE_3["256"]
"""The one column that holds all six nets."""

PAPER_POINT = (1e-2, 5e-4)
"""Learning rate (at the start) and weight decay, section 3.1."""

CLAIMS = (
    Claim("A", "A_LRN", improves=False, reason="local response normalisation does not improve on A"),
    Claim("A", "B", improves=True, reason="error falls with depth"),
    Claim("B", "C", improves=True, reason="more non-linearity helps"),
    Claim("C", "D", improves=True, reason="spatial context helps at the same depth"),
    Claim("D", "E", improves=False, reason="error saturates at 19 layers"),
)
"""The five neighbouring pairs. At S = 256 and 384 net D has a lower error than E; under scale jitter E wins by 0.1."""
