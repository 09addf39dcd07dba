"""Which net has the lower error: every pair of nets, at one training scale under one protocol."""

from dataclasses import dataclass
from itertools import combinations

from vgg_ablation.analysis.statistics import LEVEL, Difference, Measurements, holm, paired_difference
from vgg_ablation.analysis.study import Study
from vgg_ablation.paper.tables import published_errors
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
    """Holm-corrected over the pairs that `compare_all` corrects together."""

    @property
    def neighbours(self) -> bool:
        """True if the pair is one of `NEIGHBOURS`."""
        return (plain(self.first), plain(self.second)) in NEIGHBOURS

    @property
    def better(self) -> str | None:
        """The net with the lower error; None if undecided, as with one run always."""
        if self.difference.runs == 1 or self.p_adjusted >= LEVEL:
            return None
        return self.second if self.difference.mean < 0 else self.first


def compare_all(study: Study, scale: str, protocol: str) -> list[Comparison]:
    """Compare all pairs of nets at a training scale and protocol; runs that did not train count with their error.

    Both nets of a pair are without batch normalisation, or both are with it. The pairs of Table 1's nets with one
    normalisation are corrected together, and so are pairs with other nets: these do not change the paper's comparison.
    """
    found = []
    for part in study.by_norm:
        archs = [net.arch for net in part.at(scale)]
        errors = {arch: one for arch in archs if (one := study.measurements(arch, scale, protocol)) is not None}
        pairs = list(combinations(errors, 2))
        of_table_1 = [pair for pair in pairs if {*pair} <= {*part.ablation}]
        others = [pair for pair in pairs if pair not in of_table_1]
        compared = {**_compare(of_table_1, errors, protocol, scale), **_compare(others, errors, protocol, scale)}
        found += [compared[pair] for pair in pairs]
    return found


def _compare(
    pairs: list[tuple[str, str]], errors: dict[str, Measurements], protocol: str, scale: str
) -> dict[tuple[str, str], Comparison]:
    """Compare pairs that are corrected together."""
    differences = [paired_difference(errors[first], errors[second], family=len(pairs)) for first, second in pairs]
    adjusted = holm([difference.p_value for difference in differences])
    paper = {arch: published_errors(scale, protocol).get(plain(arch)) for arch in errors}
    return {
        (first, second): Comparison(
            first,
            second,
            of_second.top1 - of_first.top1 if (of_first := paper[first]) and (of_second := paper[second]) else None,
            difference,
            p_adjusted,
        )
        for (first, second), difference, p_adjusted in zip(pairs, differences, adjusted, strict=True)
    }
