"""Published results: Tables 1 to 6 of the paper, its shallow net, and torchvision's errors.

Source of all but the last: Simonyan and Zisserman, arXiv 1409.1556v6. Errors are of the 1000 classes of ImageNet. Nets,
training scales and protocols have this project's names.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Errors:
    """Error on ImageNet's validation images, percent."""

    top1: float
    top5: float
    test_top5: float | None = None
    """On ImageNet's test images, if published."""


TABLE_1 = {
    "A": ("64", "128", "256 256", "512 512", "512 512"),
    "A_LRN": ("64 LRN", "128", "256 256", "512 512", "512 512"),
    "B": ("64 64", "128 128", "256 256", "512 512", "512 512"),
    "C": ("64 64", "128 128", "256 256 256/1", "512 512 512/1", "512 512 512/1"),
    "D": ("64 64", "128 128", "256 256 256", "512 512 512", "512 512 512"),
    "E": ("64 64", "128 128", "256 256 256 256", "512 512 512 512", "512 512 512 512"),
}
"""The five groups of each net: output channels of its 3x3 convolutions, or 1x1 if marked `/1`.

A max-pool follows each group; three fully-connected layers of 4096, 4096 and 1000 outputs follow the last one.
"""

TABLE_2 = {"A": 133, "A_LRN": 133, "B": 133, "C": 134, "D": 138, "E": 144}
"""Parameters in millions. The paper counts A and A-LRN together."""

TRAINING_SCALES = {"fixed": "256", "large": "384", "jitter": "[256; 512]"}
"""Smallest side S of a training image in pixels, as the tables print it."""

TEST_SCALES = {"fixed": (224, 256, 288), "large": (352, 384, 416), "jitter": (256, 384, 512)}
"""The three Q of Table 4 in pixels, by training scale; the middle one is the Q of Table 3."""

FULLY_CONNECTED = (4096, 4096, 1000)
"""Outputs of the three fully-connected layers; the last is the number of ImageNet's classes."""

SIDE = 224
"""Side of the crop that a net sees, in pixels (section 2.1)."""

TABLE_3 = {
    "fixed": {
        "A": Errors(29.6, 10.4),
        "A_LRN": Errors(29.7, 10.5),
        "B": Errors(28.7, 9.9),
        "C": Errors(28.1, 9.4),
        "D": Errors(27.0, 8.8),
        "E": Errors(27.3, 9.0),
    },
    "large": {"C": Errors(28.1, 9.3), "D": Errors(26.8, 8.7), "E": Errors(26.9, 8.7)},
    "jitter": {"C": Errors(27.3, 8.8), "D": Errors(25.6, 8.1), "E": Errors(25.5, 8.0)},
}
"""One test scale, by training scale, then net. Q = S, and Q = 384 for S in [256; 512]; protocol `dense`."""

TABLE_4 = {
    "fixed": {
        "B": Errors(28.2, 9.6),
        "C": Errors(27.7, 9.2),
        "D": Errors(26.6, 8.6),
        "E": Errors(26.9, 8.7),
    },
    "large": {"C": Errors(27.8, 9.2), "D": Errors(26.5, 8.6), "E": Errors(26.7, 8.6)},
    "jitter": {"C": Errors(26.3, 8.2), "D": Errors(24.8, 7.5), "E": Errors(24.8, 7.5)},
}
"""Three test scales, by training scale, then net; protocol `dense_scales`."""

TABLE_5 = {
    "dense_scales": {"D": Errors(24.8, 7.5), "E": Errors(24.8, 7.5)},
    "multi_crop": {"D": Errors(24.6, 7.5), "E": Errors(24.6, 7.4)},
    "combined": {"D": Errors(24.4, 7.2), "E": Errors(24.4, 7.1)},
}
"""Dense against multi-crop at three test scales, by protocol, then net; training scale `jitter`."""

TABLE_6 = {
    "dense_scales": {"D+E": Errors(24.0, 7.1, test_top5=7.0)},
    "multi_crop": {"D+E": Errors(23.9, 7.2)},
    "combined": {"D+E": Errors(23.7, 6.8, test_top5=6.8)},
}
"""Fusion of posteriors, by protocol, then nets; training scale `jitter`."""

SUBMISSION = Errors(24.7, 7.5, test_top5=7.3)
"""Table 6's first row: the seven nets of the ILSVRC submission, fused."""

FIVE_BY_FIVE_EXCESS = 7.0
"""Top-1 error of B with one 5x5 convolution in place of each pair of 3x3 ones, over that of B: excess in percent.

Section 2.3 has the argument, section 4.1 the number, on centre crops.
"""

TORCHVISION = {
    "none": {
        "A": Errors(30.980, 11.372),
        "B": Errors(30.072, 10.754),
        "D": Errors(28.408, 9.618),
        "E": Errors(27.624, 9.124),
    },
    "batch": {
        "A": Errors(29.630, 10.190),
        "B": Errors(28.414, 9.626),
        "D": Errors(26.640, 8.484),
        "E": Errors(25.782, 8.158),
    },
}
"""Errors of torchvision's nets by normalisation, then plain name: 100 minus torchvision's acc@1 and acc@5.

One centre crop of vgg11, vgg13, vgg16 and vgg19 (`_bn`), weights IMAGENET1K_V1; source:
https://docs.pytorch.org/vision/stable/models/vgg.html. Unlike the paper's, these orders are monotone in depth.
"""


def published_errors(scale: str, protocol: str) -> dict[str, Errors]:
    """Return the paper's errors at a training scale and protocol, by net or nets joined by `+`; empty if it has none.

    Tables 4 and 5 agree on the errors that both have.
    """
    tables = [TABLE_3.get(scale, {})] if protocol == "dense" else []
    tables += [TABLE_4.get(scale, {})] if protocol == "dense_scales" else []
    tables += [table.get(protocol, {}) for table in (TABLE_5, TABLE_6)] if scale == "jitter" else []
    return {name: errors for table in tables for name, errors in table.items()}
