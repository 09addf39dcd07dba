"""The figures of errors: against depth, against the paper's claims, between nets, by test protocol, against compute."""

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, NullLocator

from vgg_ablation.analysis.claims import Judgement
from vgg_ablation.analysis.comparisons import Comparison
from vgg_ablation.analysis.statistics import Estimate
from vgg_ablation.analysis.study import Net, Study
from vgg_ablation.model.table1 import ABLATION
from vgg_ablation.paper import TABLE_3, TRAINING_SCALES, WEIGHT_LAYERS
from vgg_ablation.report.drawing import (
    BAD,
    INK,
    LINE,
    MUTED,
    OURS,
    PAIR_SIZE,
    PAPER,
    SECOND,
    THIRD,
    WIDE,
    Drawing,
    drawing,
    matrix_axes,
    opacity,
)
from vgg_ablation.report.tables import PROTOCOL_WORDS, estimate_of

SCALE_MARKS: dict[str, dict[str, Any]] = {
    "fixed": {"color": OURS, "marker": "o"},
    "large": {"color": SECOND, "marker": "s"},
    "jitter": {"color": THIRD, "marker": "D"},
}
PROTOCOL_MARKS: dict[str, dict[str, Any]] = {
    "centre": {"color": MUTED, "marker": "o", "markerfacecolor": "none"},
    "dense": {"color": OURS, "marker": "o"},
    "dense_scales": {"color": SECOND, "marker": "s"},
    "multi_crop": {"color": THIRD, "marker": "D"},
    "combined": {"color": INK, "marker": "^"},
}
VERDICT_COLOURS = {"reproduced": OURS, "contradicted": BAD}


# Error against depth


def error_by_depth(study: Study) -> Drawing:
    """Draw top-1 error against depth with its interval, a small dot a run, a kind of mark a training scale."""
    figure = Figure(PAIR_SIZE, layout="constrained")
    axes = figure.subplots()
    axes.set_title("This study")
    places = _places([(arch, _layers(study, arch)) for arch in study.archs])
    rows = []
    for scale in study.scales:
        protocol = _single_scale(study, scale)
        line = []
        for net in study.at(scale):
            beside = [other for other in study.scales if study.net(net.arch, other)]
            place, estimate = places[net.arch] + _shift(beside, scale), _estimate(study, net, protocol)
            if net.arch in ABLATION:
                line.append((place, estimate.mean))
            whiskers = [[estimate.mean - estimate.low], [estimate.high - estimate.mean]]
            axes.errorbar(
                place, estimate.mean, yerr=whiskers, capsize=3, markersize=6, linestyle="none", **SCALE_MARKS[scale]
            )
            for run in net.runs:
                error = run.protocols[protocol].top1_error
                _run_mark(axes, place - 0.13, error, SCALE_MARKS[scale]["color"], run.did_not_train)
                rows.append(_depth_row(net, protocol, f"run {run.run}", error, None, None))
            rows.append(_depth_row(net, protocol, "mean", estimate.mean, estimate.low, estimate.high))
        axes.plot(
            [x for x, _ in line],
            [y for _, y in line],
            color=SCALE_MARKS[scale]["color"],
            linewidth=0.8,
            alpha=0.5,
            zorder=1,
        )
    _depth_axes(axes, places, {arch: _layers(study, arch) for arch in study.archs})
    _scale_legend(axes, study.scales)
    words = "; ".join(
        f"{net.arch} {_interval(_estimate(study, net, _single_scale(study, scale)))}"
        + (f" (S {scale})" if len(study.scales) > 1 else "")
        for scale in study.scales
        for net in study.at(scale)
    )
    return drawing(
        figure,
        "error-by-depth",
        "Top-1 error against depth, this study",
        f"Top-1 error in percent with its 95 % interval, by net: {words}.",
        pd.DataFrame(rows),
    )


def _depth_row(net: Net, protocol: str, measure: str, error: float, low: float | None, high: float | None) -> dict:
    return {
        "net": net.arch, "weight_layers": net.weight_layers, "scale": net.scale, "protocol": protocol,
        "measure": measure, "top1_error": error, "low": low, "high": high,
    }  # fmt: skip


def paper_by_depth() -> Drawing:
    """Draw the paper's top-1 errors of Table 3 against depth."""
    figure = Figure(PAIR_SIZE, layout="constrained")
    axes = figure.subplots()
    axes.set_title("The paper, ImageNet")
    places = _places(list(WEIGHT_LAYERS.items()))
    rows = []
    for scale, found in TABLE_3.items():
        xs = [places[arch] + _shift([other for other in TABLE_3 if arch in TABLE_3[other]], scale) for arch in found]
        axes.plot(xs, [errors.top1 for errors in found.values()], markersize=6, linewidth=0.8, **SCALE_MARKS[scale])
        rows += [
            {
                "net": arch, "weight_layers": WEIGHT_LAYERS[arch], "S": TRAINING_SCALES[scale],
                "top1_error": errors.top1, "top5_error": errors.top5,
            }
            for arch, errors in found.items()
        ]  # fmt: skip
    _depth_axes(axes, places, WEIGHT_LAYERS)
    axes.margins(y=0.12)
    _scale_legend(axes, [f"{scale}, S {TRAINING_SCALES[scale]}" for scale in TABLE_3])
    words = ". ".join(
        f"S {TRAINING_SCALES[scale]}: " + "; ".join(f"{arch} {errors.top1:.1f}" for arch, errors in found.items())
        for scale, found in TABLE_3.items()
    )
    return drawing(
        figure,
        "error-by-depth-paper",
        "Top-1 error against depth, the paper",
        f"The paper's top-1 error in percent at one test scale, by training scale and net. {words}.",
        pd.DataFrame(rows),
    )


def _single_scale(study: Study, scale: str) -> str:
    """Return the protocol of Table 3 at a training scale: dense at one test scale, where it was evaluated."""
    protocols = study.protocols(scale)
    return "dense" if "dense" in protocols else protocols[0]


def _estimate(study: Study, net: Net, protocol: str) -> Estimate:
    return estimate_of(study, net.arch, net.scale, protocol)


def _layers(study: Study, arch: str) -> int:
    return next(net.weight_layers for net in study.nets if net.arch == arch)


def _places(depths: Sequence[tuple[str, int]]) -> dict[str, float]:
    """Return each net's place on the depth axis; nets of one depth stand side by side."""
    places: dict[str, float] = {}
    for arch, layers in depths:
        beside = [other for other, depth in depths if depth == layers]
        places[arch] = layers + 1.15 * (beside.index(arch) - (len(beside) - 1) / 2)
    return places


def _shift(scales: Sequence[str], scale: str) -> float:
    """Return how far from its net's place a training scale stands."""
    return 0.3 * (scales.index(scale) - (len(scales) - 1) / 2)


def _run_mark(axes: Axes, x: float, y: float, colour: str, untrained: bool) -> None:
    if untrained:
        axes.plot(x, y, marker="x", markersize=6, markeredgewidth=1.6, color=BAD)
    else:
        axes.plot(x, y, marker="o", markersize=2.6, color=colour, alpha=0.75, markeredgewidth=0)


def _depth_axes(axes: Axes, places: dict[str, float], layers: dict[str, int]) -> None:
    axes.set_xticks(list(places.values()), [f"{arch}\n{layers[arch]}" for arch in places])
    for label in axes.get_xticklabels():
        label.set_color(INK)
    axes.set_xlabel("net, and its weight layers")
    axes.set_ylabel("top-1 error, %")
    axes.set_xlim(min(places.values()) - 0.8, max(places.values()) + 0.8)
    axes.grid(visible=False, axis="x")


def _scale_legend(axes: Axes, labels: Sequence[str]) -> None:
    """Explain the marks of the training scales, each named by its label's first word, where there are several."""
    if len(labels) > 1:
        marks = [SCALE_MARKS[label.partition(",")[0]] for label in labels]
        handles = [Line2D([], [], linestyle="none", markersize=6, **mark) for mark in marks]
        axes.figure.legend(handles, labels, loc="outside lower center", ncols=3, handletextpad=0.3)


# What the claims and the pairs of nets come to


def claims(judgements: Sequence[Judgement]) -> Iterator[Drawing]:
    """Draw the difference behind each claim with its interval; nothing where no claim could be asked."""
    rows = [
        {
            "claim": judgement.claim.text, "verdict": judgement.verdict, "difference": label, "runs": difference.runs,
            "points": difference.mean, "low": difference.low, "high": difference.high, "p_holm": adjusted,
        }
        for judgement in judgements
        for label, difference, adjusted in judgement.differences
    ]  # fmt: skip
    if not rows:
        return
    data = pd.DataFrame(rows)
    figure = Figure((WIDE, 0.9 + 0.3 * len(data)), layout="constrained")
    axes = figure.subplots()
    axes.axvline(0, color=MUTED, linewidth=1)
    for place, row in enumerate(rows):
        colour = VERDICT_COLOURS.get(row["verdict"], MUTED)
        axes.plot([row["low"], row["high"]], [place, place], color=colour, linewidth=2, solid_capstyle="butt")
        inside = colour if row["verdict"] in VERDICT_COLOURS else PAPER
        axes.plot(row["points"], place, marker="o", markersize=6, color=colour, markerfacecolor=inside)
        axes.annotate(
            row["verdict"], (1, place), xycoords=("axes fraction", "data"), xytext=(6, 0), va="center",
            textcoords="offset points", color=colour, annotation_clip=False,
        )  # fmt: skip
    axes.set_yticks(range(len(rows)), [row["difference"] for row in rows])
    for label in axes.get_yticklabels():
        label.set_color(INK)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("difference in top-1 error, points (left of 0: lower)")
    words = "; ".join(
        f"{row['difference']} {row['points']:+.1f} [{row['low']:+.1f}, {row['high']:+.1f}], {row['verdict']}"
        for row in rows
    )
    yield drawing(
        figure,
        "claims",
        "The differences behind the claims",
        f"Differences in top-1 error in points: {words}.",
        data,
        wide=True,
    )


def pairs(comparisons: Sequence[Comparison]) -> Iterator[Drawing]:
    """Draw all pairs of nets as a matrix: the row's top-1 error less the column's."""
    if not comparisons:
        return
    archs = list(dict.fromkeys([comparisons[0].first, *(one.second for one in comparisons)]))
    rows = [
        {
            "first": one.first, "second": one.second, "points": one.difference.mean, "low": one.difference.low,
            "high": one.difference.high, "p_holm": one.p_adjusted, "decided": one.better is not None,
        }
        for one in comparisons
    ]  # fmt: skip
    largest = max(abs(row["points"]) for row in rows) or 1.0
    figure = Figure((5.2, 0.9 + 0.52 * len(archs)), layout="constrained")
    axes = figure.subplots()
    for row in rows:
        for first, second, sign in ((row["first"], row["second"], -1), (row["second"], row["first"], 1)):
            x, y, points = archs.index(second), archs.index(first), sign * row["points"]
            colour = OURS if points < 0 else THIRD
            _cell(axes, x, y, colour, abs(points) / largest)
            text = f"{points:+.1f}".replace("-", "\u2212")  # as on the axes
            axes.text(x, y, text, ha="center", va="center", fontweight="bold" if row["decided"] else "normal")
            if row["decided"]:
                axes.add_patch(Rectangle((x - 0.46, y - 0.46), 0.92, 0.92, fill=False, edgecolor=INK, linewidth=1.4))
    for place in range(len(archs)):
        axes.text(place, place, "–", ha="center", va="center", color=MUTED)
    matrix_axes(axes, archs, archs)
    axes.set_xlabel("less the error of")
    axes.set_ylabel("error of")
    words = "; ".join(
        f"{row['second']} less {row['first']} {row['points']:+.1f}{', decided' if row['decided'] else ''}"
        for row in rows
    )
    yield drawing(
        figure, "pairs", "All pairs of nets", f"Differences in top-1 error in points: {words}.", pd.DataFrame(rows)
    )


def _cell(axes: Axes, x: float, y: float, colour: str, share: float) -> None:
    axes.add_patch(Rectangle((x - 0.46, y - 0.46), 0.92, 0.92, facecolor=colour, alpha=opacity(share), linewidth=0))


# Error by test protocol


def error_by_protocol(study: Study) -> Iterator[Drawing]:
    """Draw the nets' top-1 error under each test protocol, a panel a training scale that has several."""
    several = [scale for scale in study.scales if len(study.protocols(scale)) > 1]
    if not several:
        return
    archs = study.archs
    figure = Figure((max(4.6, 2.6 * len(several)), 1.5 + 0.36 * len(archs)), layout="constrained")
    panels = figure.subplots(1, len(several), sharey=True, squeeze=False)[0]
    rows, used = [], []
    for axes, scale in zip(panels, several, strict=True):
        axes.set_title(f"Trained at scale: {scale}")
        for net in study.at(scale):
            errors = {protocol: _estimate(study, net, protocol) for protocol in study.protocols(scale)}
            place = archs.index(net.arch)
            means = [estimate.mean for estimate in errors.values()]
            axes.plot(
                [min(means), max(means)], [place, place], color=LINE, linewidth=3, solid_capstyle="round", zorder=1
            )
            for protocol, estimate in errors.items():
                axes.plot(estimate.mean, place, linestyle="none", markersize=6.5, alpha=0.9, **PROTOCOL_MARKS[protocol])
                used += [protocol]
                rows.append(
                    {
                        "net": net.arch, "scale": scale, "protocol": protocol, "top1_error": estimate.mean,
                        "low": estimate.low, "high": estimate.high,
                    }
                )  # fmt: skip
        axes.set_yticks(range(len(archs)), archs)
        axes.tick_params(axis="y", labelcolor=INK, length=0)
        axes.set_ylim(len(archs) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("top-1 error, %")
    marks = {protocol: mark for protocol, mark in PROTOCOL_MARKS.items() if protocol in used}
    handles = [Line2D([], [], linestyle="none", markersize=6.5, **mark) for mark in marks.values()]
    figure.legend(
        handles, [PROTOCOL_WORDS[name] for name in marks], loc="outside lower center", handletextpad=0.3,
        ncols=3 if len(several) > 1 else 2,
    )  # fmt: skip
    data = pd.DataFrame(rows)
    words = "; ".join(
        f"{scale}, {PROTOCOL_WORDS[str(protocol)]} {group['top1_error'].mean():.1f}"
        for (scale, protocol), group in data.groupby(["scale", "protocol"], sort=False)
    )
    yield drawing(
        figure,
        "error-by-protocol",
        "Top-1 error by test protocol",
        f"Top-1 error in percent, mean over the nets, by training scale and test protocol: {words}.",
        data,
        wide=len(several) > 1,
    )


# Error against compute


def compute(study: Study) -> Drawing:
    """Draw top-1 error against the operations that search and training took, a figure free of clocks.

    A multiply-accumulate is two operations, a step with its backward pass three forward ones, and images of other
    training scales count as the crops that they give, of one size.
    """
    figure = Figure(PAIR_SIZE, layout="constrained")
    axes = figure.subplots()
    axes.set_xscale("log")
    rows = []
    for scale in study.scales:
        protocol = _single_scale(study, scale)
        for net in study.at(scale):
            images = _images_of_training(study, net)
            taken = 6e9 * net.gmacs * images
            estimate = _estimate(study, net, protocol)
            whiskers = [[estimate.mean - estimate.low], [estimate.high - estimate.mean]]
            axes.errorbar(taken, estimate.mean, yerr=whiskers, capsize=3, markersize=6, **SCALE_MARKS[scale])
            axes.annotate(net.arch, (taken, estimate.mean), xytext=(6, 4), textcoords="offset points")
            rows.append(
                {
                    "net": net.arch, "scale": scale, "images_trained_on": images, "gmacs": net.gmacs,
                    "operations": taken, "protocol": protocol, "top1_error": estimate.mean,
                    "low": estimate.low, "high": estimate.high,
                }
            )  # fmt: skip
    axes.xaxis.set_major_formatter(lambda operations, _: f"{operations:.0e}".replace("e+", "e"))
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("operations of search and training")
    axes.set_ylabel("top-1 error, %")
    operations = [row["operations"] for row in rows]
    axes.set_xlim(min(operations) / 1.5, max(operations) * 1.8)
    _scale_legend(axes, study.scales)
    words = "; ".join(
        f"{row['net']} ({row['scale']}) {row['operations']:.1e} and {row['top1_error']:.1f}" for row in rows
    )
    return drawing(
        figure,
        "compute",
        "Error against compute",
        f"Operations of search and training, and top-1 error in percent, by net and training scale: {words}.",
        pd.DataFrame(rows),
    )


def _images_of_training(study: Study, net: Net) -> int:
    """Return how many images a net had seen when it was trained at its scale, search and earlier scales included."""
    of_net = study.costs[study.costs["arch"] == net.arch]
    scales = study.scales[: study.scales.index(net.scale) + 1]
    trained = of_net["stage"].str.startswith("train") & of_net["scale"].isin(scales)
    return int(of_net[(of_net["stage"] == "tune") | trained]["images"].sum())


def _interval(estimate: Estimate) -> str:
    return f"{estimate.mean:.1f} [{estimate.low:.1f}, {estimate.high:.1f}]"
