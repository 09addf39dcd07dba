"""Results of the classifiers of appendix B: mean class recall with its interval, and claims judged by fixed rules."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from statistics import stdev
from typing import Any, Literal, NamedTuple

import numpy as np

from vgg_ablation.analysis.statistics import (
    LEVEL,
    MARGIN,
    ONE_SIDED,
    Difference,
    Measurements,
    class_weights,
    contrast,
    expected_error,
    holm,
)
from vgg_ablation.appendix_b.nets import DECISIONS_FILE, NETS_FILE, RESULTS_FILE
from vgg_ablation.evaluate.arrays import read_arrays
from vgg_ablation.files import read_json
from vgg_ablation.model.published import PUBLISHED
from vgg_ablation.runtime.names import NORMS, named
from vgg_ablation.runtime.paths import appendix_b

Verdict = Literal["reproduced", "contradicted", "undecided", "not judged"]


Source = tuple[str, str]
"""A net, or D and E together, by plain name, and a descriptor."""


class Claim(NamedTuple):
    """A claim, as differences in mean class recall between two sources."""

    key: str
    text: str
    rule: Literal["alike", "higher"]
    pairs: tuple[tuple[Source, Source], ...]
    """`higher`: the second of each pair has the higher recall."""


STACKED = "stacked"
"""The descriptor of the paper's Table 11."""
_A, _D, _E, _BOTH = ((arch, STACKED) for arch in ("A", "D", "E", "D+E"))
CLAIMS = (
    Claim("alike", "D and E are alike", "alike", ((_D, _E),)),
    Claim(
        "stacking",
        "Stacking the scales is better than averaging them",
        "higher",
        ((("D", "averaged"), _D), (("E", "averaged"), _E)),
    ),
    Claim("both", "D and E together are better than either", "higher", ((_D, _BOTH), (_E, _BOTH))),
    Claim("depth", "Recall rises from A to D", "higher", ((_A, _D),)),
)
"""The first three are the paper's (appendix B); its Table 11 has no A."""

RULES = {
    "alike": f"reproduced if the {100 * ONE_SIDED:.0f} % interval of the difference is within ±{MARGIN:g} point, "
    "contradicted if it is outside",
    "higher": "reproduced if each difference is above zero, contradicted if one is below, "
    f"at level {LEVEL:g}, corrected by Holm's method for all such differences of a normalisation",
}
"""Rule of each expectation, in words. A difference of one run is undecided."""


class Result(NamedTuple):
    """Mean class recall in percent of one net with one descriptor."""

    mean: float
    deviation: float | None
    """Standard deviation over splits; None with one."""
    low: float
    high: float
    splits: list[dict[str, Any]]
    """The splits, as in results.json."""


class Component(NamedTuple):
    """One difference of a claim."""

    label: str
    difference: Difference
    narrow: Difference
    """With confidence `ONE_SIDED`."""
    p_adjusted: float | None
    """None for a claim of equality, which the interval decides."""


class Judgement(NamedTuple):
    """A claim about the nets with one normalisation."""

    claim: Claim
    norm: str
    verdict: Verdict
    components: list[Component]


@dataclass(frozen=True)
class Classified:
    """The classifiers of one net, or of D and E together."""

    net: str
    info: dict[str, Any]
    """results.json."""
    decisions: Mapping[str, np.ndarray]

    @property
    def variants(self) -> list[str]:
        """Names of the descriptors."""
        return list(self.info["variants"])

    def measurements(self, variant: str) -> Measurements:
        """Return what was wrong, each image weighted so that the mean is 100 % minus the mean class recall."""
        runs, images, classes, wrong = [], [], [], []
        for row in self.info["variants"][variant]["splits"]:
            split = row["split"]
            labels = self.decisions[f"{split}/labels"]
            runs.append(np.full(len(labels), split))
            images.append(self.decisions[f"{split}/images"])
            classes.append(labels)
            wrong.append(self.decisions[f"{variant}/{split}"] != labels)
        every = np.concatenate(runs)
        weights = class_weights(every, np.concatenate(classes))
        return Measurements(every, np.concatenate(images), weights * np.concatenate(wrong))

    def result(self, variant: str) -> Result:
        """Return the mean class recall with a descriptor."""
        error = expected_error(self.measurements(variant))
        by_split = list(error.by_run.values())
        deviation = stdev(by_split) if len(by_split) > 1 else None
        splits = self.info["variants"][variant]["splits"]
        return Result(100 - error.mean, deviation, 100 - error.high, 100 - error.low, splits)


@dataclass(frozen=True)
class Findings:
    """All classifiers of a selection."""

    classified: dict[str, Classified]
    """By net; D and E together as `D+E`, `D_BN+E_BN`."""

    @cached_property
    def results(self) -> dict[tuple[str, str], Result]:
        """By net and descriptor."""
        return {(net, variant): one.result(variant) for net, one in self.classified.items() for variant in one.variants}

    @cached_property
    def judgements(self) -> list[Judgement]:
        """The claims, for each normalisation of which there are nets."""
        present = [norm for norm in NORMS if any(named(arch, norm) in self.classified for arch in PUBLISHED)]
        return [judgement for norm in present for judgement in self._judge(norm)]

    def _judge(self, norm: str) -> list[Judgement]:
        found = {claim.key: self._differences(claim, norm) for claim in CLAIMS}
        tested = [one for claim in CLAIMS if claim.rule == "higher" for _, one, _ in found[claim.key]]
        adjusted = iter(holm([one.p_value for one in tested]) if tested else [])
        judgements = []
        for claim in CLAIMS:
            higher = claim.rule == "higher"
            parts = [Component(*one, next(adjusted) if higher else None) for one in found[claim.key]]
            judgements.append(Judgement(claim, norm, _verdict(claim, parts), parts))
        return judgements

    def _differences(self, claim: Claim, norm: str) -> list[tuple[str, Difference, Difference]]:
        """Return the differences in recall of a claim's pairs, with both confidences.

        Empty if a net or descriptor is missing.
        """
        found = []
        for pair in claim.pairs:
            nets = [(named(arch, norm), variant) for arch, variant in pair]
            if any(net not in self.classified or variant not in self.classified[net].variants for net, variant in nets):
                return []
            lower, higher = (self.classified[net].measurements(variant) for net, variant in nets)
            label = " minus ".join(net if variant == STACKED else f"{net} {variant}" for net, variant in nets[::-1])
            # Recall is 100 % minus the error: the first's error minus the second's.
            terms = [(-1.0, higher), (1.0, lower)]
            found.append((label, contrast(terms), contrast(terms, ONE_SIDED)))
        return found


def _verdict(claim: Claim, parts: list[Component]) -> Verdict:
    if not parts:
        return "not judged"
    if any(part.difference.runs == 1 for part in parts):
        return "undecided"  # one run does not show how recall varies between splits
    if claim.rule == "alike":
        difference = parts[0].narrow
        if difference.low >= -MARGIN and difference.high <= MARGIN:
            return "reproduced"
        return "contradicted" if difference.low > MARGIN or difference.high < -MARGIN else "undecided"
    significant = [part.difference.mean for part in parts if part.p_adjusted is not None and part.p_adjusted < LEVEL]
    if any(mean < 0 for mean in significant):
        return "contradicted"
    return "reproduced" if len(significant) == len(parts) else "undecided"


def read_findings(arch: str, norm: str) -> Findings:
    """Read the classifiers of a selection, whose names nets.json in its folder lists.

    Raises:
        OSError: a file cannot be read.
        StageError: a file is damaged.
    """
    nets = read_json(appendix_b(named(arch, norm), "classification") / NETS_FILE)
    folders = {net: appendix_b(net, "classification") for net in nets}
    return Findings(
        {
            net: Classified(net, read_json(folder / RESULTS_FILE), read_arrays(folder / DECISIONS_FILE))
            for net, folder in folders.items()
        }
    )
