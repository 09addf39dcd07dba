"""Errors by class, and the confusions that depth mends."""

import numpy as np
import pandas as pd

from vgg_ablation.analysis.study import Net, Study
from vgg_ablation.model.table1 import ABLATION
from vgg_ablation.report.tables import Table, decimal

SHOWN = 10
"""Confusions that are laid out."""


def class_errors(study: Study, scale: str, protocol: str) -> pd.DataFrame:
    """Return the top-1 error of each class, percent, the test images of all runs together: a row a category.

    A column a net; NaN where no run has a test image of the class.
    """
    return pd.DataFrame(
        {
            net.arch: np.diagonal(1 - shares) * 100
            for net in study.at(scale)
            for shares in [confusions(study, net, protocol)]
        },
        index=pd.Index(study.data.categories, name="category"),
    )


def confusions(study: Study, net: Net, protocol: str) -> np.ndarray:
    """Return (K, K): the share of a class's test images (row) that is taken for a class (column), of all runs."""
    counts = np.zeros((net.classes, net.classes))
    for run in net.runs:
        outcome = study.outcomes.of(net.arch, net.scale, run.run, protocol)
        np.add.at(counts, (outcome.labels, outcome.predicted), 1)
    images = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, images, out=np.full_like(counts, np.nan), where=images > 0)


def ends(study: Study, scale: str) -> tuple[Net, Net] | None:
    """Return the shallowest and the deepest of Table 1's nets at a training scale; None where all have one depth."""
    nets = [net for net in study.at(scale) if net.arch in ABLATION]
    if not nets:
        return None
    shallow, deep = (pick(nets, key=lambda net: net.weight_layers) for pick in (min, max))
    return (shallow, deep) if shallow.weight_layers < deep.weight_layers else None


def classes_table(study: Study, scale: str, protocol: str) -> Table:
    """Lay out every class's error by net; the classes whose error falls most from the shallowest net on come first."""
    errors = class_errors(study, scale, protocol)
    header = ("category", *(f"{arch}, %" for arch in errors.columns))
    if between := ends(study, scale):
        shallow, deep = (net.arch for net in between)
        errors["change"] = errors[deep] - errors[shallow]
        errors = errors.sort_values("change", kind="stable")
        header = (*header, f"{shallow} to {deep}, points")
    body = [
        (str(category), *(decimal(_number(row[name]), signed=name == "change") for name in errors.columns))
        for category, row in errors.iterrows()
    ]
    return Table("classes", "Top-1 error by class", header, body)


def confusions_table(study: Study, scale: str, protocol: str) -> Table | None:
    """Lay out the confusions whose share falls most from the shallowest to the deepest net; None where none falls."""
    if not (between := ends(study, scale)):
        return None
    shallow, deep = (np.nan_to_num(confusions(study, net, protocol)) * 100 for net in between)
    fall = shallow - deep
    np.fill_diagonal(fall, -np.inf)
    names = study.data.categories
    order = np.argsort(-fall, axis=None, kind="stable")[:SHOWN]
    body: list[tuple[str, ...]] = [
        (names[true], names[taken], decimal(before), decimal(after), decimal(after - before, signed=True))
        for true, taken in zip(*np.unravel_index(order, fall.shape), strict=True)
        for before, after in [(float(shallow[true, taken]), float(deep[true, taken]))]
        if fall[true, taken] > 0
    ]
    if not body:
        return None
    first, last = (net.arch for net in between)
    header = ("category", "taken for", f"{first}, %", f"{last}, %", "change, points")
    caption = f"Confusions that fall most from {first} to {last}, share of the category's test images"
    return Table("confusions", caption, header, body, frozenset({0, 1}))


def classes_words(study: Study, scale: str, protocol: str) -> str:
    """Return which classes gain and lose most from the shallowest to the deepest net, or which are hardest."""
    errors = class_errors(study, scale, protocol)
    if not (between := ends(study, scale)):
        hardest = errors.mean(axis=1).sort_values(ascending=False, kind="stable").head(3)
        return f"Hardest: {', '.join(f'{category} ({error:.1f} %)' for category, error in hardest.items())}."
    first, last = (net.arch for net in between)
    change = (errors[last] - errors[first]).dropna().sort_values(kind="stable")
    return (
        f"From {first} to {last} the error falls in {int((change < 0).sum())} of {len(change)} classes and rises in "
        f"{int((change > 0).sum())}: most in favour of depth {change.index[0]} ({change.iloc[0]:+.1f} points), most "
        f"against it {change.index[-1]} ({change.iloc[-1]:+.1f} points)."
    )


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
