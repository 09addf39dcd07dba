"""Page of the measurement: `docs/search-cost.md`."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from scipy.special import ndtri
from tabulate import tabulate

from benchmarks.search_cost.measure import AIM
from benchmarks.search_cost.methods import METHODS, RANDOM
from benchmarks.search_cost.until_good import (
    GOOD_WITHIN,
    GRID,
    MethodTrial,
    best_within,
    expected_images_in_random_order,
    images_of,
    images_until_good,
    is_good,
)
from vgg_ablation.paper import recipe as paper

SHARES = AIM / 4, AIM / 2, AIM
"""Shares of the grid's cost at which the best accuracies found are compared."""


@dataclass(frozen=True)
class About:
    """Facts of the page besides the trials; the fields are those of `docs/search-cost.json`."""

    arch: str
    width: float
    method: str
    """Search method of the study."""
    epochs: int
    """Epochs of a trial that is not pruned."""
    trials: int
    """Most trials of a search."""
    round_size: int
    """Trials of a round: each knows the results of earlier rounds."""
    random_trials: int
    """Trials before a sampler uses what it has seen."""
    grid: tuple[int, int]
    """Learning rates, weight decays."""
    learning_rate: tuple[float, float]
    """Smallest and largest of the space."""
    weight_decay: tuple[float, float]
    """Smallest and largest of the space."""
    training_images: int
    """Training images of an epoch."""
    validation_images: int
    device: str
    precision: str
    processes: int
    training_seconds: float
    """Time of all epochs, of one thread each."""
    versions: dict[str, str]


@dataclass(frozen=True)
class ImagesUntilGood:
    """Training images that a method processes until a trial is good, by seed."""

    method: str
    images: tuple[int, ...]
    """A search that found no good trial counts with all that it processed."""
    reached: int
    """Seeds that found a good trial."""

    @property
    def median(self) -> float:
        """Median over the seeds."""
        return median(self.images)

    @property
    def worst(self) -> int:
        """Maximum over the seeds."""
        return max(self.images)


def trials_to_csv(trials: Sequence[MethodTrial]) -> str:
    """Return the trials as CSV; the accuracies and losses of the epochs are separated by spaces."""
    rows = pd.DataFrame([vars(trial) for trial in trials]).drop(columns="seconds")
    for name, digits in {"accuracies": 2, "losses": 4}.items():
        rows[name] = [" ".join(f"{value:.{digits}f}" for value in values) for values in rows[name]]
    return rows.to_csv(index=False)


def trials_from_csv(text: str) -> list[MethodTrial]:
    """Read what `trials_to_csv` returned."""
    rows = pd.read_csv(io.StringIO(text), keep_default_na=False)
    for name in ("accuracies", "losses"):
        rows[name] = [tuple(map(float, str(values).split())) for values in rows[name]]
    return [MethodTrial(**row) for row in rows.to_dict("records")]  # pyright: ignore[reportCallIssue]


def write_page(trials: Sequence[MethodTrial], about: About) -> str:
    """Return the page."""
    grid = [trial for trial in trials if trial.method == GRID]
    searches = {method: _by_seed(trials, method) for method in METHODS}
    best = max(trial.accuracy for trial in grid)
    total = images_of(grid)
    expected = expected_images_in_random_order(grid, best)
    costs = [_cost(method, seeds, best) for method, seeds in searches.items()]
    by_method = {cost.method: cost for cost in costs}
    cheapest = min(costs, key=lambda cost: cost.median)
    overlapping = [f"`{cost.method}`" for cost in costs if cost is not cheapest and min(cost.images) <= cheapest.worst]
    first = searches[about.method][0][0]
    proportion = best / 100
    error = 100 * math.sqrt(proportion * (1 - proportion) / about.validation_images)
    seeds = len(costs[0].images)
    environment = Environment(  # noqa: S701 - Markdown
        loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, keep_trailing_newline=True
    )
    return environment.get_template("page.md.jinja").render(
        about=about,
        aim=AIM,
        margin=GOOD_WITHIN,
        best=best,
        total=total,
        points=len(grid),
        seeds=seeds,
        share=lambda images: _percent(images / total),
        costs=costs,
        ours=by_method[about.method],
        random=by_method[RANDOM],
        cheapest=cheapest,
        surest=min(costs, key=lambda cost: (-cost.reached, cost.worst)),
        overlapping=" and ".join(filter(None, [", ".join(overlapping[:-1]), *overlapping[-1:]])),
        expected=expected,
        first=first,
        first_is_good=is_good(first, best),
        starts_at_papers_point=(first.learning_rate, first.weight_decay) == (paper.LEARNING_RATE, paper.WEIGHT_DECAY),
        error=error,
        near=sum(is_good(trial, best) for trial in grid),
        within_error=sum(trial.accuracy >= best - error for trial in grid),
        # Blom 1958: mean of the largest of n standard normal values.
        lift=float(ndtri((len(grid) - 0.375) / (len(grid) + 0.25))),
        coverage=100 * (1 - 2 * 0.5**seeds),
        cost_table=_cost_table(costs, about, expected, total),
        progress_table=_progress_table(searches, total),
    )


def _by_seed(trials: Sequence[MethodTrial], method: str) -> list[list[MethodTrial]]:
    of_method = [trial for trial in trials if trial.method == method]
    return [[trial for trial in of_method if trial.seed == seed] for seed in sorted({one.seed for one in of_method})]


def _cost(method: str, seeds: Sequence[Sequence[MethodTrial]], best: float) -> ImagesUntilGood:
    found = [images_until_good(trials, best) for trials in seeds]
    images = tuple(images_of(trials) if until is None else until for trials, until in zip(seeds, found, strict=True))
    return ImagesUntilGood(method, images, sum(until is not None for until in found))


def _cost_table(costs: Sequence[ImagesUntilGood], about: About, expected: float, total: int) -> str:
    header = "method", "how", "images, median", "range over seeds", "share of the grid's cost", "seeds that found one"
    rows = [
        (
            f"`{cost.method}`",
            METHODS[cost.method].words.format(random_trials=about.random_trials),
            f"{cost.median:,.0f}",
            f"{min(cost.images):,} to {cost.worst:,}",
            _percent(cost.median / total),
            f"{cost.reached} of {len(cost.images)}",
        )
        for cost in costs
    ]
    rows.append(("grid", "in random order, expected", f"{expected:,.0f}", "", _percent(expected / total), ""))
    rows.append(("grid", "all of it", f"{total:,}", "", _percent(1), ""))
    return _table(header, rows, left=2)


def _progress_table(searches: dict[str, list[list[MethodTrial]]], total: int) -> str:
    rows: list[list[str]] = []
    for method, seeds in searches.items():
        found = [[best_within(trials, share * total) for trials in seeds] for share in SHARES]
        cells = [f"{median(best):.1f} [{min(best):.1f}, {max(best):.1f}]" for best in found]
        rows.append([f"`{method}`", *cells])
    return _table(("method", *(f"after {100 * share:g} % of the grid's cost" for share in SHARES)), rows, left=1)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> str:
    align = ["left" if column < left else "right" for column in range(len(header))]
    return tabulate(rows, headers=header, tablefmt="pipe", colalign=align, disable_numparse=True)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
