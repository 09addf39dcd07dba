"""Which net has the lower error: every pair of nets, at one training scale under one protocol."""

from dataclasses import dataclass
from itertools import combinations

from vgg_ablation.analysis.statistics import LEVEL, Difference, holm, paired_difference
from vgg_ablation.analysis.study import Study
from vgg_ablation.paper import published_errors
from vgg_ablation.runtime.names import plain

NEIGHBOURS = (("A", "A_LRN"), ("A", "B"), ("B", "C"), ("C", "D"), ("D", "E"))
"""The pairs that section 4.1 compares: each net of Table 3 and the one that it extends."""


@dataclass(frozen=True)
class Comparison:
    """Two nets, of one normalisation, paired by run and image; the first comes before the second in Table 1."""

    first: str
    second: str
    published: float | None
    """The paper's difference, second less first, percentage points; None where it lacks one of them."""
    difference: Difference
    p_adjusted: float
    """Holm-corrected over all pairs of the training scale and protocol."""

    @property
    def neighbours(self) -> bool:
        """Whether the pair is one of `NEIGHBOURS`."""
        return (plain(self.first), plain(self.second)) in NEIGHBOURS

    @property
    def better(self) -> str | None:
        """The net with the lower error; None if undecided, as with one run always."""
        if self.difference.runs == 1 or self.p_adjusted >= LEVEL:
            return None
        return self.second if self.difference.mean < 0 else self.first


def compare_all(study: Study, scale: str, protocol: str) -> list[Comparison]:
    """Compare all pairs of nets at a training scale and protocol; runs that did not train count with their error.

    Both nets of a pair are without batch normalisation, or both are with it.
    """
    pairs = []
    for part in study.by_norm:
        archs = [net.arch for net in part.at(scale)]
        found = [(arch, errors) for arch in archs if (errors := study.errors(arch, scale, protocol)) is not None]
        pairs += combinations(found, 2)
    differences = [paired_difference(first, second, family=len(pairs)) for (_, first), (_, second) in pairs]
    adjusted = holm([difference.p_value for difference in differences])
    paper = {net.arch: published_errors(scale, protocol).get(plain(net.arch)) for net in study.at(scale)}
    return [
        Comparison(
            first,
            second,
            of_second.top1 - of_first.top1 if (of_first := paper[first]) and (of_second := paper[second]) else None,
            difference,
            p_adjusted,
        )
        for ((first, _), (second, _)), difference, p_adjusted in zip(pairs, differences, adjusted, strict=True)
    ]
