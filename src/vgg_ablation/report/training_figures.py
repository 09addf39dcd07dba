"""The figures of the search and of the training."""

import math
import warnings
from collections.abc import Iterator

import matplotlib as mpl
import numpy as np
import optuna
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import NullLocator
from optuna.distributions import FloatDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

from vgg_ablation import paper
from vgg_ablation.analysis.study import Net, Study
from vgg_ablation.report.drawing import (
    BAD,
    INK,
    MUTED,
    OURS,
    SECOND,
    SMALL_SIZE,
    THIRD,
    Drawing,
    drawing,
)

ACCURACY_COLOURS = mpl.colormaps["viridis"].resampled(32)  # a bar of more than 50 would become a bitmap

# The marks of `search` and its key.
COMPLETE = {"linestyle": "none", "marker": "o", "markersize": 6.5, "color": INK, "markerfacecolor": MUTED}
PRUNED = {"linestyle": "none", "marker": "v", "markersize": 6, "color": MUTED, "markerfacecolor": "none"}
FAILED = {"linestyle": "none", "marker": "x", "markersize": 6.5, "color": BAD, "markeredgewidth": 1.6}
PAPERS = {"linestyle": "none", "marker": "D", "markersize": 13, "color": MUTED, "markerfacecolor": "none", "zorder": 4}
CHOSEN = {"linestyle": "none", "marker": "o", "markersize": 13, "color": INK, "markerfacecolor": "none", "zorder": 5}

FEWEST_TRIALS = 4  # of which the better half is held against all


# The search


def searches(study: Study) -> Iterator[Drawing]:
    """Draw the key to the searches, then each net's trials by learning rate and weight decay."""
    yield search_key(study)
    for arch in study.archs:
        yield search(next(net for net in study.nets if net.arch == arch), study)


def search(net: Net, study: Study) -> Drawing:
    """Draw a net's trials by learning rate and weight decay, coloured by validation accuracy (see `search_key`)."""
    trials = study.trials[study.trials["arch"] == net.arch]
    figure = Figure(SMALL_SIZE)
    axes = figure.subplots(gridspec_kw={"left": 0.21, "right": 0.98, "bottom": 0.15, "top": 0.91})
    axes.set_title(net.arch)
    axes.set_xscale("log")
    axes.set_yscale("log")
    failed = trials[(trials["outcome"] != "") | (trials["state"] == "failed")]
    pruned = trials[(trials["outcome"] == "") & (trials["state"] == "pruned")]
    complete = _complete(trials)
    rates, decays = net.tuned.space["learning_rate"], net.tuned.space["weight_decay"]
    axes.add_patch(
        Rectangle(
            (rates[0], decays[0]), rates[1] - rates[0], decays[1] - decays[0], fill=False, edgecolor=MUTED,
            linestyle="--", linewidth=0.9,
        )
    )  # fmt: skip
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
    axes.plot(paper.LEARNING_RATE, paper.WEIGHT_DECAY, **PAPERS)
    axes.plot(net.tuned.learning_rate, net.tuned.weight_decay, **CHOSEN)
    axes.set_xlim(_reach(rates, paper.LEARNING_RATE))
    axes.set_ylim(_reach(decays, paper.WEIGHT_DECAY))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.set_minor_locator(NullLocator())
    axes.set_xlabel("learning rate")
    axes.set_ylabel("weight decay")
    tuned = net.tuned
    edge = f"; at the edge of the space: {', '.join(tuned.at_edge).replace('_', ' ')}" if tuned.at_edge else ""
    words = (
        f"Trials of net {net.arch}: {tuned.complete} complete, {tuned.pruned} pruned, {tuned.diverged} diverged, "
        f"{tuned.at_chance} at chance; chosen learning rate {tuned.learning_rate:.3g}, weight decay "
        f"{tuned.weight_decay:.3g}{edge}."
    )
    return drawing(figure, f"search-{net.arch}", f"The search of net {net.arch}", words, trials)


def _complete(trials: pd.DataFrame) -> pd.DataFrame:
    return trials[(trials["outcome"] == "") & (trials["state"] == "complete")].dropna(subset="validation_accuracy")


def _reach(space: tuple[float, float], paper: float) -> tuple[float, float]:
    """Return the ends of an axis that shows the whole space and the paper's value, with room for marks."""
    return min(space[0], paper) / 1.8, max(space[1], paper) * 1.8


def search_key(study: Study) -> Drawing:
    """Draw what the marks and colours of `search` mean."""
    figure = Figure((4.2, 1.5))
    marks = {
        "complete": COMPLETE,
        "pruned": PRUNED,
        "diverged or at chance": FAILED,
        "chosen": CHOSEN,
        "the paper's point": PAPERS,
        "edge of the space": {"color": MUTED, "linestyle": "--", "linewidth": 0.9},
    }
    handles = [Line2D([], [], **mark) for mark in marks.values()]
    figure.legend(handles, list(marks), loc="upper left", ncols=2, labelspacing=0.9)
    norm = _accuracy_scale(study.trials)
    bar = figure.colorbar(
        ScalarMappable(norm, ACCURACY_COLOURS), cax=figure.add_axes((0.04, 0.3, 0.92, 0.1)), orientation="horizontal"
    )
    bar.outline.set_visible(False)
    bar.solids.set_edgecolor("face")  # pyright: ignore[reportOptionalMemberAccess] - no seams between its steps
    bar.set_label("validation accuracy, %")
    return drawing(
        figure,
        "search-key",
        "Marks of the search",
        f"Colours run from dark to bright as validation accuracy goes from {norm.vmin:.1f} to {norm.vmax:.1f} %; "
        "marks tell how a trial ended.",
        pd.DataFrame({"colour": ["darkest", "brightest"], "validation_accuracy": [norm.vmin, norm.vmax]}),
    )


def _accuracy_scale(trials: pd.DataFrame) -> Normalize:
    """Return one colour scale for all nets, over the trials that ran to their end."""
    complete = _complete(trials)["validation_accuracy"]
    if complete.empty:
        return Normalize(0, 100)
    low, high = float(complete.min()), float(complete.max())
    return Normalize(low, high) if low < high else Normalize(low - 1, high + 1)


def importances(study: Study) -> Iterator[Drawing]:
    """Draw how much learning rate and weight decay matter to a net's validation accuracy; see `importance`."""
    found = {
        arch: shares
        for arch in study.archs
        if (shares := importance(next(net for net in study.nets if net.arch == arch), study.trials))
    }
    if not found:
        return
    figure = Figure((4.6, 1.2 + 0.32 * len(found)), layout="constrained")
    axes = figure.subplots()
    archs = list(found)
    left = np.zeros(len(archs))
    for setting, colour in (("learning_rate", OURS), ("weight_decay", THIRD)):
        shares = np.array([100 * found[arch][setting] for arch in archs])
        axes.barh(
            range(len(archs)), shares, left=left, height=0.68, color=colour, alpha=0.75, label=setting.replace("_", " ")
        )
        left += shares
    axes.set_yticks(range(len(archs)), archs)
    axes.tick_params(axis="y", labelcolor=INK, length=0)
    axes.set_ylim(len(archs) - 0.4, -0.6)
    axes.set_xlim(0, 100)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("share of the importance, %")
    figure.legend(loc="outside lower center", ncols=2)
    data = pd.DataFrame([{"net": arch, **shares} for arch, shares in found.items()])
    words = "; ".join(f"{arch} {100 * shares['learning_rate']:.0f}" for arch, shares in found.items())
    yield drawing(
        figure,
        "importances",
        "What mattered in the search",
        f"Share of the learning rate in the importance of the two settings, percent, by net: {words}.",
        data,
    )


def importance(net: Net, trials: pd.DataFrame) -> dict[str, float] | None:
    """Return the shares of learning rate and weight decay in what sets the better half of a net's trials apart.

    PED-ANOVA (Watanabe et al. 2023) as Optuna has it, on the trials that ran to their end, a diverged one with the
    accuracy 0. None with too few trials to tell.
    """
    ended = trials[(trials["arch"] == net.arch) & (trials["state"] == "complete")]
    if len(ended) < FEWEST_TRIALS:
        return None
    space = {name: FloatDistribution(*net.tuned.space[name], log=True) for name in ("learning_rate", "weight_decay")}
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        search = optuna.create_study(direction="maximize")
    finally:
        optuna.logging.set_verbosity(verbosity)
    for row in ended.to_dict("records"):
        accuracy = row["validation_accuracy"]
        search.add_trial(
            optuna.create_trial(
                params={name: row[name] for name in space},
                distributions=dict(space),
                value=0.0 if math.isnan(accuracy) else accuracy,
            )
        )
    try:
        with warnings.catch_warnings(action="error", category=UserWarning):
            shares = get_param_importances(search, evaluator=PedAnovaImportanceEvaluator(target_quantile=0.5))
    except UserWarning:  # Optuna's way to say that it cannot tell
        return None
    return {name: float(shares[name]) for name in space}


# Learning curves


def learning_curves(net: Net, study: Study) -> Drawing:
    """Draw training loss and validation accuracy by epoch, a line a run; runs that did not train are dashed."""
    at_scale = study.curves[study.curves["scale"] == net.scale]
    curves = at_scale[at_scale["arch"] == net.arch]
    untrained = {run.run for run in net.runs if run.did_not_train}
    chance = math.log(net.classes)
    figure = Figure(SMALL_SIZE)
    margins = {"left": 0.19, "right": 0.96, "bottom": 0.13, "top": 0.92, "hspace": 0.12}
    above, below = figure.subplots(2, 1, sharex=True, gridspec_kw=margins)
    above.set_title(net.arch if len(study.scales) == 1 else f"{net.arch}, {net.scale}")
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
    for axes in (above, below):
        axes.yaxis.set_label_coords(-0.155, 0.5)
    below.set_xlabel("epoch")
    # The same axes for every net, so that small multiples compare.
    above.set_ylim(0, 1.4 * chance)
    below.set_ylim(0, 100)
    if len(epochs := at_scale["epoch"]):
        below.set_xlim(epochs.min(), max(epochs.max(), epochs.min() + 1))
    below.xaxis.get_major_locator().set_params(integer=True)
    last = curves[curves["epoch"] == curves["epoch"].max()]["validation_accuracy"].dropna()
    end = f"validation accuracy ends between {last.min():.1f} and {last.max():.1f} %" if len(last) else "no accuracy"
    return drawing(
        figure,
        f"learning-{net.scale}-{net.arch}",
        f"Learning curves of net {net.arch}, training scale {net.scale}",
        f"Net {net.arch}, training scale {net.scale}: {len(net.runs)} runs, {net.did_not_train} did not train; {end}.",
        curves,
    )
