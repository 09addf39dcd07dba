"""All that the report says of a study, computed once."""

from dataclasses import dataclass

from vgg_ablation.analysis.agreement import FEWEST, Agreement, agreement
from vgg_ablation.analysis.claims import Judgement, judge
from vgg_ablation.analysis.comparisons import Comparison, compare_all
from vgg_ablation.analysis.fit import unfitted
from vgg_ablation.analysis.power import detectable_difference
from vgg_ablation.analysis.rows import PaperErrors, Row, ablation, published_beside
from vgg_ablation.analysis.sensitivity import Sensitivity, sensitivities
from vgg_ablation.analysis.study import Study
from vgg_ablation.paper.tables import TORCHVISION
from vgg_ablation.runtime.names import plain
from vgg_ablation.runtime.settings import SCALES


@dataclass(frozen=True)
class Findings:
    """Conclusions of a study."""

    study: Study
    rows: list[Row]
    """All lines of `ablation.csv`."""
    comparisons: list[Comparison]
    """All pairs of nets at the lead training scale and protocol."""
    elsewhere: dict[tuple[str, str], list[Comparison]]
    """All pairs of nets at the other training scales and protocols."""
    judgements: list[Judgement]
    sensitivities: dict[tuple[str, str], Sensitivity]
    """Sensitivity of the claims that were judged, by normalisation and key."""
    agreements: list[tuple[PaperErrors | None, str, Agreement]]
    """Published order (None: torchvision's, on one centre crop), protocol of ours, and how far they agree."""

    @property
    def lead_rows(self) -> list[Row]:
        """The nets, without fusions, at the lead training scale and protocol."""
        return [row for row in self.rows if (row.scale, row.protocol) == self.study.lead and row.params is not None]

    @property
    def best(self) -> Row:
        """The net with the lowest error among `lead_rows`."""
        return min(self.lead_rows, key=lambda row: row.top1_error)

    @property
    def worst(self) -> Row:
        """The net with the highest error among `lead_rows`."""
        return max(self.lead_rows, key=lambda row: row.top1_error)

    @property
    def table_1_comparisons(self) -> list[Comparison]:
        """The pairs of Table 1's nets among `comparisons`."""
        return [one for one in self.comparisons if {one.first, one.second} <= set(self.study.ablation)]

    @property
    def detectable(self) -> float | None:
        """The difference between two of Table 1's nets, points, that is found with 80 % power; else between any two."""
        return detectable_difference(self.table_1_comparisons or self.comparisons)

    @property
    def unfitted(self) -> dict[str, float]:
        """Training errors, percent, of the nets among `lead_rows` that did not fit, the largest first."""
        return unfitted({row.arch: row.training_error for row in self.lead_rows if row.training_error is not None})

    def judgement(self, key: str, norm: str) -> Judgement:
        """Return the judgement of a claim by its key, on the nets of a normalisation."""
        return next(one for one in self.judgements if (one.claim.key, one.norm) == (key, norm))


def find(study: Study) -> Findings:
    """Compute what the report says of a study."""
    tests = [(scale, protocol) for scale in study.scales for protocol in study.protocols(scale)]
    compared = {test: compare_all(study, *test) for test in tests}
    judgements = judge(study)
    return Findings(
        study,
        ablation(study),
        compared.pop(study.lead),
        compared,
        judgements,
        sensitivities(study, judgements),
        _agreements(study),
    )


def _agreements(study: Study) -> list[tuple[PaperErrors | None, str, Agreement]]:
    """Compare the nets' order with the paper's at the same training scale and test, and torchvision's on one crop."""
    scale, protocol = study.lead
    paper = published_beside(scale, protocol)
    if sum(plain(net.arch) in paper.errors for net in study.by_norm[0].at(scale)) < FEWEST:
        paper = published_beside(SCALES[0], "dense")
    crop = "centre" if "centre" in study.protocols(scale) else protocol
    return [
        (source, ours, found)
        for part in study.by_norm
        for source, ours, errors in ((paper, protocol, paper.errors), (None, crop, TORCHVISION[part.norm]))
        if (found := agreement(part, scale, ours, {arch: error.top1 for arch, error in errors.items()}))
    ]
