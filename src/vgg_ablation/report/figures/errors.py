"""Figures of errors: by depth, behind the claims, between nets, by test protocol, against compute."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as MplFigure
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from vgg_ablation.analysis.fairness import operations
from vgg_ablation.analysis.findings import Findings
from vgg_ablation.analysis.rows import estimate_of
from vgg_ablation.analysis.statistics import CONFIDENCE, Estimate
from vgg_ablation.analysis.study import Net, Study, single_scale
from vgg_ablation.model.table1 import weight_layers
from vgg_ablation.paper.tables import TABLE_3, TORCHVISION, TRAINING_SCALES
from vgg_ablation.report.figures import style
from vgg_ablation.report.figures.style import BLUE, GREEN, INK, LINE, MUTED, PURPLE, VERMILLION, Figure, Mark
from vgg_ablation.report.words import PROTOCOLS
from vgg_ablation.runtime.names import norm_of, plain

SCALE_MARKS: dict[str, Mark] = {
    "fixed": {"color": BLUE, "marker": "o"},
    "large": {"color": GREEN, "marker": "s"},
    "jitter": {"color": VERMILLION, "marker": "D"},
}
PROTOCOL_MARKS: dict[str, Mark] = {
    "centre": {"color": MUTED, "marker": "o", "markerfacecolor": "none"},
    "dense": {"color": BLUE, "marker": "o"},
    "dense_scales": {"color": GREEN, "marker": "s"},
    "multi_crop": {"color": VERMILLION, "marker": "D"},
    "combined": {"color": PURPLE, "marker": "^"},
}
VERDICT_COLOURS = {"reproduced": BLUE, "contradicted": VERMILLION}
RUN: Mark = {"marker": "o", "markersize": 2.6, "markeredgewidth": 0, "alpha": 0.75}
UNTRAINED: Mark = {"linestyle": "none", "marker": "x", "markersize": 6, "markeredgewidth": 1.6, "color": INK}
LINE_STYLES = {"none": "-", "batch": "--"}
"""By normalisation."""
TORCHVISION_MARK: Mark = {"color": PURPLE, "marker": "^"}
BATCH: Mark = {"linestyle": "none", "marker": "o", "color": INK, "markerfacecolor": style.PAPER}
INTERVAL = f"{100 * CONFIDENCE:.0f} % interval"


def error_by_depth(findings: Findings) -> Iterator[Figure]:
    """Draw top-1 error against depth: of this study, of the paper's Table 3, of torchvision; a mark a training scale.

    Marks of nets with batch normalisation are open, and their line is dashed.
    """
    study = findings.study
    marks: dict[str, Mark] = {**SCALE_MARKS, "torchvision": TORCHVISION_MARK, "batch normalisation": BATCH}
    if any(net.did_not_train for net in study.nets):
        marks["run that did not train"] = UNTRAINED
    fig, narrow = (
        _by_depth(study, size, layout, marks, columns)
        for size, layout, columns in (
            ((style.WIDE, 4.9), [["ours", "ours"], ["paper", "torchvision"]], 6),
            ((3.7, 6.6), [["ours"], ["paper"], ["torchvision"]], 2),
        )
    )
    words = "; ".join(
        f"{scale} scale: " + ", ".join(f"{net.arch} {_estimate(study, net).mean:.1f}" for net in study.at(scale))
        for scale in study.scales
    )
    sides = ", ".join(f"{scale} {side}" for scale, side in TRAINING_SCALES.items())
    yield style.figure(
        fig,
        "error-by-depth",
        "result",
        "Top-1 error by depth",
        f"Mean over runs with its {INTERVAL}; small dots are single runs. Training scales S of the paper: {sides}; "
        "torchvision: one centre crop.",
        f"Top-1 error in percent, {words}; "
        f"the paper: {', '.join(f'{arch} {error.top1:.1f}' for arch, error in TABLE_3['fixed'].items())}.",
        ("ablation.csv", "tables/published.csv"),
        wide=True,
        png=True,  # README shows it too, under one name
        narrow=narrow,
    )


def _by_depth(
    study: Study, size: tuple[float, float], layout: Sequence[Sequence[str]], marks: Mapping[str, Mark], columns: int
) -> MplFigure:
    """Return a figure of `size` (inches) with the panels `ours`, `paper` and `torchvision`."""
    fig = MplFigure(size)
    panels = fig.subplot_mosaic([list(row) for row in layout])
    _draw_ours(panels["ours"], study)
    _draw_papers(panels["paper"])
    _draw_torchvisions(panels["torchvision"])
    panels["torchvision"].sharey(panels["paper"])
    style.legend(fig, marks, columns)
    return fig


def _draw_ours(ours: Axes, study: Study) -> None:
    ours.set_title("This study")
    places = _depth_axis(ours, {plain(net.arch): net.weight_layers for net in study.nets})
    lines: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for net in study.nets:
        beside = [(one.scale, one.arch) for one in study.nets if plain(one.arch) == plain(net.arch)]
        x = places[plain(net.arch)] + _offset((net.scale, net.arch), beside)
        estimate, colour = _estimate(study, net), SCALE_MARKS[net.scale]["color"]
        _error_bar(ours, x, estimate, net)
        if net.arch in study.ablation:
            lines.setdefault((net.scale, norm_of(net.arch)), []).append((x, estimate.mean))
        for run in net.runs:
            mark = UNTRAINED if run.did_not_train else {**RUN, "color": colour}
            ours.plot(x - 0.13, run.protocols[single_scale(study, net.scale)].top1_error, **mark)
    for (scale, norm), line in lines.items():
        mark = {"color": SCALE_MARKS[scale]["color"], "linestyle": LINE_STYLES[norm]}
        _draw_line(ours, line, linewidth=0.8, alpha=0.5, zorder=1, **mark)


def _draw_papers(paper: Axes) -> None:
    paper.set_title("The paper, ImageNet")
    places = _depth_axis(paper, {arch: weight_layers(arch) for arch in TABLE_3["fixed"]})
    for scale, errors in TABLE_3.items():
        xs = [places[arch] + _offset(scale, [one for one in TABLE_3 if arch in TABLE_3[one]]) for arch in errors]
        paper.plot(xs, [error.top1 for error in errors.values()], linewidth=0.8, **SCALE_MARKS[scale])
    paper.margins(y=0.12)


def _draw_torchvisions(axes: Axes) -> None:
    axes.set_title("torchvision, ImageNet")
    places = _depth_axis(axes, {arch: weight_layers(arch) for arch in TORCHVISION["none"]})
    for norm, errors in TORCHVISION.items():
        fill = style.PAPER if norm == "batch" else TORCHVISION_MARK["color"]
        mark = {**TORCHVISION_MARK, "markerfacecolor": fill, "linestyle": LINE_STYLES[norm]}
        axes.plot([places[arch] for arch in errors], [error.top1 for error in errors.values()], linewidth=0.8, **mark)


def _estimate(study: Study, net: Net) -> Estimate:
    """Return a net's error under the protocol of Table 3."""
    return estimate_of(study, net.arch, net.scale, single_scale(study, net.scale))


def _draw_line(axes: Axes, points: Sequence[tuple[float, float]], **mark: Any) -> None:
    axes.plot([x for x, _ in points], [y for _, y in points], **mark)


def _depth_axis(axes: Axes, layers: Mapping[str, int]) -> dict[str, float]:
    """Label the axis of depth; return each net's place on it. Nets of one depth stand side by side."""
    places: dict[str, float] = {}
    for arch, depth in layers.items():
        beside = [other for other in layers if layers[other] == depth]
        places[arch] = depth + 1.5 * (beside.index(arch) - (len(beside) - 1) / 2)
    axes.set_xticks(list(places.values()), [f"{arch}\n{layers[arch]}" for arch in places])
    axes.tick_params(axis="x", labelcolor=INK)
    axes.set_xlim(min(places.values()) - 0.8, max(places.values()) + 0.8)
    axes.set_xlabel("net, weight layers")
    axes.set_ylabel("top-1 error, %")
    axes.grid(visible=False, axis="x")
    return places


def _offset(one: object, beside: Sequence[object]) -> float:
    """Return the distance of one of several marks that stand side by side from the place of their net."""
    return min(0.3, 1.2 / len(beside)) * (beside.index(one) - (len(beside) - 1) / 2)


def _error_bar(axes: Axes, x: float, estimate: Estimate, net: Net) -> None:
    whiskers = [[estimate.mean - estimate.low], [estimate.high - estimate.mean]]
    fill = style.PAPER if norm_of(net.arch) == "batch" else SCALE_MARKS[net.scale]["color"]
    mark = {**SCALE_MARKS[net.scale], "markerfacecolor": fill}
    axes.errorbar(x, estimate.mean, yerr=whiskers, capsize=3, markersize=6, **mark)


def claims(findings: Findings) -> Iterator[Figure]:
    """Draw the difference behind each claim with its interval."""
    rows = [
        (component.label, component.difference, judgement.verdict)
        for judgement in findings.judgements
        for component in judgement.components
    ]
    if not rows:
        return
    fig = MplFigure((style.WIDE, 0.8 + 0.32 * len(rows)))
    axes = fig.subplots()
    axes.axvline(0, color=MUTED, linewidth=1)
    for place, (_, difference, verdict) in enumerate(rows):
        colour = VERDICT_COLOURS.get(verdict, MUTED)
        axes.plot([difference.low, difference.high], [place, place], color=colour, linewidth=2, solid_capstyle="butt")
        inside = colour if verdict in VERDICT_COLOURS else style.PAPER
        axes.plot(difference.mean, place, marker="o", color=colour, markerfacecolor=inside)
        axes.text(1.02, place, verdict, transform=axes.get_yaxis_transform(), va="center", color=colour)
    style.name_rows(axes, [textwrap.fill(label, 34) for label, _, _ in rows])
    axes.set_xlabel("difference in top-1 error, points (left of 0: lower error)")
    words = "; ".join(
        f"{label} {one.mean:+.1f} [{one.low:+.1f}, {one.high:+.1f}], {verdict}" for label, one, verdict in rows
    )
    yield style.figure(
        fig,
        "claims",
        "claims",
        "Differences behind the claims",
        f"Each difference with its {INTERVAL} and the verdict on its claim; an open mark is no decision.",
        f"Differences in top-1 error in points: {words}.",
        ("claims.json",),
        wide=True,
    )


def pairs(findings: Findings) -> Iterator[Figure]:
    """Draw the differences of all pairs of nets as a matrix: the row's top-1 error minus the column's."""
    if not (comparisons := findings.comparisons):
        return
    archs = list(dict.fromkeys(arch for one in comparisons for arch in (one.first, one.second)))
    points = np.full((len(archs), len(archs)), np.nan)
    fig = MplFigure((1.2 + 0.64 * len(archs), 0.9 + 0.4 * len(archs)))
    axes = fig.subplots()
    for one in comparisons:
        first, second = archs.index(one.first), archs.index(one.second)
        points[second, first], points[first, second] = one.difference.mean, -one.difference.mean
        for row, column in ((first, second), (second, first)):
            text = f"{points[row, column]:+.1f}".replace("-", "\u2212")  # as on matplotlib's axes
            axes.text(column, row, text, ha="center", va="center", fontweight="bold" if one.better else "normal")
            if one.better:
                axes.add_patch(Rectangle((column - 0.46, row - 0.46), 0.92, 0.92, fill=False, linewidth=1.4))
    limit = 2 * np.nanmax(np.abs(points)) or 1.0  # half of the colours: text on the others has too little contrast
    style.heat_map(axes, points, archs, cmap="PuOr_r", vmin=-limit, vmax=limit)
    axes.set_xticks(range(len(archs)), archs)
    axes.set_xlabel("minus the error of")
    axes.set_ylabel("error of")
    words = "; ".join(
        f"{one.second} minus {one.first} {one.difference.mean:+.1f}{' (decided)' if one.better else ''}"
        for one in comparisons
    )
    yield style.figure(
        fig,
        "pairs",
        "pairs",
        "All pairs of nets",
        "Top-1 error of the row's net minus that of the column's net, points; a frame marks a decided pair.",
        f"Differences in top-1 error in points: {words}.",
        ("tables/pairs.csv",),
        wide=False,
    )


def error_by_protocol(findings: Findings) -> Iterator[Figure]:
    """Draw the nets' top-1 error under each test protocol, a panel a training scale that has several protocols."""
    study = findings.study
    scales = [scale for scale in study.scales if len(study.protocols(scale)) > 1]
    if not scales:
        return
    fig = MplFigure((max(style.NARROW, 2.53 * len(scales)), 1.3 + 0.28 * len(study.archs)))
    words = []
    for axes, scale in zip(
        fig.subplots(1, len(scales), sharex=True, sharey=True, squeeze=False)[0], scales, strict=True
    ):
        protocols, nets = study.protocols(scale), study.at(scale)
        errors = np.array([[estimate_of(study, net.arch, scale, one).mean for net in nets] for one in protocols])
        rows = [study.archs.index(net.arch) for net in nets]
        axes.hlines(rows, errors.min(axis=0), errors.max(axis=0), color=LINE, linewidth=3, zorder=1)
        for protocol, means in zip(protocols, errors, strict=True):
            axes.plot(means, rows, linestyle="none", alpha=0.9, **PROTOCOL_MARKS[protocol])
        axes.set_title(f"Trained at scale {scale}")
        axes.set_xlabel("top-1 error, %")
        style.name_rows(axes, study.archs)
        means = zip(protocols, errors.mean(axis=1), strict=True)
        words.append(f"{scale} scale: " + ", ".join(f"{PROTOCOLS[one]} {mean:.1f}" for one, mean in means))
    used = {one for scale in scales for one in study.protocols(scale)}
    marks = {PROTOCOLS[one]: mark for one, mark in PROTOCOL_MARKS.items() if one in used}
    style.legend(fig, marks, columns=5 if len(scales) > 2 else 3)
    yield style.figure(
        fig,
        "error-by-protocol",
        "paper",
        "Top-1 error by test protocol",
        "Mean over the runs of each net under each test protocol of section 3.2.",
        f"Top-1 error in percent, mean over the nets: {'; '.join(words)}.",
        ("ablation.csv",),
        wide=len(scales) > 1,
    )


def costs(findings: Findings) -> Iterator[Figure]:
    """Draw top-1 error against parameters, multiply-accumulates, and the operations of search and training."""
    study = findings.study
    points = [(net, operations(study, net), _estimate(study, net)) for net in study.nets]
    lead = [point for point in points if point[0].scale == study.scales[0]]
    fig = MplFigure((style.WIDE, 2.9))
    all_axes = fig.subplots(1, 3, sharey=True)
    values = {
        "parameters, millions": [(net.params / 1e6, net, one) for net, _, one in lead],
        "multiply-accumulates of a crop, millions": [(1e3 * net.gmacs, net, one) for net, _, one in lead],
        "operations of search and training": [(taken, net, one) for net, taken, one in points],
    }
    for axes, (label, marks) in zip(all_axes, values.items(), strict=True):
        for place, (x, net, estimate) in enumerate(marks):
            _error_bar(axes, x, estimate, net)
            if net.scale == study.scales[0] and norm_of(net.arch) == study.norms[0]:
                offset = (4, 3 if place % 2 else -10)  # nets of one size are neighbours
                axes.annotate(
                    plain(net.arch), (x, estimate.mean), xytext=offset, textcoords="offset points", fontsize=8
                )
        axes.margins(x=0.15)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.set_xlabel(label, fontsize=8)
    axes = all_axes[-1]
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda number, _: f"{number:.0e}".replace("e+", "e"))
    axes.xaxis.set_minor_locator(NullLocator())
    all_axes[0].set_ylabel("top-1 error, %")
    open_mark = {"batch normalisation": BATCH} if "batch" in study.norms else {}
    style.legend(fig, {**{scale: SCALE_MARKS[scale] for scale in study.scales}, **open_mark}, columns=4)
    words = "; ".join(
        f"{net.arch} ({net.scale}) {net.params / 1e6:.2f} M, {1e3 * net.gmacs:.0f} M, {taken:.1e}, {one.mean:.1f} %"
        for net, taken, one in points
    )
    yield style.figure(
        fig,
        "costs",
        "cost",
        "Top-1 error against parameters, multiply-accumulates and compute",
        "The first two at one training scale. Operations: two a multiply-accumulate, three forward passes a training "
        "step, times the images trained on.",
        f"Parameters, multiply-accumulates, operations and top-1 error by net and training scale: {words}.",
        ("ablation.csv", "tables/cost.csv"),
        wide=True,
        png=True,
    )
