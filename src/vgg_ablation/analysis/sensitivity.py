"""Sensitivity of verdicts to single runs, to the weights of the classes, and to each net's own settings.

Each claim that was judged is judged again, with the same family of tests:

* without each run in which one of its nets or fusions has its largest error, for all nets alike: nets are compared run
  by run;
* by mean class recall: each image weighs 1 / (classes * images of its class in the run);
* at one learning rate and weight decay: those that the searches of all its nets have in common, the paper's and the
  random ones, with the best mean validation accuracy. The standard error is that of independent binomial errors.

A verdict that changes, or that the common settings oppose, is fragile. Two runs decide almost nothing, so with three
runs most decided verdicts are fragile.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from vgg_ablation.analysis.claims import Judgement, Verdict, judge
from vgg_ablation.analysis.search import complete
from vgg_ablation.analysis.statistics import LEVEL, Measurements, class_weights, expected_error
from vgg_ablation.analysis.study import Study


@dataclass(frozen=True)
class CommonSettings:
    """A claim's contrast of validation errors where all nets have the same learning rate and weight decay."""

    learning_rate: float
    weight_decay: float
    difference: float
    """Points; below zero: the validation error falls."""
    standard_error: float
    opposed: bool
    """True if it is significantly on the other side of zero, or beyond the margin where a difference counts as none."""


@dataclass(frozen=True)
class Sensitivity:
    """The verdict on one claim, and the verdicts of other analyses of the same results."""

    verdict: Verdict
    without_run: dict[int, Verdict]
    """By run left out; empty with one run."""
    by_class: Verdict
    """By mean class recall."""
    common: CommonSettings | None
    """None if the claim does not compare nets at one training scale, or if their searches have no complete trial at the
    same settings."""

    @property
    def changed(self) -> dict[int, Verdict]:
        """The runs without which the verdict is another."""
        return {run: verdict for run, verdict in self.without_run.items() if verdict != self.verdict}

    @property
    def fragile(self) -> bool:
        """True if any of the other analyses disagrees."""
        opposed = self.common is not None and self.common.opposed
        return opposed or bool(self.changed) or self.by_class != self.verdict


def sensitivities(study: Study, judgements: Sequence[Judgement]) -> dict[tuple[str, str], Sensitivity]:
    """Return the sensitivity of each judgement that applied the rules, by normalisation and the claim's key."""
    judged = [one for one in judgements if one.judged]
    if not judged:
        return {}
    worst = {one.name: worst_runs(study, one) for one in judged}
    without = {
        run: _verdicts(study, lambda errors, run=run: _without(errors, run))
        for run in sorted(set().union(*worst.values()))
    }
    labels = study.labels
    by_class = _verdicts(study, lambda errors: weighted_by_class(errors, labels))
    return {
        one.name: Sensitivity(
            one.verdict,
            {run: without[run][one.name] for run in worst[one.name]},
            by_class[one.name],
            common_settings(study, one),
        )
        for one in judged
    }


def worst_runs(study: Study, judgement: Judgement) -> list[int]:
    """Return the runs in which a net or fusion of a claim has its largest error, ascending; none with one run."""
    worst: set[int] = set()
    for source in {source for coefficients in judgement.contrasts.values() for source in coefficients}:
        errors = study.measurements(*source)
        by_run = expected_error(errors).by_run if errors else {}
        if len(by_run) > 1:
            worst.add(max(by_run, key=lambda run: by_run[run]))
    return sorted(worst)


def weighted_by_class(errors: Measurements, labels: np.ndarray) -> Measurements:
    """Return errors whose mean in a run is one less mean class recall.

    Args:
        errors: errors of a net or fusion.
        labels: class of each image by its number.
    """
    return replace(errors, wrong=errors.wrong * class_weights(errors.runs, labels[errors.images]))


def common_settings(study: Study, judgement: Judgement) -> CommonSettings | None:
    """Return a claim's contrast of validation errors at the best settings that the searches of its nets share."""
    if len(judgement.contrasts) != 1:
        return None
    ((coefficients, component),) = zip(judgement.contrasts.values(), judgement.components, strict=True)
    of_net = {name: coefficient for (name, _, _), coefficient in coefficients.items()}
    if len({(scale, protocol) for _, scale, protocol in coefficients}) > 1 or any("+" in name for name in of_net):
        return None
    trials = complete(study.trials)
    shared = (
        trials.pivot_table(index=["learning_rate", "weight_decay"], columns="arch", values="validation_accuracy")
        .reindex(columns=list(of_net))
        .dropna()
    )
    if shared.empty:
        return None
    best = int(np.argmax(shared.mean(axis=1)))
    learning_rate, weight_decay = shared.index[best]
    errors, weights = 100 - shared.iloc[best].to_numpy(), np.array(list(of_net.values()))
    variance = weights**2 @ (errors * (100 - errors)) / study.data.validation
    difference, standard_error = float(weights @ errors), math.sqrt(variance)
    opposed = _opposes(judgement, component.difference.mean, difference, standard_error)
    return CommonSettings(float(learning_rate), float(weight_decay), difference, standard_error, opposed)


def _opposes(judgement: Judgement, estimate: float, difference: float, standard_error: float) -> bool:
    """Return whether a difference of validation errors is significant, one-sided, against a decided verdict."""
    half_width = float(special.ndtri(1 - LEVEL)) * standard_error
    if judgement.verdict == "undecided":
        return False
    none = judgement.verdict == "less than 1 point"
    if none or (judgement.verdict == "reproduced" and judgement.claim.expects != "fall"):
        rises = judgement.claim.expects != "no fall" and difference - half_width > judgement.claim.margin
        return difference + half_width < -judgement.claim.margin or rises
    return abs(difference) > half_width and difference * estimate < 0


def _verdicts(study: Study, changed: Callable[[Measurements], Measurements]) -> dict[tuple[str, str], Verdict]:
    """Return the verdicts from changed errors, by normalisation and the claim's key."""

    def measured(name: str, scale: str, protocol: str) -> Measurements | None:
        errors = study.measurements(name, scale, protocol)
        return None if errors is None else changed(errors)

    return {one.name: one.verdict for one in judge(study, measured)}


def _without(errors: Measurements, run: int) -> Measurements:
    others = errors.runs != run
    return Measurements(errors.runs[others], errors.images[others], errors.wrong[others])
