"""Which nets have a lower error than which: every pair of them, under one training scale and protocol."""

from dataclasses import dataclass
from itertools import combinations

from vgg_ablation.analysis.statistics import CONFIDENCE, LEVEL, POWER, Difference, holm, paired_difference
from vgg_ablation.analysis.study import Study
from vgg_ablation.paper import published_errors

NEIGHBOURS = (("A", "A_LRN"), ("A", "B"), ("B", "C"), ("C", "D"), ("D", "E"))
"""The pairs that section 4.1 speaks of: each net of Table 3 against the one that it extends."""

ONE_RUN = "one run cannot tell a net from its split and its seed"


@dataclass(frozen=True)
class Comparison:
    """Two nets, paired by run and image; the first stands before the second in Table 1."""

    first: str
    second: str
    published: float | None
    """The paper's difference, second less first, percentage points; None where it has none for both."""
    difference: Difference
    p_adjusted: float
    """Holm-corrected over all pairs of the training scale and protocol."""

    @property
    def neighbours(self) -> bool:
        """Whether the pair is one of `NEIGHBOURS`."""
        return (self.first, self.second) in NEIGHBOURS

    @property
    def better(self) -> str | None:
        """The net with the lower error; None where that is undecided, as it always is with one run."""
        if self.difference.runs == 1 or self.p_adjusted >= LEVEL:
            return None
        return self.second if self.difference.mean < 0 else self.first

    @property
    def verdict(self) -> str:
        """Which net has the lower error, in two words, or `undecided`."""
        return f"{self.better} lower" if self.better else "undecided"

    @property
    def sentence(self) -> str:
        """What the data say about the pair; where that is nothing, what they could have said."""
        if self.better:
            worse = self.first if self.better == self.second else self.second
            below = abs(self.difference.mean)
            return f"{self.better} is {below:.2f} points below {worse} ({evidence(self.difference, self.p_adjusted)})."
        return (
            f"{self.first} and {self.second} are undecided: {self.difference.mean:+z.2f} points from {self.first} to "
            f"{self.second} ({evidence(self.difference, self.p_adjusted)}); {could_have(self.difference)}."
        )


def compare_all(study: Study, scale: str, protocol: str) -> list[Comparison]:
    """Compare all pairs of the nets that were evaluated under a training scale and a protocol.

    Runs that did not train take part with the error that they have.
    """
    found = [(net.arch, study.errors(net.arch, scale, protocol)) for net in study.at(scale)]
    measured = list(combinations([(arch, errors) for arch, errors in found if errors is not None], 2))
    pairs = [
        (first, second, paired_difference(one, other, family=len(measured)))
        for (first, one), (second, other) in measured
    ]
    theirs = published_errors(scale, protocol)
    return [
        Comparison(
            first=first,
            second=second,
            published=theirs[second].top1 - theirs[first].top1 if {first, second} <= theirs.keys() else None,
            difference=difference,
            p_adjusted=p_adjusted,
        )
        for (first, second, difference), p_adjusted in zip(
            pairs, holm([difference.p_value for _, _, difference in pairs]), strict=True
        )
    ]


def evidence(difference: Difference, p_adjusted: float) -> str:
    """Return interval and p-value of a difference in words."""
    p_value = "p < 0.001" if p_adjusted < 0.001 else f"p = {p_adjusted:.3f}"
    basis = f"{difference.runs} runs" if difference.runs > 1 else "one run, images alone"
    interval = f"{100 * CONFIDENCE:.0f} % interval {difference.low:+z.2f} to {difference.high:+z.2f}"
    return f"{interval}, {p_value} after Holm, {basis}"


def could_have(difference: Difference) -> str:
    """Return what an undecided difference would have had to be to be seen, after the correction for several tests."""
    if difference.detectable is None:
        return ONE_RUN
    level = f"level {100 * LEVEL:.0f} %"
    if difference.family > 1:
        level += f" / {difference.family}, Holm's first step over {difference.family} tests,"
    return f"with {100 * POWER:.0f} % power a test at {level} finds a difference of {difference.detectable:.2f} points"
