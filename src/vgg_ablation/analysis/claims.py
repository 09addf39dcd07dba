"""What section 4 of the paper claims, and what this study says of each claim, by a rule written down beforehand.

Each claim comes down to one or several components: a sum of nets' expected errors that the claim wants below zero, or
near zero. Their p-values are Holm-corrected over all components of all claims that the study can judge. That a sum is
near zero is shown by an interval within a margin, never by a p-value that is large.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from vgg_ablation.analysis.comparisons import ONE_RUN, could_have, evidence
from vgg_ablation.analysis.statistics import LEVEL, Difference, Errors, contrast, expected_error, holm
from vgg_ablation.analysis.study import PROTOCOLS, Net, Study
from vgg_ablation.paper import FIVE_BY_FIVE_EXCESS, TRAINING_SCALES, WEIGHT_LAYERS

Verdict = Literal["reproduced", "contradicted", "undecided", "not asked"]
Expectation = Literal["fall", "no fall", "no change"]

MARGIN = 1.0
"""Percentage points: a smaller difference counts as none where the paper says that something does not help or stays."""

ONE_SIDED = 1 - 2 * LEVEL
"""Confidence of the two-sided interval whose ends are the bounds of one-sided tests at `LEVEL`."""

DEPTHS = {net: WEIGHT_LAYERS[net] for net in ("A", "B", "C", "D", "E")}
"""The nets that differ in depth, with their weight layers."""

FIXED_FIRST = tuple(TRAINING_SCALES)
SHALLOW = "B_5x5"
JITTERED = ("C", "D", "E")
"""The nets that the paper trained with scale jitter."""
CROPPED = ("D", "E")
"""The nets of Table 5."""
JITTER_FIRST = ("jitter", "fixed", "large")

UNTRAINED = "Undecided, too, if no run of one of the nets trained."
FALLS = (
    "Reproduced if it is below zero, contradicted if it is above zero, either with a Holm-corrected p below "
    f"{LEVEL:g}; else undecided. {UNTRAINED}"
)
BOTH_FALL = (
    "Reproduced if both are below zero, contradicted if one is above zero, each with a Holm-corrected p below "
    f"{LEVEL:g}; else undecided. {UNTRAINED}"
)
NO_FALL = (
    f"An improvement of less than {MARGIN:g} percentage point counts as none. Reproduced if a one-sided test at level "
    f"{LEVEL:g} excludes a larger one: the lower end of the {100 * ONE_SIDED:.0f} % interval is above -{MARGIN:g}. "
    f"Contradicted if the upper end is below -{MARGIN:g} and the Holm-corrected p below {LEVEL:g}; else undecided. "
    f"{UNTRAINED}"
)
NO_CHANGE = (
    f"Less than {MARGIN:g} percentage point counts as no change. Reproduced if two one-sided tests, each at level "
    f"{LEVEL:g}, exclude more in either direction: the {100 * ONE_SIDED:.0f} % interval lies between -{MARGIN:g} and "
    f"+{MARGIN:g}. Contradicted if it lies wholly below -{MARGIN:g} (the error still falls) or wholly above "
    f"+{MARGIN:g} (it rises); else undecided. {UNTRAINED}"
)
TABLE_3 = f"dense at one test scale; training scale {', else '.join(FIXED_FIRST)}, the first with all of it"
JITTERED_SCALE = f"training scale {', else '.join(JITTER_FIRST)}, the first with all of it"

Source = tuple[str, str, str]
"""A net or a fusion, a training scale and a protocol."""


@dataclass(frozen=True)
class Component:
    """A sum of errors that a claim is about."""

    label: str
    coefficients: Mapping[Source, float]


@dataclass(frozen=True)
class Claim:
    """One of the paper's claims and the rule to judge it by."""

    key: str
    text: str
    """The paper's words in short."""
    section: str
    rule: str
    components: Callable[[Study], list[Component]]
    """What the rule asks for, whether the study has it or not."""
    expects: Expectation = "fall"
    """Of the components; of one alone unless it is a fall."""
    remark: Callable[[Study, Sequence[Component]], str] | None = None
    """What else the reader has to know of the components, in words without a full stop."""


@dataclass(frozen=True)
class Judgement:
    """What a study says of a claim."""

    claim: Claim
    verdict: Verdict
    differences: list[tuple[str, Difference, float]]
    """Label, difference and Holm-corrected p-value of each component; empty where the claim is not asked."""
    why: str
    """One sentence."""


def judge(study: Study) -> list[Judgement]:
    """Judge each of `CLAIMS` by its rule. Runs that did not train take part with the error that they have."""
    asked = {claim.key: claim.components(study) for claim in CLAIMS}
    missing = {key: _missing(study, components) for key, components in asked.items()}
    components = [(key, component) for key, parts in asked.items() if not missing[key] for component in parts]
    differences = [contrast(_terms(study, component), family=len(components)) for _, component in components]
    adjusted = holm([difference.p_value for difference in differences])
    found: dict[str, list[tuple[str, Difference, float]]] = {}
    for (key, component), difference, p_adjusted in zip(components, differences, adjusted, strict=True):
        found.setdefault(key, []).append((component.label, difference, p_adjusted))
    return [
        Judgement(claim, "not asked", [], _how_to_ask(study, missing[claim.key]))
        if missing[claim.key]
        else _judged(study, claim, asked[claim.key], found[claim.key])
        for claim in CLAIMS
    ]


def _judged(
    study: Study, claim: Claim, components: Sequence[Component], found: list[tuple[str, Difference, float]]
) -> Judgement:
    words = [f"{label} {difference.mean:+z.2f} points ({evidence(difference, p)})" for label, difference, p in found]
    if any(difference.runs == 1 for _, difference, _ in found):
        verdict, reasons = "undecided", [ONE_RUN]
    elif claim.expects == "fall":
        verdict, reasons = _falls(found)
    else:
        ((_, _, p_adjusted),) = found
        narrow = contrast(_terms(study, components[0]), confidence=ONE_SIDED)
        verdict, reasons = _stays(narrow) if claim.expects == "no change" else _does_not_fall(narrow, p_adjusted)
    failed = [net for net in _nets(study, components) if net.did_not_train]
    never = [net for net in failed if net.did_not_train == len(net.runs)]
    if never:
        verdict, reasons = "undecided", []
    if claim.remark:
        words.append(claim.remark(study, components))
    words += reasons
    words += [
        f"{net.did_not_train} of {len(net.runs)} runs of {net.arch} ({net.scale}) did not train" for net in failed
    ]
    if never:
        words.append("an error of a net that never trained says nothing of the net")
    return Judgement(claim, verdict, found, "; ".join(words) + ".")


def _falls(found: Sequence[tuple[str, Difference, float]]) -> tuple[Verdict, list[str]]:
    """Return the verdict by `FALLS` or `BOTH_FALL`, and what the undecided differences would have had to be."""
    decided = [difference.mean for _, difference, p_adjusted in found if p_adjusted < LEVEL]
    if any(mean > 0 for mean in decided):
        return "contradicted", []
    if len(decided) == len(found):
        return "reproduced", []
    return "undecided", list(dict.fromkeys(could_have(difference) for _, difference, p in found if p >= LEVEL))


def _does_not_fall(narrow: Difference, p_adjusted: float) -> tuple[Verdict, list[str]]:
    """Return the verdict by `NO_FALL`, and what the narrow interval says."""
    if p_adjusted < LEVEL and narrow.high < -MARGIN:
        return "contradicted", [f"{_interval(narrow)}, wholly below -{MARGIN:g} point"]
    larger = f"an improvement of more than {MARGIN:g} point"
    if narrow.low > -MARGIN:
        return "reproduced", [f"{_interval(narrow)}, which excludes {larger}"]
    return "undecided", [f"{_interval(narrow)}, which does not exclude {larger}", _needed(narrow)]


def _stays(narrow: Difference) -> tuple[Verdict, list[str]]:
    """Return the verdict by `NO_CHANGE`, and what the narrow interval says."""
    if narrow.high < -MARGIN:
        return "contradicted", [f"{_interval(narrow)}, wholly below -{MARGIN:g} point: the error still falls"]
    if narrow.low > MARGIN:
        return "contradicted", [f"{_interval(narrow)}, wholly above +{MARGIN:g} point: the error rises"]
    if narrow.low > -MARGIN and narrow.high < MARGIN:
        return "reproduced", [f"{_interval(narrow)}, within {MARGIN:g} point of zero"]
    beside = f"neither within {MARGIN:g} point of zero nor wholly beyond it"
    return "undecided", [f"{_interval(narrow)}, {beside}", _needed(narrow)]


def _interval(narrow: Difference) -> str:
    return f"the {100 * ONE_SIDED:.0f} % interval is {narrow.low:+z.2f} to {narrow.high:+z.2f}"


def _needed(narrow: Difference) -> str:
    """Return how narrow the interval would have had to be."""
    return (
        f"equal nets take a half width below {MARGIN:g} point to be shown so, and that of this interval is "
        f"{(narrow.high - narrow.low) / 2:.2f}"
    )


def _nets(study: Study, components: Sequence[Component]) -> list[Net]:
    """Return the nets whose runs the components are about, members of fusions among them."""
    sources = [source for component in components for source in component.coefficients]
    names = dict.fromkeys((net, scale) for name, scale, _ in sources for net in name.split("+"))
    return [found for net, scale in names if (found := study.net(net, scale))]


def _terms(study: Study, component: Component) -> list[tuple[float, Errors]]:
    found = [(coefficient, study.errors(*source)) for source, coefficient in component.coefficients.items()]
    return [(coefficient, errors) for coefficient, errors in found if errors is not None]


def _missing(study: Study, components: Sequence[Component]) -> list[Source]:
    sources = dict.fromkeys(source for component in components for source in component.coefficients)
    return [source for source in sources if study.errors(*source) is None]


def _how_to_ask(study: Study, missing: Sequence[Source]) -> str:
    """Return what is not there and the commands that make it."""
    absent = {(net, scale) for name, scale, _ in missing for net in name.split("+") if study.net(net, scale) is None}
    unknown = {net for net, _ in absent if not any(study.net(net, scale) for scale in study.scales)}
    settings: list[str] = []
    if unknown - {SHALLOW} or (not absent and any("+" in name for name, _, _ in missing)):
        settings.append("arch=all")
    if any(scale != "fixed" or net not in unknown for net, scale in absent):
        settings.append("scale=all")
    for scale in study.scales:
        wanted = {protocol for name, at, protocol in missing if at == scale} - set(study.protocols(scale))
        if wanted:
            protocols = ",".join(one for one in PROTOCOLS if one in wanted or one in study.protocols(scale))
            settings.append(f"'studies.{study.name}.evaluate.protocols.{scale}=[{protocols}]'")
    commands = [f"`dvc exp run {' '.join(f'-S {setting}' for setting in settings)}`"] if settings else []
    if SHALLOW in unknown:
        commands += [f"`dvc exp run -S arch={SHALLOW}`", "`python stages/report.py --partial`"]
    lacking = [
        f"{', '.join(dict.fromkeys(name for name, at, _ in missing if at == scale))} at training scale {scale} under "
        f"{', '.join(dict.fromkeys(protocol for _, at, protocol in missing if at == scale))}"
        for scale in dict.fromkeys(scale for _, scale, _ in missing)
    ]
    return f"Not there: {'; '.join(lacking)}. To ask: {', then '.join(commands)}."


def _first_complete(study: Study, candidates: Iterable[list[Component]]) -> list[Component]:
    """Return the first of the candidates that the study has all of; if there is none, the one with least missing."""
    return min(candidates, key=lambda components: len(_missing(study, components)))


def _less(first: str, second: str, protocol: str = "dense") -> Callable[[Study], list[Component]]:
    """Return what a claim on two nets asks: the second's error less the first's."""
    candidates = [
        [
            Component(
                f"{second} less {first} ({scale}, {protocol})",
                {(second, scale, protocol): 1.0, (first, scale, protocol): -1.0},
            )
        ]
        for scale in FIXED_FIRST
    ]
    return lambda study: _first_complete(study, candidates)


def _slope(study: Study) -> list[Component]:
    centre = fmean(DEPTHS.values())
    squares = sum((depth - centre) ** 2 for depth in DEPTHS.values())
    candidates = (
        [
            Component(
                f"slope over {', '.join(DEPTHS)} per weight layer ({scale}, dense)",
                {(net, scale, "dense"): (depth - centre) / squares for net, depth in DEPTHS.items()},
            )
        ]
        for scale in FIXED_FIRST
    )
    return _first_complete(study, candidates)


def _jitter_less_each(study: Study) -> list[Component]:
    jitter, *each = JITTER_FIRST
    nets = [net for net in WEIGHT_LAYERS if _has(study, [(net, scale, "dense") for scale in JITTER_FIRST])] or JITTERED
    return [
        Component(
            f"{jitter} less {scale}, mean over {', '.join(nets)} (dense)",
            {(net, at, "dense"): sign / len(nets) for net in nets for at, sign in ((jitter, 1), (scale, -1))},
        )
        for scale in each
    ]


def _how_trained(study: Study, components: Sequence[Component]) -> str:
    """Return test scale and epochs at each training scale: jitter's nets are not trained and tested as fixed's are."""
    nets = _nets(study, components)
    ways: list[str] = []
    for scale in FIXED_FIRST:
        at = [net for net in nets if net.scale == scale]
        sides = " or ".join(dict.fromkeys(str(net.test_scales[1]) for net in at))
        epochs = " or ".join(dict.fromkeys(str(net.training.epochs) for net in at))
        ways.append(f"{scale} at Q = {sides} after {epochs} {'more ' if ways else ''}epochs")
    return f"tested were {', '.join(ways)}"


def _relative_excess(study: Study, components: Sequence[Component]) -> str:
    """Return how much higher the 5x5 net's error is than B's, of which the paper gives a number."""
    ours = {
        name: expected_error(errors).mean
        for name, *where in components[0].coefficients
        if (errors := study.errors(name, *where))
    }
    if not ours["B"]:
        return f"in the paper {SHALLOW} less B is {FIVE_BY_FIVE_EXCESS:+g} % of B's error"
    excess = 100 * (ours[SHALLOW] / ours["B"] - 1)
    return f"{SHALLOW} less B is {excess:+z.1f} % of B's error, in the paper {FIVE_BY_FIVE_EXCESS:+g} %"


def _combined_less_each(study: Study) -> list[Component]:
    both, *each = "combined", "dense_scales", "multi_crop"

    def components(scale: str) -> list[Component]:
        nets = [net for net in WEIGHT_LAYERS if _has(study, [(net, scale, one) for one in (both, *each)])] or CROPPED
        return [
            Component(
                f"{both} less {one}, mean over {', '.join(nets)} ({scale})",
                {(net, scale, protocol): sign / len(nets) for net in nets for protocol, sign in ((both, 1), (one, -1))},
            )
            for one in each
        ]

    return _first_complete(study, map(components, JITTER_FIRST))


def _fusion_less_each(study: Study) -> list[Component]:
    candidates = (
        [
            Component(
                f"D+E less {net} ({scale}, {protocol})",
                {("D+E", scale, protocol): 1.0, (net, scale, protocol): -1.0},
            )
            for net in ("D", "E")
        ]
        for protocol in ("dense_scales", "dense")
        for scale in JITTER_FIRST
    )
    return _first_complete(study, candidates)


def _has(study: Study, sources: Iterable[Source]) -> bool:
    return all(study.errors(*source) is not None for source in sources)


CLAIMS = (
    Claim(
        key="lrn",
        text="Local response normalisation does not improve on the net A without it",
        section="4.1",
        rule=f"A_LRN's error less A's; {TABLE_3}. {NO_FALL}",
        components=_less("A", "A_LRN"),
        expects="no fall",
    ),
    Claim(
        key="depth",
        text="The error falls with depth",
        section="4.1",
        rule=(
            "The least-squares slope of the error over the number of weight layers, nets A, B, C, D and E; "
            f"{TABLE_3}. {FALLS}"
        ),
        components=_slope,
    ),
    Claim(
        key="saturation",
        text="The error saturates when the depth reaches 19 layers",
        section="4.1",
        rule=f"E's error less D's; {TABLE_3}. {NO_CHANGE}",
        components=_less("D", "E"),
        expects="no change",
    ),
    Claim(
        key="non_linearity",
        text="The additional non-linearity helps: C is better than B",
        section="4.1",
        rule=f"C's error less B's; {TABLE_3}. {FALLS}",
        components=_less("B", "C"),
    ),
    Claim(
        key="context",
        text="Spatial context matters: D is better than C, of the same depth",
        section="4.1",
        rule=f"D's error less C's; {TABLE_3}. {FALLS}",
        components=_less("C", "D"),
    ),
    Claim(
        key="small_filters",
        text="A deep net with small filters outperforms a shallow net with larger ones: B is better than B_5x5",
        section="4.1",
        rule=(
            f"B's error less that of {SHALLOW}; centre crops; training scale {', else '.join(FIXED_FIRST)}, the first "
            f"with both. {FALLS}"
        ),
        components=_less(SHALLOW, "B", "centre"),
        remark=_relative_excess,
    ),
    Claim(
        key="jitter",
        text="Scale jittering in training lowers the error, even at one test scale",
        section="4.1",
        rule=(
            "The error at the jittered training scale less that at the fixed one, and less that at the large one, "
            "dense, each at its own one test scale; mean over the nets of Table 1 that were trained at all three. "
            f"{BOTH_FALL}"
        ),
        components=_jitter_less_each,
        remark=_how_trained,
    ),
    Claim(
        key="crops",
        text="Multi-crop and dense evaluation complement each other: both together are better than either",
        section="4.3",
        rule=(
            "The error of both combined less that of dense, and less that of multi-crop, all at three test scales; "
            f"mean over the nets of Table 1 that were tested so; {JITTERED_SCALE}. {BOTH_FALL}"
        ),
        components=_combined_less_each,
    ),
    Claim(
        key="fusion",
        text="Averaging the posteriors of several nets lowers the error",
        section="4.4",
        rule=(
            f"The error of D and E fused less D's, and less E's; {JITTERED_SCALE}; dense at three test scales, or at "
            f"one where no training scale has all of it at three. {BOTH_FALL}"
        ),
        components=_fusion_less_each,
    ),
)
"""In the order of the paper."""
