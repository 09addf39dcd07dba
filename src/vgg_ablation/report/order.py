"""The order of the nets by error, held against what the paper says about it."""

from collections.abc import Sequence
from dataclasses import dataclass

from vgg_ablation.report.inputs import Net
from vgg_ablation.report.published import CLAIMS, SINGLE_SCALE, Claim
from vgg_ablation.report.statistics import Difference, holm, paired_difference, rank_agreement

LEVEL = 0.05
"""Of the tests, over all pairs together."""


@dataclass(frozen=True)
class Comparison:
    """Two neighbours in Table 3, compared in pairs of runs with the same split and seed."""

    claim: Claim
    published: float
    """The paper's difference at S = 256, second net less first, percentage points."""
    difference: Difference
    p_adjusted: float
    """Holm-corrected over the pairs compared."""

    @property
    def better(self) -> str | None:
        """The net with the lower error; None where that is undecided."""
        if self.p_adjusted >= LEVEL:
            return None
        return self.claim.second if self.difference.mean < 0 else self.claim.first

    @property
    def verdict(self) -> str:
        """What the data say about the paper's claim: `supported`, `contradicted` or `undecided`."""
        if self.better is None:
            return "undecided"
        return "supported" if (self.better == self.claim.second) == self.claim.improves else "contradicted"


def compare_neighbours(nets: Sequence[Net], protocol: str) -> list[Comparison]:
    """Compare the paper's neighbouring pairs under `protocol`, as far as both nets are there with two runs in common.

    Runs that did not train take part with the error that they have.
    """
    by_arch = {net.arch: net for net in nets}
    found: list[tuple[Claim, Difference]] = []
    for claim in CLAIMS:
        if claim.first not in by_arch or claim.second not in by_arch:
            continue
        first, second = (by_arch[arch].top1_errors(protocol) for arch in (claim.first, claim.second))
        shared = [run for run in first if run in second]
        if len(shared) > 1:
            images = min(by_arch[claim.first].test_images, by_arch[claim.second].test_images)
            pairs = [first[run] for run in shared], [second[run] for run in shared]
            found.append((claim, paired_difference(*pairs, images)))
    adjusted = holm([difference.p_value for _, difference in found])
    return [
        Comparison(
            claim=claim,
            published=SINGLE_SCALE[claim.second].top1 - SINGLE_SCALE[claim.first].top1,
            difference=difference,
            p_adjusted=p_adjusted,
        )
        for (claim, difference), p_adjusted in zip(found, adjusted, strict=True)
    ]


def agreement(mean_errors: dict[str, float]) -> float | None:
    """Return Kendall's tau-b between mean errors by net and the paper's at S = 256; None for fewer than three nets."""
    if len(mean_errors) < 3:
        return None
    return rank_agreement(list(mean_errors.values()), [SINGLE_SCALE[arch].top1 for arch in mean_errors])
