"""Figures of the search and of the training runs."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure as MplFigure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, NullLocator

from vgg_ablation.analysis.findings import Findings
from vgg_ablation.analysis.search import complete, importance
from vgg_ablation.analysis.study import Net
from vgg_ablation.paper import recipe
from vgg_ablation.report.figures import style
from vgg_ablation.report.figures.style import BLUE, GREEN, INK, MUTED, VERMILLION, Figure, Mark

_OPEN = {"linestyle": "none", "markerfacecolor": "none"}
COMPLETE: Mark = {"marker": "o", "color": INK, "markerfacecolor": MUTED}
PRUNED: Mark = {**_OPEN, "marker": "v", "markersize": 5, "color": MUTED}
FAILED: Mark = {**_OPEN, "marker": "x", "markersize": 5, "color": MUTED, "markeredgewidth": 1.6}
PAPERS: Mark = {**_OPEN, "marker": "D", "markersize": 10, "color": INK}
CHOSEN: Mark = {**_OPEN, "marker": "o", "markersize": 11, "color": VERMILLION, "markeredgewidth": 1.8}
MEDIAN: Mark = {"linestyle": "-", "linewidth": 1.6, "color": INK}
SPACE: Mark = {"linestyle": "--", "linewidth": 0.9, "color": MUTED}

CURVES = {
    "train_loss": ("training\nloss", "training loss in nats"),
    "train_error": ("training\nerror, %", "running training error in percent"),
    "validation_accuracy": ("validation\naccuracy, %", "validation accuracy in percent"),
}
"""Columns of the learning curves: label of the axis, and name in a sentence."""

LARGEST_LOSS = 1e6
"""Matplotlib cannot draw the largest losses of a diverging run; those above this one are left out."""


def searches(findings: Findings) -> Iterator[Figure]:
    """Draw each net's trials by learning rate and weight decay, coloured by validation accuracy."""
    study, nets = findings.study, findings.study.searched
    names = [net.arch for net in nets]
    fig, grid = style.panels(names, "learning rate", ["weight decay"], height_ratios=[1], height=1.9)
    accuracies = complete(study.trials)["validation_accuracy"].to_numpy(dtype=float)
    limits = (accuracies.min(), accuracies.max()) if len(accuracies) else (0, 100)
    colours = ScalarMappable(Normalize(*limits), "viridis")
    for (axes,), net in zip(grid, nets, strict=True):
        axes.set(xscale="log", yscale="log")
        # Before anything is drawn: matplotlib warns about points that all have one value.
        axes.set_xlim(_reach([net.tuned.space["learning_rate"] for net in nets], recipe.LEARNING_RATE))
        axes.set_ylim(_reach([net.tuned.space["weight_decay"] for net in nets], recipe.WEIGHT_DECAY))
        _draw_trials(axes, net, study.trials[study.trials["arch"] == net.arch], colours)
        if shares := importance(net, study.trials):
            axes.set_title(f"rate {100 * shares['learning_rate']:.0f} %", loc="right", fontsize=8, fontweight="normal")
    fig.colorbar(colours, ax=[axes for (axes,) in grid], aspect=40, pad=0.02).set_label("validation accuracy, %")
    marks = {"complete": COMPLETE, "pruned": PRUNED, "diverged or at chance": FAILED}
    style.legend(fig, {**marks, "chosen": CHOSEN, "the paper's values": PAPERS, "search space": SPACE})
    chosen = (
        "; ".join(
            f"{net.arch} {net.tuned.learning_rate:.2g} and {net.tuned.weight_decay:.2g}"
            + (f" (at the edge of the search space: {', '.join(net.tuned.at_edge)})" if net.tuned.at_edge else "")
            for net in nets
        )
        .replace("_rate", " rate")
        .replace("_decay", " decay")
    )
    yield style.figure(
        fig,
        "search",
        "training",
        "Trials of the search",
        "One mark per trial, coloured by validation accuracy. Rate: share of the learning rate in what distinguishes a "
        "net's better trials, against that of weight decay (PED-ANOVA).",
        f"Chosen learning rate and weight decay by net: {chosen}.",
        ("tables/trials.csv",),
        wide=len(nets) > 2,
        png=True,
    )


def trial_errors(findings: Findings) -> Iterator[Figure]:
    """Draw the validation error of each trial, a column a net; failed trials have the error of guessing."""
    study, nets = findings.study, findings.study.searched
    fig = MplFigure((style.WIDE, 2.7))
    axes = fig.subplots()
    words = []
    for place, net in enumerate(nets):
        trials = study.trials[study.trials["arch"] == net.arch]
        errors = 100 - trials["validation_accuracy"]
        failed = trials["outcome"] != ""
        pruned, ended = (trials["state"] == "pruned") & ~failed, complete(trials).index
        for values, mark in (
            (errors[pruned], PRUNED),
            (np.full(np.count_nonzero(failed), 100 - 100 / net.classes), FAILED),
            (errors[ended], {**COMPLETE, "linestyle": "none", "markersize": 5, "alpha": 0.7}),
        ):
            spread = np.linspace(-0.22, 0.22, len(values)) if len(values) > 1 else np.zeros(len(values))
            axes.plot(place + spread, values, **mark)
        if len(ended):
            axes.hlines(errors[ended].median(), place - 0.32, place + 0.32, color=INK, linewidth=1.6)
            words.append(f"{net.arch} {errors[ended].min():.1f}, {errors[ended].median():.1f}")
    axes.set_xticks(range(len(nets)), [net.arch for net in nets], rotation=45 if len(nets) > 8 else 0)
    axes.tick_params(axis="x", labelcolor=INK)
    axes.grid(visible=False, axis="x")
    axes.set_ylabel("validation error, %")
    style.legend(fig, {"complete": COMPLETE, "pruned": PRUNED, "diverged or at chance": FAILED, "median": MEDIAN}, 4)
    yield style.figure(
        fig,
        "trial-errors",
        "training",
        "Validation errors of the trials",
        "One mark per trial, in the order of the search; the line is the median of the complete ones.",
        f"Validation error of the complete trials in percent, lowest and median: {'; '.join(words)}.",
        ("tables/trials.csv",),
        wide=True,
        png=True,
    )


def _draw_trials(axes: Axes, net: Net, trials: pd.DataFrame, colours: ScalarMappable) -> None:
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:.0e}".replace("e-0", "e-"))
        axis.set_minor_locator(NullLocator())
    failed = trials["outcome"] != ""
    for chosen, mark in (((trials["state"] == "pruned") & ~failed, PRUNED), (failed, FAILED)):
        axes.plot(trials["learning_rate"][chosen], trials["weight_decay"][chosen], **mark)
    ended = complete(trials)
    axes.scatter(
        ended["learning_rate"].to_numpy(),
        ended["weight_decay"].to_numpy(),
        c=colours.to_rgba(ended["validation_accuracy"].to_numpy(dtype=float)),
        s=26,
        edgecolors=INK,
        linewidths=0.6,
        zorder=3,
    )
    axes.plot(recipe.LEARNING_RATE, recipe.WEIGHT_DECAY, zorder=4, **PAPERS)
    axes.plot(net.tuned.learning_rate, net.tuned.weight_decay, zorder=5, **CHOSEN)
    (left, right), (low, high) = net.tuned.space["learning_rate"], net.tuned.space["weight_decay"]
    axes.add_patch(Rectangle((left, low), right - left, high - low, fill=False, edgecolor=MUTED, linestyle="--"))


def _reach(spaces: Sequence[tuple[float, float]], published: float) -> tuple[float, float]:
    """Return the limits of an axis that shows the whole of all search spaces and the paper's value."""
    values = [published, *(end for space in spaces for end in space)]
    return min(values) / 2, max(values) * 2


def learning_curves(findings: Findings) -> Iterator[Figure]:
    """Draw training loss, training error and, where there were validation images, validation accuracy by epoch."""
    study = findings.study
    for scale in study.scales:
        nets, curves = study.at(scale), study.curves[study.curves["scale"] == scale]
        validated = curves["validation_accuracy"].notna().any()
        columns = [column for column in CURVES if validated or column != "validation_accuracy"]
        y_labels = [CURVES[column][0] for column in columns]
        ratios, height = [1] * len(columns), 1.1 * len(columns)
        fig, grid = style.panels([net.arch for net in nets], "epoch", y_labels, ratios, height)
        last = max(curves["epoch"].max(), 2) if len(curves) else 2
        words = []
        for multiple, net in zip(grid, nets, strict=True):
            own = curves[curves["arch"] == net.arch]
            _draw_curves(multiple, columns, net, own)
            multiple[0].set_title(f"{net.training_error:.1f} %", loc="right", fontsize=8, fontweight="normal")
            for axes in multiple:
                axes.set_xlim(0, last)
            ends = own[own["epoch"] == own["epoch"].max()][columns[-1]].dropna()
            words.append(f"{net.arch} {f'{ends.min():.3g} to {ends.max():.3g}' if len(ends) else 'none'}")
            words[-1] += f" ({net.did_not_train} of {len(net.runs)} runs did not train)" if net.did_not_train else ""
        yield style.figure(
            fig,
            f"learning-curves-{scale}",
            "training",
            f"Learning curves, training scale {scale}",
            "Mean over the runs that trained, and their range; dashed black: a run that did not train; dotted: chance. "
            "The training error is that of the augmented crops while the weights change; beside the name: that of the "
            "centre crops in the end.",
            f"Last {CURVES[columns[-1]][1]}, lowest and highest run: {'; '.join(words)}.",
            ("tables/curves.csv",),
            wide=len(nets) > 2,
            png=True,
        )


def _draw_curves(multiple: Sequence[Axes], columns: Sequence[str], net: Net, curves: pd.DataFrame) -> None:
    untrained = curves["run"].isin([run.run for run in net.runs if run.did_not_train])
    drawn = {
        "train_loss": (BLUE, math.log(net.classes)),
        "train_error": (VERMILLION, 100 - 100 / net.classes),
        "validation_accuracy": (GREEN, 100 / net.classes),
    }
    for axes, column in zip(multiple, columns, strict=True):
        colour, level = drawn[column]
        drawable = curves.assign(value=curves[column].where(curves[column].abs() < LARGEST_LOSS))
        for _, run in drawable[untrained].groupby("run"):
            axes.plot(run["epoch"], run["value"], color=INK, linestyle="--", linewidth=0.9)
        band = drawable[~untrained].groupby("epoch")["value"].agg(["min", "mean", "max"])
        axes.fill_between(band.index, band["min"], band["max"], color=colour, alpha=0.3, linewidth=0)
        axes.plot(band.index, band["mean"], color=colour, marker="." if len(band) == 1 else "")
        axes.axhline(level, color=MUTED, linewidth=0.9, linestyle=":")
        axes.set_ylim(0, 1.4 * level if column == "train_loss" else 100)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
