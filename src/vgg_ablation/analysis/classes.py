"""Errors by class, confusions of classes from the shallowest to the deepest net, and accuracy by confidence."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from vgg_ablation.analysis.records import Net
from vgg_ablation.analysis.study import Study
from vgg_ablation.evaluate.calibration import BINS, bin_numbers


@dataclass(frozen=True)
class Confusion:
    """Images of a category taken for another by the shallowest and the deepest net, percent of its test images."""

    category: str
    taken_for: str
    before: float
    after: float

    @property
    def change(self) -> float:
        """Percentage points."""
        return self.after - self.before


def class_errors(study: Study, scale: str, protocol: str) -> pd.DataFrame:
    """Return the top-1 error of each class, percent, over the test images of all runs: a row per category.

    A column per net; NaN where no run has a test image of the class.
    """
    return pd.DataFrame(
        {net.arch: 100 * (1 - np.diagonal(confusions(study, net, protocol))) for net in study.at(scale)},
        index=pd.Index(study.data.categories, name="category"),
    )


def confusions(study: Study, net: Net, protocol: str) -> np.ndarray:
    """Return (K, K): the share of a class's test images (row) predicted as a class (column), over all runs."""
    counts = np.zeros((net.classes, net.classes))
    for run in net.runs:
        found = study.decisions(net.arch, net.scale, run.run, protocol)
        np.add.at(counts, (found.labels, found.predicted), 1)
    images = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, images, out=np.full_like(counts, np.nan), where=images > 0)


def ends(study: Study, scale: str) -> tuple[Net, Net] | None:
    """Return the shallowest and the deepest of Table 1's nets at a training scale; None if all have one depth.

    `study` has nets of one normalisation, see `Study.by_norm`; so in what follows from these two nets.
    """
    nets = [net for net in study.at(scale) if net.arch in study.ablation]
    if len({net.weight_layers for net in nets}) < 2:
        return None
    shallow, deep = (pick(nets, key=lambda net: net.weight_layers) for pick in (min, max))
    return shallow, deep


def class_changes(study: Study, scale: str, protocol: str) -> pd.DataFrame | None:
    """Return each class's error by the shallowest and the deepest net, and their difference; None as `ends`.

    Columns are the two nets' names and `change`, percentage points, ascending: the largest improvement first. Classes
    without test images are left out.
    """
    if not (between := ends(study, scale)):
        return None
    shallow, deep = (net.arch for net in between)
    table = class_errors(study, scale, protocol)[[shallow, deep]].dropna()
    return table.assign(change=table[deep] - table[shallow]).sort_values("change", kind="stable")


def fallen_confusions(study: Study, scale: str, protocol: str, most: int = 10) -> list[Confusion]:
    """Return the confusions that fall most from the shallowest to the deepest net; empty where none falls."""
    if not (between := ends(study, scale)):
        return []
    shallow, deep = (np.nan_to_num(confusions(study, net, protocol)) * 100 for net in between)
    fall = shallow - deep
    np.fill_diagonal(fall, -np.inf)
    names = study.data.categories
    order = np.argsort(-fall, axis=None, kind="stable")[:most]
    return [
        Confusion(names[true], names[taken], float(shallow[true, taken]), float(deep[true, taken]))
        for true, taken in zip(*np.unravel_index(order, fall.shape), strict=True)
        if fall[true, taken] > 0
    ]


def reliability(study: Study, net: Net, protocol: str) -> pd.DataFrame:
    """Return the images, mean confidence and accuracy in each bin of confidence, over all runs.

    Columns `net`, `bin_low`, `bin_high`, `images`, `confidence` and `accuracy`, the last two 0..1, NaN in empty bins.
    """
    found = [study.decisions(net.arch, net.scale, run.run, protocol) for run in net.runs]
    confidence = np.concatenate([one.confidence for one in found]).astype(float)
    right = np.concatenate([~one.wrong for one in found])
    of_bin = bin_numbers(confidence)
    images = np.bincount(of_bin, minlength=BINS)
    filled = np.where(images, images, np.nan)
    return pd.DataFrame(
        {
            "net": net.arch,
            "bin_low": np.arange(BINS) / BINS,
            "bin_high": (np.arange(BINS) + 1) / BINS,
            "images": images,
            "confidence": np.bincount(of_bin, weights=confidence, minlength=BINS) / filled,
            "accuracy": np.bincount(of_bin, weights=right, minlength=BINS) / filled,
        }
    )


def reliabilities(study: Study, scale: str, protocol: str) -> pd.DataFrame:
    """Return `reliability` of all nets of a training scale, one after the other."""
    return pd.concat([reliability(study, net, protocol) for net in study.at(scale)], ignore_index=True)
