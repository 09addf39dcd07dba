"""Figures of errors by class, of what changes with depth, of calibration, and of the images themselves."""

import io
from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as MplFigure
from PIL import Image

from vgg_ablation.analysis.classes import BINS, class_changes, class_errors, ends, fallen_confusions, reliability
from vgg_ablation.analysis.findings import Findings
from vgg_ablation.analysis.study import Study
from vgg_ablation.report.figures import style
from vgg_ablation.report.figures.style import BLUE, LINE, MUTED, VERMILLION, Figure

NAMED = 45
"""Classes whose names fit below a heat map."""
LONGEST_NAME = 22
"""Characters of a class's name that are shown."""
EXAMPLES = 1 / 2
"""Share of the contact sheet's columns that the report shows."""
MOST_CHANGED = 8
"""Classes shown of those that gain most and of those that lose most with depth; also confusions."""


def errors_by_class(findings: Findings) -> Iterator[Figure]:
    """Draw every class's top-1 error by net as a heat map, the hardest class first."""
    by_class = class_errors(findings.study, *findings.study.lead).dropna()
    mean = by_class.mean(axis=1).sort_values(ascending=False, kind="stable")
    named = len(mean) <= NAMED
    fig = MplFigure((style.WIDE, 1.0 + 0.26 * len(by_class.columns) + 1.0 * named))
    axes = fig.subplots()
    errors = by_class.loc[mean.index].to_numpy().T
    image = style.heat_map(axes, errors, list(by_class.columns), cmap="Oranges", vmin=0)
    if named:
        axes.set_xticks(range(len(mean)), [_short(str(name)) for name in mean.index], rotation=90, fontsize=7)
    else:
        axes.set_xticks([0, len(mean) - 1], ["hardest", "easiest"])
        axes.set_xlabel(f"{len(mean)} classes")
    fig.colorbar(image, pad=0.01).set_label("top-1 error, %")
    yield style.figure(
        fig,
        "class-errors",
        "classes",
        "Top-1 error by class",
        "One column a class, one row a net; the test images of all runs together.",
        f"Top-1 error by class, mean over the nets: from {mean.iloc[0]:.0f} % ({mean.index[0]}) to "
        f"{mean.iloc[-1]:.0f} % ({mean.index[-1]}), {len(mean)} classes.",
        ("tables/classes.csv",),
        wide=True,
    )


def changes_with_depth(findings: Findings) -> Iterator[Figure]:
    """Draw the classes and the confusions that change most from the shallowest to the deepest net."""
    for part in findings.study.by_norm:
        yield from _changes_of(part)


def _changes_of(study: Study) -> Iterator[Figure]:
    """Draw them for a study of one normalisation."""
    between, changes = ends(study, study.lead[0]), class_changes(study, *study.lead)
    if between is None or changes is None:
        return
    shallow, deep = (net.arch for net in between)
    most = (
        changes.iloc[[*range(MOST_CHANGED), *range(-MOST_CHANGED, 0)]] if len(changes) > 2 * MOST_CHANGED else changes
    )
    confusions = fallen_confusions(study, *study.lead, most=MOST_CHANGED)
    heights = [len(most) + 2, *([len(confusions) + 2] if confusions else [])]
    fig = MplFigure((6.2, 0.6 + 0.2 * sum(heights)))
    above, *below = fig.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    _draw_changes(above, [_short(str(name)) for name in most.index], most[[shallow, deep]].to_numpy())
    above.set_xlabel("top-1 error of the class, %")
    words = (
        f"{changes['change'].iloc[0]:+.1f} ({most.index[0]}) to {changes['change'].iloc[-1]:+.1f} ({most.index[-1]})"
    )
    for axes in below:
        names = [f"{_short(one.category)} → {_short(one.taken_for)}" for one in confusions]
        _draw_changes(axes, names, np.array([(one.before, one.after) for one in confusions]))
        axes.set_xlabel("images taken for the other, %")
        first = confusions[0]
        words += f"; {first.category} taken for {first.taken_for}: from {first.before:.1f} to {first.after:.1f} %"
    open_mark = {"marker": "o", "color": MUTED, "markerfacecolor": style.PAPER}
    marks = {"no higher": {"marker": "o", "color": BLUE}, "higher": {"marker": "o", "color": VERMILLION}}
    style.legend(fig, {f"net {shallow}": open_mark, **{f"net {deep}, {word}": mark for word, mark in marks.items()}})
    yield style.figure(
        fig,
        f"class-changes-{study.norm}",
        "classes",
        f"Classes and confusions from {shallow} to {deep}",
        "Above: top-1 error of the classes that change most. Below: the confusions that fall most.",
        f"Change of the top-1 error by class from net {shallow} to net {deep}, points: from {words}.",
        ("tables/classes.csv", "tables/confusions.csv"),
        wide=False,
    )


def _draw_changes(axes: Axes, names: Sequence[str], values: np.ndarray) -> None:
    """Draw values (N, 2), of the shallow and of the deep net, as two marks joined by a line in row n."""
    (before, after), rows = values.T, np.arange(len(values))
    axes.hlines(rows, before, after, color=LINE, linewidth=2.2, zorder=1)
    axes.plot(before, rows, "o", markersize=5.5, color=MUTED, markerfacecolor=style.PAPER)
    for chosen, colour in ((after <= before, BLUE), (after > before, VERMILLION)):
        axes.plot(after[chosen], rows[chosen], "o", markersize=5.5, color=colour)
    style.name_rows(axes, names)
    axes.set_xlim(left=min(0.0, axes.get_xlim()[0]))


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def reliabilities(findings: Findings) -> Iterator[Figure]:
    """Draw each net's accuracy against its confidence, and the share of images by confidence; all runs together."""
    study = findings.study
    scale, protocol = study.lead
    nets = study.at(scale)
    tables = [reliability(study, net, protocol) for net in nets]
    fullest = max((100 * table["images"] / table["images"].sum()).max() for table in tables)
    names = [net.arch for net in nets]
    fig, grid = style.panels(names, "confidence, %", ["accuracy, %", "images, %"], height_ratios=[3, 1], height=2.3)
    for (above, below), table in zip(grid, tables, strict=True):
        confidence, accuracy = (100 * table[column].dropna() for column in ("confidence", "accuracy"))
        above.plot([0, 100], [0, 100], color=MUTED, linewidth=0.9, linestyle=":")
        above.vlines(confidence, confidence, accuracy, color=VERMILLION, linewidth=2, alpha=0.55)
        above.plot(confidence, accuracy, marker="o", markersize=3.5, linewidth=1, color=BLUE)
        above.set(xlim=(0, 100), ylim=(-2, 102))
        share = 100 * table["images"] / table["images"].sum()
        below.bar(50 * (table["bin_low"] + table["bin_high"]), share, width=86 / BINS, color=MUTED)
        below.set(xlim=(0, 100), ylim=(0, 1.05 * fullest))
    eces = ", ".join(f"{net.arch} {np.mean([run.protocols[protocol].ece for run in net.runs]):.1f}" for net in nets)
    yield style.figure(
        fig,
        "reliability",
        "classes",
        "Reliability",
        "Accuracy by confidence: a calibrated net is on the dotted line. Below: share of the test images.",
        f"Expected calibration error in percent, mean over runs: {eces}.",
        ("tables/reliability.csv",),
        wide=len(nets) > 2,
        png=True,
    )


def examples(findings: Findings) -> Iterator[Figure]:
    """Show a few images of each class, where they may be shown."""
    study = findings.study
    if study.contact_sheet is None:
        return
    with Image.open(io.BytesIO(study.contact_sheet)) as sheet:
        shown = sheet.crop((0, 0, round(EXAMPLES * sheet.width), sheet.height))
    shown.save(strip := io.BytesIO(), "webp", quality=50)
    yield Figure(
        "examples",
        "data",
        "Example images",
        "The first images of each class, drawn by a program.",
        f"Images of {len(study.data.categories)} classes: {', '.join(study.data.categories)}.",
        strip.getvalue(),
        "image/webp",
        wide=False,
        sources=(),
    )
