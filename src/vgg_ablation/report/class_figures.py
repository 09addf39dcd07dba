"""The figures of errors by class, of the confusions that depth mends, and of calibration."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.path import Path

from vgg_ablation.analysis import classes
from vgg_ablation.analysis.study import Net, Study
from vgg_ablation.report.drawing import (
    BAD,
    BAR,
    INK,
    MUTED,
    OURS,
    PAPER,
    WIDE,
    Drawing,
    drawing,
    matrix_axes,
    opacity,
)

NAMED_CLASSES = 40  # more do not fit under each other with their names
SHOWN_CLASSES = 10  # of each kind, where not all are shown
SHOWN_CONFUSIONS = 12
SHADES = 10
BINS = 15  # of the reliability diagrams, as of the expected calibration error


# Classes


def class_errors(study: Study) -> Drawing:
    """Draw every class's top-1 error by net as shaded cells, the hardest class first."""
    by_class = classes.class_errors(study, *study.lead).dropna()
    table = by_class.loc[by_class.mean(axis=1).sort_values(ascending=False, kind="stable").index]
    archs = list(table.columns)
    largest = table.to_numpy().max() or 1.0
    few = len(table) <= NAMED_CLASSES
    if few:
        figure = Figure((max(4.6, 2.0 + 0.62 * len(archs)), 0.6 + 0.27 * len(table)), layout="constrained")
    else:
        figure = Figure((WIDE, 1.3 + 0.3 * len(archs)), layout="constrained")
    axes = figure.subplots()
    shades: dict[int, list[tuple[float, float]]] = {}
    for row, errors in enumerate(table.to_numpy()):
        for column, error in enumerate(errors):
            place = (column, row) if few else (row, column)
            shades.setdefault(round(error / largest * (SHADES - 1)), []).append(place)
            if few:
                axes.text(*place, f"{error:.0f}", ha="center", va="center", fontsize=8)
    for shade in sorted(shades):
        axes.add_collection(_cells(shades[shade], opacity(shade / (SHADES - 1)), 0.47 if few else 0.5))
    if few:
        matrix_axes(axes, archs, list(table.index))
        axes.xaxis.tick_top()
    else:
        matrix_axes(axes, ["" for _ in table.index], archs)
        axes.set_xticks([0, len(table) - 1], ["hardest", "easiest"])
        axes.set_xlabel(f"{len(table)} classes (their names are in the data)")
    ends = table.mean(axis=1)
    return drawing(
        figure,
        "class-errors",
        "Error by class",
        f"Top-1 error by class, mean over the nets: from {ends.iloc[0]:.0f} % ({ends.index[0]}) to "
        f"{ends.iloc[-1]:.0f} % ({ends.index[-1]}), {len(table)} classes; the stronger the colour the more errors.",
        table.reset_index(),
        wide=not few,
    )


def _cells(places: Iterable[tuple[float, float]], opacity: float, half: float) -> PathCollection:
    """Return squares of one shade as one path: thousands of them as elements would be most of the page."""
    squares = [
        Path(
            [(x - half, y - half), (x + half, y - half), (x + half, y + half), (x - half, y + half), (x, y)],
            closed=True,
        )
        for x, y in places
    ]
    return PathCollection([Path.make_compound_path(*squares)], facecolors=BAD, alpha=opacity, linewidths=0)


def mended_classes(study: Study) -> Iterator[Drawing]:
    """Draw the classes whose error falls and rises most from the shallowest to the deepest net."""
    if not (ends := classes.ends(study, study.lead[0])):
        return
    shallow, deep = (net.arch for net in ends)
    table = classes.class_errors(study, *study.lead)[[shallow, deep]].dropna()
    table["change"] = table[deep] - table[shallow]
    table = table.sort_values("change", kind="stable")
    many = len(table) > 2 * SHOWN_CLASSES
    shown = pd.concat([table.head(SHOWN_CLASSES), table.tail(SHOWN_CLASSES)]) if many else table
    yield drawing(
        _dumbbells(shown, shallow, deep, "top-1 error, %"),
        "classes-by-depth",
        f"Classes from {shallow} to {deep}",
        f"Change of the top-1 error from net {shallow} to net {deep}, points, by class: from "
        f"{table['change'].iloc[0]:+.1f} ({table.index[0]}) to {table['change'].iloc[-1]:+.1f} ({table.index[-1]}).",
        table.reset_index(),
    )


def confusions(study: Study) -> Iterator[Drawing]:
    """Draw the confusions whose share falls most from the shallowest to the deepest net."""
    scale, protocol = study.lead
    if not (ends := classes.ends(study, scale)):
        return
    before, after = (np.nan_to_num(100 * classes.confusions(study, net, protocol)) for net in ends)
    names = study.data.categories
    off = [place for place in np.argsort(after - before, axis=None, kind="stable") if place % (len(names) + 1)]
    true, taken = np.unravel_index(off[:SHOWN_CONFUSIONS], before.shape)
    table = pd.DataFrame(
        {
            "category": [names[one] for one in true],
            "taken for": [names[one] for one in taken],
            ends[0].arch: before[true, taken],
            ends[1].arch: after[true, taken],
        }
    )
    shown = table.set_index(
        pd.Index([f"{a} → {b}" for a, b in zip(table["category"], table["taken for"], strict=True)])
    )
    yield drawing(
        _dumbbells(shown, ends[0].arch, ends[1].arch, "share of the images, %"),
        "confusions",
        f"Confusions from {ends[0].arch} to {ends[1].arch}",
        f"Share of a category's test images that are taken for another one, percent; the one that falls most: "
        f"{shown.index[0]}, {shown.iloc[0, 2]:.1f} with net {ends[0].arch} and {shown.iloc[0, 3]:.1f} with net "
        f"{ends[1].arch}.",
        table,
    )


def _dumbbells(table: pd.DataFrame, shallow: str, deep: str, measure: str) -> Figure:
    """Draw a row's value for the one net and for the other, joined by a line."""
    figure = Figure((5.2, 1.0 + 0.25 * len(table)), layout="constrained")
    axes = figure.subplots()
    for place, (before, after) in enumerate(zip(table[shallow], table[deep], strict=True)):
        axes.plot([before, after], [place, place], color=BAR, linewidth=2.2, zorder=1, solid_capstyle="butt")
        axes.plot(before, place, "o", markersize=5.5, color=MUTED, markerfacecolor=PAPER)
        axes.plot(after, place, "o", markersize=5.5, color=OURS if after <= before else BAD)
    axes.set_yticks(range(len(table)), list(table.index))
    axes.tick_params(axis="y", labelcolor=INK, length=0)
    axes.set_ylim(len(table) - 0.4, -0.6)
    axes.set_xlim(left=min(0.0, axes.get_xlim()[0]))
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(measure)
    marks: dict[str, dict[str, Any]] = {
        f"net {shallow}": {"color": MUTED, "markerfacecolor": PAPER},
        f"net {deep}, no higher": {"color": OURS},
        f"net {deep}, higher": {"color": BAD},
    }
    handles = [Line2D([], [], linestyle="none", marker="o", markersize=5.5, **mark) for mark in marks.values()]
    figure.legend(handles, list(marks), loc="outside lower center", ncols=3, handletextpad=0.2, columnspacing=1.0)
    return figure


# Calibration


def reliabilities(study: Study) -> Iterator[Drawing]:
    """Draw each net's accuracy against its confidence in `BINS` equal bins, the images of all runs pooled."""
    scale, protocol = study.lead
    tables = {net.arch: _bins(net, study, protocol) for net in study.at(scale)}
    fullest = max((100 * data["images"] / data["images"].sum()).max() for data in tables.values())
    for net in study.at(scale):
        data = tables[net.arch]
        images = data["images"] / data["images"].sum()
        confidence, accuracy = 100 * data["confidence"], 100 * data["accuracy"]
        figure = Figure((3.4, 3.5))
        margins = {"left": 0.17, "right": 0.96, "bottom": 0.12, "top": 0.93, "hspace": 0.12}
        axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1), gridspec_kw=margins)
        axes.set_title(net.arch)
        axes.plot([0, 100], [0, 100], color=MUTED, linewidth=0.9, linestyle=":")
        axes.vlines(confidence, confidence, accuracy, color=BAD, linewidth=2, alpha=0.55)
        axes.plot(confidence.dropna(), accuracy.dropna(), marker="o", markersize=4.5, linewidth=1, color=OURS)
        axes.set_ylim(-2, 102)
        axes.set_ylabel("accuracy, %")
        below.bar(100 * data["bin_low"] + 50 / BINS, 100 * images, width=86 / BINS, color=BAR)
        below.set_ylim(0, 1.05 * fullest)
        below.set_xlim(0, 100)
        below.set_ylabel("images, %")
        below.set_xlabel("confidence, %")
        for panel in (axes, below):
            panel.yaxis.set_label_coords(-0.14, 0.5)
        words = (
            f"Net {net.arch}: mean confidence {(images * confidence).sum():.1f} %, accuracy "
            f"{(images * accuracy).sum():.1f} %, expected calibration error "
            f"{np.mean([run.protocols[protocol].ece for run in net.runs]):.1f} % (mean over runs)."
        )
        yield drawing(figure, f"reliability-{net.arch}", f"Reliability of net {net.arch}", words, data)


def _bins(net: Net, study: Study, protocol: str) -> pd.DataFrame:
    """Return images, mean confidence and accuracy by bin of confidence; a bin without images has neither of both."""
    outcomes = [study.outcomes.of(net.arch, net.scale, run.run, protocol) for run in net.runs]
    confidence = np.concatenate([outcome.confidence for outcome in outcomes]).astype(float)
    right = np.concatenate([outcome.predicted == outcome.labels for outcome in outcomes])
    of_bin = np.minimum((confidence * BINS).astype(int), BINS - 1)
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
