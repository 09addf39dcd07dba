"""The claims of the paper's section 4, judged by the same rules in all studies.

A claim has one or two components: contrasts of nets' expected errors. A difference of less than the claim's margin
counts as none: `MARGIN` points, and for a slope as much from the shallowest net to the deepest. The rules, by what a
claim expects of its components:

`fall`: less than 1 point if the `ONE_SIDED` interval of every component is within the margin of zero (two one-sided
    tests: Lakens 2017, Equivalence Tests), even if it excludes zero. Otherwise reproduced if every component is below
    zero, contradicted if one is above zero, each with a Holm-corrected p below `LEVEL`; else undecided.
`no fall`: reproduced if the lower end of the `ONE_SIDED` interval is above minus the margin; contradicted if its upper
    end is below that and the Holm-corrected p below `LEVEL`; else undecided.
`no change`: reproduced if the `ONE_SIDED` interval is within the margin of zero, contradicted if it is entirely beyond
    it on one side; else undecided.

Claims are judged for the nets of each normalisation by themselves. A claim is judged only if the study has all of its
nets, and each of them fitted its training images at the claim's training scales (`fit.FITTED`); a claim about a net
that did not fit is `not trained far enough`, whatever its errors. One run decides nothing.

p-values are Holm-corrected over all components of the claims about Table 1's nets of one normalisation that are judged;
the claim about the 5x5 net has a family of its own. So neither this net nor the nets of the other normalisation change
the verdicts. Claims about nets that did not fit are in no family: no test is made of them, so they cannot be wrong.
Which claims are judged depends on the settings and the training errors, never on a test error, so the correction holds
for the family at hand.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Literal, get_args

from vgg_ablation.analysis.fit import unfitted
from vgg_ablation.analysis.records import PROTOCOLS, Net
from vgg_ablation.analysis.statistics import (
    CONFIDENCE,
    LEVEL,
    MARGIN,
    ONE_SIDED,
    Difference,
    Measurements,
    contrast,
    expected_error,
    holm,
)
from vgg_ablation.analysis.study import Study
from vgg_ablation.model.table1 import weight_layers
from vgg_ablation.runtime.names import named, plain
from vgg_ablation.runtime.settings import SCALES

Verdict = Literal[
    "reproduced", "contradicted", "less than 1 point", "undecided", "not trained far enough", "not tested"
]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
Expectation = Literal["fall", "no fall", "no change"]
Source = tuple[str, str, str]
"""A net or a fusion, a training scale and a protocol."""
Contrasts = dict[str, dict[Source, float]]
"""Components of a claim: coefficients of errors by label, such as `E minus D (fixed, dense)`."""
Name = tuple[str, str, str]
"""Normalisation, key of the claim, and label of a component."""
Measured = Callable[[str, str, str], Measurements | None]
"""Errors of a source; None if the study lacks it."""

FIXED_FIRST = SCALES
JITTER_FIRST = ("jitter", "fixed", "large")
"""Orders in which training scales are tried; the first that has all of a claim's nets is taken."""
DEEPENING = ("A", "B", "C", "D", "E")
"""The nets of Table 1 that differ in depth (section 4.1)."""
SHALLOW = "B_5x5"


@dataclass(frozen=True)
class Claim:
    """One of the paper's claims."""

    key: str
    section: str
    expects: Expectation
    contrasts: Callable[[Study, str, str], Contrasts]
    """Components at a training scale and protocol, in the study (of one normalisation) or not; one unless a fall is
    expected."""
    scales: Sequence[str] = FIXED_FIRST
    protocols: Sequence[str] = ("dense", "centre")
    """Tried in this order, each at all scales."""
    margin: float = MARGIN
    """In the unit of the contrasts."""


@dataclass(frozen=True)
class JudgedComponent:
    """A component with its estimate."""

    label: str
    difference: Difference
    p_adjusted: float | None = None
    """Holm-corrected over the components of the judged claims of its family; None where nets did not fit."""
    narrow: Difference | None = None
    """With confidence `ONE_SIDED`; None where nets did not fit, and with one run."""
    detectable: float | None = None
    """The smallest true difference, points, that decides the claim against no difference with 80 % power.

    Where no improvement or no change is expected, the smallest that contradicts. None as p_adjusted, and with one run.
    """

    @property
    def decided(self) -> bool:
        """True if the corrected p-value is below `LEVEL`."""
        return self.p_adjusted is not None and self.p_adjusted < LEVEL


@dataclass(frozen=True)
class Judgement:
    """The verdict on one claim, with the numbers behind it."""

    claim: Claim
    norm: str
    """Normalisation of the nets that it is about."""
    verdict: Verdict
    contrasts: Contrasts = field(default_factory=dict)
    """Coefficients of the components, by label."""
    components: list[JudgedComponent] = field(default_factory=list)
    nets: list[Net] = field(default_factory=list)
    """Nets in the contrasts, members of fusions included, at each training scale; none if not tested."""
    missing: list[Source] = field(default_factory=list)
    """Sources that the study lacks; empty unless the claim is not tested."""
    settings: list[str] = field(default_factory=list)
    """Arguments of `dvc exp run -S` that make what is missing; the 5x5 net is run by itself."""
    relative_excess: float | None = None
    """`small_filters` alone: percent by which the 5x5 net's error is above B's; None if B makes no error."""
    trainings: list[tuple[str, list[int], list[int]]] = field(default_factory=list)
    """`jitter` alone: training scale, test scales Q in pixels, epochs; several of these where nets differ."""

    @property
    def judged(self) -> bool:
        """True if the rules were applied."""
        return self.verdict not in ("not tested", "not trained far enough")

    @property
    def weakest(self) -> JudgedComponent | None:
        """The component with the largest difference: of a claim that two errors fall, the one that is in doubt."""
        return max(self.components, key=lambda one: one.difference.mean, default=None)

    @property
    def name(self) -> tuple[str, str]:
        """Normalisation, and key of the claim."""
        return self.norm, self.claim.key

    @property
    def one_run(self) -> bool:
        """True if it is undecided because a component has one run alone."""
        return self.judged and any(one.difference.runs == 1 for one in self.components)

    @property
    def untrained(self) -> list[Net]:
        """The nets with runs that did not train."""
        return [net for net in self.nets if net.did_not_train]

    @property
    def training_errors(self) -> dict[tuple[str, str], float]:
        """Training error, percent, by net and training scale."""
        return {(net.arch, net.scale): net.training_error for net in self.nets}

    @property
    def unfitted(self) -> dict[tuple[str, str], float]:
        """Those of `training_errors` that are too large to judge the claim."""
        return unfitted(self.training_errors)


def judge(study: Study, errors: Measured | None = None) -> list[Judgement]:
    """Judge each of `CLAIMS` for each normalisation. Runs that did not train count with the error that they have.

    Args:
        study: has the nets with their training errors.
        errors: what contrasts are computed from, for example errors without one run; `study.measurements` unless given.
    """
    return [one for part in study.by_norm for one in _judge(part, errors or study.measurements)]


def _judge(study: Study, measured: Measured) -> list[Judgement]:
    """Judge each of `CLAIMS` for nets of one normalisation."""
    asked = [_before_tests(study, claim) for claim in CLAIMS]
    others = [one for one in asked if one.claim.key == "small_filters"]
    differences, adjusted = _differences(measured, [one for one in asked if one not in others])
    of_others, adjusted_of_others = _differences(measured, others)
    return [_judgement(measured, one, differences | of_others, adjusted | adjusted_of_others) for one in asked]


def _differences(measured: Measured, asked: Sequence[Judgement]) -> tuple[dict[Name, Difference], dict[Name, float]]:
    """Return the components of a family of claims, and the Holm-corrected p-values of those that are judged."""
    tested = [(*one.name, label) for one in asked if one.judged for label in one.contrasts]
    differences = {
        (*one.name, label): _contrast(measured, coefficients, family=max(len(tested), 1))
        for one in asked
        for label, coefficients in one.contrasts.items()
    }
    adjusted = dict(zip(tested, holm([differences[name].p_value for name in tested]), strict=True))
    return differences, adjusted


def _before_tests(study: Study, claim: Claim) -> Judgement:
    """Return the judgement of a claim before any test error is seen; `undecided` if it can be judged."""
    wanted = _contrasts(study, claim)
    if missing := _missing(study, wanted):
        return Judgement(claim, study.norm, "not tested", missing=missing, settings=_settings(study, missing))
    names = dict.fromkeys((net, scale) for name, scale, _ in _sources(wanted) for net in name.split("+"))
    nets = [found for net, scale in names if (found := study.net(net, scale))]
    judgement = Judgement(
        claim,
        study.norm,
        "undecided",
        wanted,
        nets=nets,
        trainings=[_training(scale, nets) for scale in SCALES] if claim.key == "jitter" else [],
    )
    return replace(judgement, verdict="not trained far enough") if judgement.unfitted else judgement


def _judgement(
    measured: Measured,
    asked: Judgement,
    differences: Mapping[Name, Difference],
    adjusted: Mapping[Name, float],
) -> Judgement:
    """Add what follows from test errors: the components, and the verdict if the claim can be judged."""
    components = []
    for label, coefficients in asked.contrasts.items():
        difference = differences[*asked.name, label]
        several = asked.judged and difference.runs > 1
        narrow = _contrast(measured, coefficients, confidence=ONE_SIDED) if several else None
        detectable = _detectable(asked.claim, difference, narrow) if asked.judged else None
        p_adjusted = adjusted.get((*asked.name, label))
        components.append(JudgedComponent(label, difference, p_adjusted, narrow, detectable))
    verdict = _verdict(asked.claim, components) if asked.judged else asked.verdict
    sources = _sources(asked.contrasts) if asked.claim.key == "small_filters" else []
    excess = _relative_excess(measured, sources) if sources else None
    return replace(asked, verdict=verdict, components=components, relative_excess=excess)


def _detectable(claim: Claim, difference: Difference, narrow: Difference | None) -> float | None:
    """Return `JudgedComponent.detectable`: where a rule has two conditions, both must be met."""
    if claim.expects == "fall" or narrow is None or narrow.detectable is None:
        return difference.detectable
    beyond = claim.margin + narrow.detectable
    return beyond if claim.expects == "no change" else max(beyond, difference.detectable or beyond)


def _verdict(claim: Claim, found: Sequence[JudgedComponent]) -> Verdict:
    """Apply the rules in this module's docstring."""
    if any(one.narrow is None for one in found):
        return "undecided"
    intervals = [one.narrow for one in found if one.narrow is not None]
    same = all(-claim.margin < one.low and one.high < claim.margin for one in intervals)
    if claim.expects == "fall":
        if same:
            return "less than 1 point"
        if any(one.decided and one.difference.mean > 0 for one in found):
            return "contradicted"
        return "reproduced" if all(one.decided for one in found) else "undecided"
    (interval,), (component,) = intervals, found
    falls, rises = interval.high < -claim.margin, interval.low > claim.margin
    if claim.expects == "no fall":
        if falls and component.decided:
            return "contradicted"
        return "reproduced" if interval.low > -claim.margin else "undecided"
    return "contradicted" if falls or rises else "reproduced" if same else "undecided"


def _contrasts(study: Study, claim: Claim) -> Contrasts:
    """Return the first of a claim's contrasts that the study has all of; if none, those with the least missing."""
    candidates = (claim.contrasts(study, scale, protocol) for protocol in claim.protocols for scale in claim.scales)
    return min(candidates, key=lambda wanted: len(_missing(study, wanted)))


def _contrast(
    measured: Measured, coefficients: dict[Source, float], confidence: float = CONFIDENCE, family: int = 1
) -> Difference:
    errors = ((coefficient, measured(*source)) for source, coefficient in coefficients.items())
    return contrast([(coefficient, one) for coefficient, one in errors if one is not None], confidence, family=family)


def _sources(wanted: Contrasts) -> list[Source]:
    return list(dict.fromkeys(source for coefficients in wanted.values() for source in coefficients))


def _missing(study: Study, wanted: Contrasts) -> list[Source]:
    return [source for source in _sources(wanted) if study.measurements(*source) is None]


def _settings(study: Study, missing: list[Source]) -> list[str]:
    absent = {(net, scale) for name, scale, _ in missing for net in name.split("+") if study.net(net, scale) is None}
    unknown = {net for net, _ in absent if not any(study.net(net, scale) for scale in study.scales)}
    settings: list[str] = []
    if {plain(net) for net in unknown} - {SHALLOW} or (not absent and any("+" in name for name, _, _ in missing)):
        settings.append("arch=all")
    if any(scale != SCALES[0] or net not in unknown for net, scale in absent):
        settings.append("scale=all")
    for scale in study.scales:
        there = study.protocols(scale)
        if wanted := {protocol for _, at, protocol in missing if at == scale} - set(there):
            protocols = ",".join(one for one in PROTOCOLS if one in wanted or one in there)
            settings.append(f"studies.{study.name}.evaluate.protocols.{scale}=[{protocols}]")
    return settings


def _relative_excess(measured: Measured, sources: Sequence[Source]) -> float | None:
    """Return by how many percent the 5x5 net's error is above B's: the paper gives this number too."""
    errors = {plain(name): measured(name, scale, protocol) for name, scale, protocol in sources}
    means = {name: expected_error(one).mean for name, one in errors.items() if one is not None}
    return 100 * (means[SHALLOW] / means["B"] - 1) if means["B"] else None


def _training(scale: str, nets: Sequence[Net]) -> tuple[str, list[int], list[int]]:
    tests = dict.fromkeys(net.test_scales[1] for net in nets if net.scale == scale)
    return scale, list(tests), list(dict.fromkeys(net.training.epochs for net in nets if net.scale == scale))


def _minus(second: str, *firsts: str) -> Callable[[Study, str, str], Contrasts]:
    """Return contrasts: one net's or fusion's error minus that of each other, all by plain name."""

    def contrasts(study: Study, scale: str, protocol: str) -> Contrasts:
        minuend, *subtrahends = (named(name, study.norm) for name in (second, *firsts))
        return {
            f"{minuend} minus {one} ({scale}, {protocol})": {
                (minuend, scale, protocol): 1.0,
                (one, scale, protocol): -1.0,
            }
            for one in subtrahends
        }

    return contrasts


def _slope(study: Study, scale: str, protocol: str) -> Contrasts:
    """Return the least-squares slope of the error over the number of weight layers."""
    depths = {named(net, study.norm): weight_layers(net) for net in DEEPENING}
    centre = fmean(depths.values())
    squares = sum((depth - centre) ** 2 for depth in depths.values())
    label = f"slope over {', '.join(depths)} per weight layer ({scale}, {protocol})"
    return {label: {(net, scale, protocol): (depth - centre) / squares for net, depth in depths.items()}}


def _jitter_minus_each(study: Study, jitter: str, protocol: str) -> Contrasts:
    nets = _nets_at(study, [(scale, protocol) for scale in JITTER_FIRST], ("C", "D", "E"))  # those of the paper
    return {
        f"{jitter} minus {scale}, mean over {', '.join(nets)} ({protocol})": _mean_minus(
            nets, (jitter, protocol), (scale, protocol)
        )
        for scale in JITTER_FIRST[1:]
    }


def _combined_minus_each(study: Study, scale: str, combined: str) -> Contrasts:
    each = ("dense_scales", "multi_crop")
    nets = _nets_at(study, [(scale, one) for one in (combined, *each)], ("D", "E"))  # those of Table 5
    return {
        f"{combined} minus {one}, mean over {', '.join(nets)} ({scale})": _mean_minus(
            nets, (scale, combined), (scale, one)
        )
        for one in each
    }


def _nets_at(study: Study, places: Sequence[tuple[str, str]], default: Sequence[str]) -> list[str]:
    """Return the nets of Table 1 that were evaluated at all of these training scales and protocols, else `default`."""
    found = [net for net in study.ablation if all(study.measurements(net, *place) is not None for place in places)]
    return found or [named(net, study.norm) for net in default]


def _mean_minus(nets: list[str], second: tuple[str, str], first: tuple[str, str]) -> dict[Source, float]:
    """Return the mean over nets of the error at one training scale and protocol minus that at another."""
    return {(net, *place): sign / len(nets) for net in nets for place, sign in ((second, 1), (first, -1))}


CLAIMS = (
    Claim("lrn", "4.1", "no fall", _minus("A_LRN", "A")),
    Claim("depth", "4.1", "fall", _slope, margin=MARGIN / (weight_layers("E") - weight_layers("A"))),
    Claim("saturation", "4.1", "no change", _minus("E", "D")),
    Claim("non_linearity", "4.1", "fall", _minus("C", "B")),
    Claim("context", "4.1", "fall", _minus("D", "C")),
    Claim("small_filters", "4.1", "fall", _minus("B", SHALLOW), protocols=["centre"]),
    Claim("jitter", "4.1", "fall", _jitter_minus_each, JITTER_FIRST[:1]),
    Claim("crops", "4.3", "fall", _combined_minus_each, JITTER_FIRST, ["combined"]),
    Claim("fusion", "4.4", "fall", _minus("D+E", "D", "E"), JITTER_FIRST, ["dense_scales", "dense", "centre"]),
)
"""In the order of the paper. `report/` has the words of each claim and rule, by key."""
