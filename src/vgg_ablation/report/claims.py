"""What section 4 of the paper claims, and what this study says of each claim, by a rule written down beforehand.

Each claim comes down to one or several components: a sum of nets' expected errors that the claim wants below zero, or
near zero. Their p-values are Holm-corrected over all components of all claims that the study can judge.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from vgg_ablation.report.comparisons import could_have, evidence
from vgg_ablation.report.inputs import PROTOCOLS, Study
from vgg_ablation.report.published import TRAINING_SCALES, WEIGHT_LAYERS
from vgg_ablation.report.statistics import LEVEL, Difference, Errors, contrast, holm

Verdict = Literal["reproduced", "contradicted", "undecided", "not asked"]

MARGIN = 1.0
"""Percentage points: a smaller improvement counts as none where the paper says that something does not help."""

DEPTHS = {net: WEIGHT_LAYERS[net] for net in ("A", "B", "C", "D", "E")}
"""The nets that differ in depth, with their weight layers."""

FIXED_FIRST = tuple(TRAINING_SCALES)
SHALLOW = "B_5x5"
JITTERED = ("C", "D", "E")
"""The nets that the paper trained with scale jitter."""
CROPPED = ("D", "E")
"""The nets of Table 5."""
JITTER_FIRST = ("jitter", "fixed", "large")

FALLS = (
    "Reproduced if it is below zero, contradicted if it is above zero, either with a Holm-corrected p below "
    f"{LEVEL:g}; else undecided."
)
BOTH_FALL = (
    "Reproduced if both are below zero, contradicted if one is above zero, each with a Holm-corrected p below "
    f"{LEVEL:g}; else undecided."
)
STAYS = (
    f"Contradicted if it is below zero with a Holm-corrected p below {LEVEL:g}; else reproduced if a one-sided test at "
    f"level {LEVEL:g} excludes an improvement of more than {MARGIN:g} percentage point; else undecided."
)
TABLE_3 = "dense at one test scale; fixed training scale, or the first with all of it"
JITTERED_SCALE = "jittered training scale, or the first with all of it"

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
    falls: bool = True
    """True: something lowers the error. False: it does not."""


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
    differences = [contrast(_terms(study, component)) for _, component in components]
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
    decided = [difference.mean for _, difference, p_adjusted in found if difference.runs > 1 and p_adjusted < LEVEL]
    words = [f"{label} {difference.mean:+z.2f} points ({evidence(difference, p)})" for label, difference, p in found]
    verdict: Verdict = "undecided"
    if claim.falls:
        if any(mean > 0 for mean in decided):
            verdict = "contradicted"
        elif len(decided) == len(found):
            verdict = "reproduced"
    elif any(mean < 0 for mean in decided):
        verdict = "contradicted"
    elif found[0][1].runs > 1:
        # The lower end of a two-sided interval of 90 % is the bound of a one-sided test at 5 %.
        bound = contrast(_terms(study, components[0]), confidence=1 - 2 * LEVEL).low
        verdict = "reproduced" if bound > -MARGIN else "undecided"
        words.append(
            f"a one-sided test at level {100 * LEVEL:.0f} % {'excludes' if bound > -MARGIN else 'does not exclude'} an "
            f"improvement of more than {MARGIN:g} point"
        )
    if verdict == "undecided":
        words += dict.fromkeys(
            could_have(difference) for _, difference, p in found if p >= LEVEL or difference.runs == 1
        )
    return Judgement(claim, verdict, found, "; ".join(words) + ".")


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
        [Component(f"{second} less {first}", {(second, scale, protocol): 1.0, (first, scale, protocol): -1.0})]
        for scale in FIXED_FIRST
    ]
    return lambda study: _first_complete(study, candidates)


def _slope(study: Study) -> list[Component]:
    centre = fmean(DEPTHS.values())
    squares = sum((depth - centre) ** 2 for depth in DEPTHS.values())
    label = f"slope over {', '.join(DEPTHS)} per weight layer"
    candidates = (
        [Component(label, {(net, scale, "dense"): (depth - centre) / squares for net, depth in DEPTHS.items()})]
        for scale in FIXED_FIRST
    )
    return _first_complete(study, candidates)


def _jitter_less_fixed(study: Study) -> list[Component]:
    scales = ("jitter", "fixed")
    nets = [net for net in WEIGHT_LAYERS if _has(study, [(net, scale, "dense") for scale in scales])] or JITTERED
    coefficients = {
        (net, scale, "dense"): sign / len(nets) for net in nets for scale, sign in zip(scales, (1, -1), strict=True)
    }
    return [Component(f"jitter less fixed, mean over {', '.join(nets)}", coefficients)]


def _combined_less_each(study: Study) -> list[Component]:
    both, *each = "combined", "dense_scales", "multi_crop"

    def components(scale: str) -> list[Component]:
        nets = [net for net in WEIGHT_LAYERS if _has(study, [(net, scale, one) for one in (both, *each)])] or CROPPED
        return [
            Component(
                f"{both} less {one}, mean over {', '.join(nets)}",
                {(net, scale, protocol): sign / len(nets) for net in nets for protocol, sign in ((both, 1), (one, -1))},
            )
            for one in each
        ]

    return _first_complete(study, map(components, JITTER_FIRST))


def _fusion_less_each(study: Study) -> list[Component]:
    candidates = (
        [
            Component(f"D+E less {net}", {("D+E", scale, protocol): 1.0, (net, scale, protocol): -1.0})
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
        rule=f"A_LRN's error less A's; {TABLE_3}. {STAYS}",
        components=_less("A", "A_LRN"),
        falls=False,
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
        rule=f"E's error less D's; {TABLE_3}. {STAYS}",
        components=_less("D", "E"),
        falls=False,
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
        rule=f"B's error less that of B_5x5; centre crops; fixed training scale, or the first with both. {FALLS}",
        components=_less(SHALLOW, "B", "centre"),
    ),
    Claim(
        key="jitter",
        text="Scale jittering in training lowers the error, even at one test scale",
        section="4.1",
        rule=(
            "The error at the jittered training scale less that at the fixed one, dense, each at its own one test "
            f"scale; mean over the nets of Table 1 that were trained at both. {FALLS}"
        ),
        components=_jitter_less_fixed,
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
            "The error of D and E fused less D's, and less E's; dense at three test scales, or at one if that is all "
            f"there is; {JITTERED_SCALE}. {BOTH_FALL}"
        ),
        components=_fusion_less_each,
    ),
)
"""In the order of the paper."""
