"""The report's figures as SVG to stand inside a page: the same data give the same bytes.

Colours are names of the page's CSS variables, so that one drawing serves light and dark pages; text stays text.
"""

import io
import math
import re
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from vgg_ablation.report.inputs import Net, Study
from vgg_ablation.report.published import PAPER_POINT, SINGLE_SCALE, WEIGHT_LAYERS
from vgg_ablation.report.tables import Row

# Stand-ins, replaced in the SVG by the page's variables: matplotlib knows no such colour.
INK, MUTED, LINE, OURS, SECOND, BAD = "#010101", "#020202", "#030303", "#040404", "#050505", "#060606"
VARIABLES = {INK: "ink", MUTED: "muted", LINE: "line", OURS: "ours", SECOND: "second", BAD: "bad"}

STYLE: dict[Any, Any] = {
    # Nobody's own matplotlibrc may change the bytes.
    **{name: value for name, value in mpl.rcParamsDefault.items() if name != "backend"},
    "svg.fonttype": "none",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.minor.visible": False,
    "figure.facecolor": "none",
    "legend.frameon": False,
    "lines.linewidth": 1.2,
}

ACCURACY_COLOURS = mpl.colormaps["viridis"].resampled(32)  # a bar of more than 50 would become a bitmap

# The marks of single runs in `ours_by_depth`.
RUN: dict[str, Any] = {"marker": "o", "markersize": 3, "color": OURS}
RUN_UNTRAINED: dict[str, Any] = {"marker": "x", "markersize": 6, "markeredgewidth": 1.6, "color": BAD}

# The marks of `search` and its key.
COMPLETE = {"linestyle": "none", "marker": "o", "markersize": 6.5, "color": INK, "markerfacecolor": MUTED}
PRUNED = {"linestyle": "none", "marker": "v", "markersize": 6, "color": MUTED, "markerfacecolor": "none"}
FAILED = {"linestyle": "none", "marker": "x", "markersize": 6.5, "color": BAD, "markeredgewidth": 1.6}
PAPER = {"linestyle": "none", "marker": "D", "markersize": 13, "color": MUTED, "markerfacecolor": "none", "zorder": 4}
CHOSEN = {"linestyle": "none", "marker": "o", "markersize": 13, "color": INK, "markerfacecolor": "none", "zorder": 5}

DEPTH_SIZE = (5.0, 3.5)  # inches of 72 CSS pixels
SMALL_SIZE = (4.2, 3.6)


@mpl.rc_context(STYLE)
def ours_by_depth(rows: Sequence[Row], study: Study) -> str:
    """Draw top-1 error with its interval against depth, a small dot a run; `rows` are those of one protocol."""
    figure = Figure(DEPTH_SIZE, layout="constrained")
    axes = figure.subplots()
    axes.set_title(f"This study, {rows[0].protocol}")
    places = _places([row.arch for row in rows])
    for row in rows:
        whiskers = [[row.top1_error - row.top1_error_low], [row.top1_error_high - row.top1_error]]
        axes.errorbar(places[row.arch], row.top1_error, yerr=whiskers, fmt="o", color=OURS, capsize=4, markersize=6.5)
        _name(axes, row.arch, places[row.arch], row.top1_error)
    for net in study.nets:
        for run in net.runs:
            mark = RUN_UNTRAINED if run.did_not_train else RUN
            axes.plot(places[net.arch] - 0.28, run.protocols[rows[0].protocol].top1_error, **mark)
    _depth_axes(axes)
    return _svg(figure, "ours-by-depth")


@mpl.rc_context(STYLE)
def paper_by_depth() -> str:
    """Draw the paper's top-1 errors of Table 3 at S = 256 against depth."""
    figure = Figure(DEPTH_SIZE, layout="constrained")
    axes = figure.subplots()
    axes.set_title("The paper, ImageNet, S = 256")
    places = _places(list(SINGLE_SCALE))
    for arch, errors in SINGLE_SCALE.items():
        axes.plot(places[arch], errors.top1, "s", color=MUTED, markersize=6.5)
        _name(axes, arch, places[arch], errors.top1)
    axes.margins(y=0.15)
    _depth_axes(axes)
    return _svg(figure, "paper-by-depth")


def _places(archs: Sequence[str]) -> dict[str, float]:
    """Return each net's place on the depth axis; nets of one depth stand side by side."""
    places: dict[str, float] = {}
    for arch in archs:
        beside = [other for other in archs if WEIGHT_LAYERS[other] == WEIGHT_LAYERS[arch]]
        places[arch] = WEIGHT_LAYERS[arch] + 0.9 * (beside.index(arch) - (len(beside) - 1) / 2)
    return places


def _name(axes: Axes, arch: str, x: float, y: float) -> None:
    axes.annotate(arch, (x, y), xytext=(7, 4), textcoords="offset points", fontweight="bold")


def _depth_axes(axes: Axes) -> None:
    axes.set_xlabel("weight layers")
    axes.set_ylabel("top-1 error, %")
    axes.set_xticks(sorted(set(WEIGHT_LAYERS.values())))
    axes.set_xlim(10, 20.5)
    axes.grid(visible=False, axis="x")


@mpl.rc_context(STYLE)
def learning_curves(net: Net, study: Study) -> str:
    """Draw training loss and validation accuracy by epoch, a line a run; runs that did not train are dashed."""
    curves = study.curves[study.curves["arch"] == net.arch]
    untrained = {run.run for run in net.runs if run.did_not_train}
    chance = math.log(net.classes)
    figure = Figure(SMALL_SIZE, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    above.set_title(net.arch)
    for run, curve in curves.groupby("run", sort=True):
        failed = run in untrained
        style = {"linestyle": "--", "color": BAD} if failed else {"alpha": 0.75}
        for axes, column, colour in ((above, "train_loss", OURS), (below, "validation_accuracy", SECOND)):
            values = curve[column].to_numpy(dtype=float)
            # A run that diverges leaves the axes long before it leaves the numbers that can be drawn.
            values = np.where(np.abs(values) < 1e6, values, np.nan)
            lone = {"marker": "."} if np.isfinite(values).sum() == 1 else {}
            axes.plot(curve["epoch"].to_numpy(), values, **{"color": colour, **style, **lone})
    above.axhline(chance, color=MUTED, linewidth=0.9, linestyle=":")
    below.axhline(100 / net.classes, color=MUTED, linewidth=0.9, linestyle=":")
    above.set_ylabel("training loss")
    below.set_ylabel("validation\naccuracy, %")
    below.set_xlabel("epoch")
    # The same axes for every net, so that small multiples compare.
    above.set_ylim(0, 1.4 * chance)
    below.set_ylim(0, 100)
    if len(epochs := study.curves["epoch"]):
        below.set_xlim(epochs.min(), max(epochs.max(), epochs.min() + 1))
    below.xaxis.get_major_locator().set_params(integer=True)
    figure.align_ylabels()
    return _svg(figure, f"learning-{net.arch}")


@mpl.rc_context(STYLE)
def search(net: Net, study: Study) -> str:
    """Draw a net's trials by learning rate and weight decay, coloured by validation accuracy (see `search_key`)."""
    trials = study.trials[study.trials["arch"] == net.arch]
    figure = Figure(SMALL_SIZE, layout="constrained")
    axes = figure.subplots()
    axes.set_title(net.arch)
    axes.set_xscale("log")
    axes.set_yscale("log")
    failed = trials[(trials["outcome"] != "") | (trials["state"] == "failed")]
    pruned = trials[(trials["outcome"] == "") & (trials["state"] == "pruned")]
    complete = trials[(trials["outcome"] == "") & (trials["state"] == "complete")]
    axes.plot(pruned["learning_rate"], pruned["weight_decay"], **PRUNED)
    axes.plot(failed["learning_rate"], failed["weight_decay"], **FAILED)
    axes.scatter(
        complete["learning_rate"].to_numpy(),
        complete["weight_decay"].to_numpy(),
        c=complete["validation_accuracy"].to_numpy(dtype=float),
        cmap=ACCURACY_COLOURS,
        norm=_accuracy_scale(study.trials),
        s=46,
        edgecolors=INK,
        linewidths=0.7,
        zorder=3,
    )
    axes.plot(*PAPER_POINT, **PAPER)
    axes.plot(net.tuned.learning_rate, net.tuned.weight_decay, **CHOSEN)
    axes.set_xlim(_reach(net.tuned.space["learning_rate"], PAPER_POINT[0]))
    axes.set_ylim(_reach(net.tuned.space["weight_decay"], PAPER_POINT[1]))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("learning rate")
    axes.set_ylabel("weight decay")
    return _svg(figure, f"search-{net.arch}")


def _reach(space: tuple[float, float], paper: float) -> tuple[float, float]:
    """Return the ends of an axis that shows the whole space and the paper's value, with room for marks."""
    return min(space[0], paper) / 1.8, max(space[1], paper) * 1.8


@mpl.rc_context(STYLE)
def search_key(study: Study) -> str:
    """Draw what the marks and colours of `search` mean."""
    figure = Figure((4.2, 1.5))
    marks = {
        "complete": COMPLETE,
        "pruned": PRUNED,
        "diverged or at chance": FAILED,
        "chosen": CHOSEN,
        "the paper's point": PAPER,
    }
    handles = [Line2D([], [], **mark) for mark in marks.values()]
    figure.legend(handles, list(marks), loc="upper left", ncols=2, labelspacing=0.9)
    bar = figure.colorbar(
        ScalarMappable(_accuracy_scale(study.trials), ACCURACY_COLOURS),
        cax=figure.add_axes((0.04, 0.3, 0.92, 0.1)),
        orientation="horizontal",
    )
    bar.outline.set_visible(False)
    bar.solids.set_edgecolor("face")  # pyright: ignore[reportOptionalMemberAccess] - no seams between its steps
    bar.set_label("validation accuracy, %")
    return _svg(figure, "search-key")


def _accuracy_scale(trials: pd.DataFrame) -> Normalize:
    """Return one colour scale for all nets, over the trials that ran to their end."""
    complete = trials[(trials["outcome"] == "") & (trials["state"] == "complete")]["validation_accuracy"].dropna()
    if complete.empty:
        return Normalize(0, 100)
    low, high = float(complete.min()), float(complete.max())
    return Normalize(low, high) if low < high else Normalize(low - 1, high + 1)


def _svg(figure: Figure, name: str) -> str:
    """Return the drawing as one `svg` element for an HTML page, as wide as its container, with nothing but the drawing.

    `name` keeps the ids of clip paths and markers apart from those of other drawings on the page.
    """
    buffer = io.StringIO()
    FigureCanvasSVG(figure)
    with mpl.rc_context({"svg.hashsalt": f"vgg-ablation {name}"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # Ids of groups are the same in every drawing, and a page may hold an id once.
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r'(<svg) .*?(viewBox="[^"]*").*?>', r"\1 \2>", text, count=1, flags=re.DOTALL)
    # Inside HTML these prefixes are neither needed nor, as addresses, welcome.
    text = text.replace("xlink:href", "href")
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var(--{variable})")
    return text.strip()
