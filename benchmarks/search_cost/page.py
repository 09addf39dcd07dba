"""What the measurement says: `docs/search-cost.md`, and the trials that it is made from, `docs/search-cost.csv`."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

import pandas as pd
from scipy.special import ndtri

from benchmarks.search_cost.cost import (
    MARGIN,
    Trial,
    best_within,
    expected_images_in_random_order,
    images_of,
    images_until_good,
    is_good,
)
from benchmarks.search_cost.measure import AIM, ARCH, Measured, Plan
from benchmarks.search_cost.methods import METHODS, RANDOM, method_of
from vgg_ablation import paper
from vgg_ablation.report.markdown import aligned
from vgg_ablation.report.tables import Table

SHARES = AIM / 4, AIM / 2, AIM
"""Of the grid's cost, at which the best accuracies found are compared."""


@dataclass(frozen=True)
class Cost:
    """What a method costs until a trial is good, in training images; one figure a seed."""

    method: str
    images: tuple[int, ...]
    """A search that found nothing good counts with all that it processed."""
    reached: int
    """Seeds that found something good."""

    @property
    def median(self) -> float:
        """Of the seeds."""
        return median(self.images)


def costs(measured: Measured) -> list[Cost]:
    """Return what the methods cost, in the order of `METHODS`."""
    return [_cost(method, seeds, measured.best) for method, seeds in measured.searches.items()]


def _cost(method: str, seeds: Sequence[Sequence[Trial]], best: float) -> Cost:
    found = [images_until_good(trials, best) for trials in seeds]
    images = tuple(images_of(trials) if until is None else until for trials, until in zip(seeds, found, strict=True))
    return Cost(method, images, sum(until is not None for until in found))


def table(measured: Measured) -> str:
    """Return the trials as CSV, the grid's first; accuracies (percent) and losses (nats) of the epochs by spaces."""
    trials = [*measured.grid, *(trial for seeds in measured.searches.values() for seed in seeds for trial in seed)]
    rows = [
        {
            **vars(trial),
            "accuracies": " ".join(f"{value:.2f}" for value in trial.accuracies),
            "losses": " ".join(f"{value:.4f}" for value in trial.losses),
        }
        for trial in trials
    ]
    return pd.DataFrame(rows).to_csv(index=False)


def document(plan: Plan, measured: Measured, made: str) -> str:
    """Return the page; `made` says by what command and with what versions it was made."""
    found = costs(measured)
    progress = (
        f"Percent of the validation images, of complete trials: median over the seeds, and in brackets their range. A "
        f"search goes on until it has found a trial within a point and has processed {100 * AIM:g} % of the grid's "
        f"images, or until its {plan.tune.trials} trials are used up."
    )
    making = (
        f"{made} All epochs together took {measured.seconds:,.0f} s, on {measured.facts.device} in "
        f"{measured.facts.precision}; an epoch that several methods ask for is computed once. The trials, with their "
        "learning curves, are in [search-cost.csv](search-cost.csv)."
    )
    blocks = [
        "# What the search buys",
        _finding(method_of(plan.tune), found, measured),
        _question(plan, measured),
        "## Training images until within a point of the grid's best",
        aligned(_cost_table(plan, found, measured)),
        *_comparisons(plan, found, measured),
        "## The best accuracy found on the way",
        aligned(_progress_table(measured)),
        progress,
        "## What noise allows to say",
        *_noise(plan, measured),
        "## How this page was made",
        making,
    ]
    return "\n\n".join(blocks) + "\n"


def _finding(own: str, found: list[Cost], measured: Measured) -> str:
    ours = next(cost for cost in found if cost.method == own)
    share = ours.median / images_of(measured.grid)
    aim = f"the aim of {100 * AIM:g} % or less is {'met' if share <= AIM else 'missed'}"
    winner = min(found, key=lambda cost: cost.median)
    cheapest = (
        "No other method compared here costs less."
        if winner.median == ours.median
        else f"Cheapest is `{winner.method}`, at {_percent(winner.median / images_of(measured.grid))}."
    )
    worst = _percent(max(ours.images) / images_of(measured.grid))
    return (
        f"**Our search (`{own}`) is within a point of a dense grid's best after {_percent(share)} of what the grid "
        f"costs (median of {_seeds(ours)}; at worst {worst}): {aim}.** {cheapest}"
    )


def _question(plan: Plan, measured: Measured) -> str:
    rates, decays = plan.grid
    learning_rate, weight_decay = plan.tune.learning_rate, plan.tune.weight_decay
    return (
        f"Net {ARCH} at width {plan.model.width:g} on rendered images, {measured.facts.training_images} of them an "
        f"epoch, and {measured.facts.validation_images} to validate on; {plan.tune.epochs} epochs a trial that is not "
        f"pruned. The grid has {rates} learning rates from {learning_rate.low:g} to {learning_rate.high:g} and "
        f"{decays} weight decays from {weight_decay.low:g} to {weight_decay.high:g}, evenly spaced in the logarithm; "
        f"its best validation accuracy is {measured.best:.1f} %. How many training images does a search process until "
        f"a complete trial of its own has {measured.best - MARGIN:.1f} % or more?"
    )


def _cost_table(plan: Plan, found: list[Cost], measured: Measured) -> Table:
    total = images_of(measured.grid)
    settings = plan.tune.model_dump()
    rows = [
        (
            f"`{cost.method}`",
            METHODS[cost.method].words.format(**settings),
            f"{cost.median:,.0f}",
            f"{min(cost.images):,} to {max(cost.images):,}",
            _percent(cost.median / total),
            f"{cost.reached} of {len(cost.images)}",
        )
        for cost in found
    ]
    expected = expected_images_in_random_order(measured.grid, measured.best)
    rows.append(("grid", "in random order, expected", f"{expected:,.0f}", "", _percent(expected / total), ""))
    rows.append(("grid", "all of it", f"{total:,}", "", _percent(1), ""))
    header = "method", "how", "images, median", "range over seeds", "of the grid's cost", "seeds that found one"
    return Table("cost", "", header, rows, frozenset({0, 1}))


def _comparisons(plan: Plan, found: list[Cost], measured: Measured) -> Iterator[str]:
    by_method = {cost.method: cost for cost in found}
    own = method_of(plan.tune)
    ours, random = by_method[own], by_method[RANDOM]
    expected = expected_images_in_random_order(measured.grid, measured.best)
    yield (
        f"Our search costs {ours.median / random.median:.2f} times what random points cost, and "
        f"{ours.median / expected:.2f} times what the grid costs in random order on average."
    )
    first = measured.searches[own][0][0]
    if (first.learning_rate, first.weight_decay) == (paper.LEARNING_RATE, paper.WEIGHT_DECAY):
        within = "is" if is_good(first, measured.best) else "is not"
        yield (
            f"All methods but `{RANDOM}` try the paper's point first: it reaches {first.accuracy:.1f} % here, which "
            f"{within} within a point of the grid's best."
        )
    for cost in found:
        if cost.reached < len(cost.images):
            yield (
                f"`{cost.method}` found no trial within a point in {len(cost.images) - cost.reached} of "
                f"{_seeds(cost)} within {plan.tune.trials} trials; those count with all images they processed, so that "
                "its true cost is higher."
            )
    winner = min(found, key=lambda cost: cost.median)
    level = [f"`{cost.method}`" for cost in found if cost is not winner and min(cost.images) <= max(winner.images)]
    order = (
        f"its range over seeds overlaps with that of {_listed(level)}"
        if level
        else "no other method's range touches its own"
    )
    yield f"The lowest median is that of `{winner.method}`; {order}."
    surest = min(found, key=lambda cost: (-cost.reached, max(cost.images)))
    yield (
        f"A study searches once a net, so that the worst seed counts as much as the median: it is least bad for "
        f"`{surest.method}`, at {_percent(max(surest.images) / images_of(measured.grid))} of the grid's cost."
    )


def _progress_table(measured: Measured) -> Table:
    total = images_of(measured.grid)
    rows = []
    for method, seeds in measured.searches.items():
        cells = []
        for share in SHARES:
            best = [best_within(trials, share * total) for trials in seeds]
            cells.append(f"{median(best):.1f} [{min(best):.1f}, {max(best):.1f}]")
        rows.append((f"`{method}`", *cells))
    header = ("method", *(f"after {100 * share:g} % of the grid's cost" for share in SHARES))
    return Table("progress", "", header, rows)


def _noise(plan: Plan, measured: Measured) -> Iterator[str]:
    share = measured.best / 100
    error = 100 * math.sqrt(share * (1 - share) / measured.facts.validation_images)
    near = [trial for trial in measured.grid if is_good(trial, measured.best)]
    level = [trial for trial in measured.grid if trial.accuracy >= measured.best - error]
    count = len(measured.grid)
    lift = float(ndtri((count - 0.375) / (count + 0.25)))  # Blom 1958: the mean of the largest of `count` normals
    yield (
        f"An accuracy of {measured.best:.1f} % on {measured.facts.validation_images} images has a standard error of "
        f"{error:.1f} points, as an estimate for other images. {len(near)} of the grid's {count} trials are within "
        f"{MARGIN:g} point of its best, {len(level)} within that standard error."
    )
    yield (
        f"The grid's best is the largest of {count} noisy values: were they all equally good and their errors "
        f"independent, it would lie {lift:.1f} standard errors, {lift * error:.1f} points, above what it is worth on "
        "average. They share images, first weights and crops, so less than that is luck; but some of what any search "
        "spends here goes into being as lucky as the grid."
    )
    inside = 1 - 2 * 0.5**plan.seeds
    yield (
        f"The range over {plan.seeds} seeds holds the true median of a method with a probability of "
        f"{100 * inside:.0f} %; medians of methods whose ranges overlap are not told apart here."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _seeds(cost: Cost) -> str:
    return f"{len(cost.images)} seeds"


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
