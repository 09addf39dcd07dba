from collections.abc import Mapping

import numpy as np
import pytest
from statsmodels.stats.weightstats import ttost_paired

from judged_study import Source, judged, made_up, of_runs, study_of
from made_up_study import PROTOCOLS
from vgg_ablation.analysis.claims import CLAIMS, MARGIN, VERDICTS, Judgement, judge
from vgg_ablation.analysis.statistics import contrast

BETTER = {"centre": 0.0, "dense": 0.0, "dense_scales": 3.0, "multi_crop": 3.0, "combined": 12.0}
BETTER_SCALE = {"fixed": 0.0, "large": 2.0, "jitter": 10.0}
AS_CLAIMED = {"A": 60.0, "A_LRN": 63.0, "B": 50.0, "C": 40.0, "D": 30.0, "E": 30.0}
REVERSED = {"A": 30.0, "A_LRN": 18.0, "B": 40.0, "C": 50.0, "D": 62.0, "E": 45.0}


def whole(nets: Mapping[str, float], sign: int = 1, shallow: float = 65.0, fused: float = 12.0) -> dict[Source, float]:
    """Expected errors of all that the claims need; with sign -1 jitter and averaging make it worse, not better."""
    errors = {
        (net, scale, protocol): error - sign * BETTER[protocol] - sign * BETTER_SCALE[scale]
        for scale, protocols in PROTOCOLS.items()
        for protocol in protocols
        for net, error in nets.items()
    }
    for scale, protocols in PROTOCOLS.items():
        for protocol in protocols:
            members = [errors[net, scale, protocol] for net in ("D", "E")]
            errors["D+E", scale, protocol] = min(members) - fused if sign > 0 else max(members) + fused
    return errors | {("B_5x5", "fixed", "centre"): shallow}


@pytest.fixture(scope="module")
def as_claimed() -> dict[str, Judgement]:
    return judged(made_up(whole(AS_CLAIMED), runs=5, pool=16000, tested=8000))


@pytest.fixture(scope="module")
def alike() -> dict[str, Judgement]:
    return judged(made_up(dict.fromkeys(whole(AS_CLAIMED), 40.0), runs=3, pool=300, tested=150))


KEYS = [claim.key for claim in CLAIMS]
STAYING = {"lrn": ("A", "A_LRN"), "saturation": ("D", "E")}
"""Claims of no improvement or no change, with their nets."""


def staying(differences: list[float]) -> dict[str, str]:
    """The verdicts on both claims if the two nets differ by so many points in each run, on every image alike."""
    errors = {}
    for nets in STAYING.values():
        values = [40.0] * len(differences), [40.0 + difference for difference in differences]
        errors |= {(net, "fixed", "dense"): of_runs(one, 1000) for net, one in zip(nets, values, strict=True)}
    found = judged(study_of(errors))
    return {key: found[key].verdict for key in STAYING}


# Verdicts


@pytest.mark.parametrize("key", KEYS)
def test_errors_as_the_paper_claims_reproduce(as_claimed: dict[str, Judgement], key: str):
    assert as_claimed[key].verdict == "reproduced"


def test_errors_opposite_to_the_claim_contradict():
    found = judged(made_up(whole(REVERSED, sign=-1, shallow=25.0), runs=5, pool=3000, tested=1500))
    assert {key: one.verdict for key, one in found.items()} == dict.fromkeys(KEYS, "contradicted")


def test_equal_errors_on_few_images_are_undecided(alike: dict[str, Judgement]):
    assert {key: one.verdict for key, one in alike.items()} == dict.fromkeys(KEYS, "undecided")


def test_one_run_decides_no_claim():
    found = judged(made_up(whole(AS_CLAIMED), runs=1)).values()
    assert {(one.verdict, one.one_run) for one in found} == {("undecided", True)}
    assert all(part.narrow is None for one in found for part in one.components)


@pytest.mark.parametrize(
    ("differences", "lrn", "saturation"),
    [
        ([-0.3, -0.31, -0.29], "reproduced", "reproduced"),
        ([0.3, 0.31, 0.29], "reproduced", "reproduced"),
        ([-3.0, -3.1, -2.9], "contradicted", "contradicted"),
        ([3.0, 3.1, 2.9], "reproduced", "contradicted"),
        ([-1.0, -1.1, -0.9], "undecided", "undecided"),
        ([1.0, 1.1, 0.9], "reproduced", "undecided"),
        ([9.0, 0.0, 4.0], "undecided", "undecided"),
    ],
)
def test_less_than_a_point_is_no_change(differences: list[float], lrn: str, saturation: str):
    """A rise contradicts that 19 layers saturate, but not that normalisation does not help."""
    assert staying(differences) == {"lrn": lrn, "saturation": saturation}


@pytest.mark.parametrize("mean", [-0.4, 0.0, 0.4])
@pytest.mark.parametrize("spread", [0.4, 0.55])
def test_a_difference_is_none_where_statsmodels_two_one_sided_tests_are_significant(mean: float, spread: float):
    differences = mean + spread * np.array([-1.0, 0.0, 1.0])
    values = {"C": np.full(3, 40.0), "D": 40 + differences, "E": 40 + 2 * differences}
    found = judged(study_of({(net, "fixed", "dense"): of_runs(one.tolist(), 5000) for net, one in values.items()}))
    p_value, _, _ = ttost_paired(values["D"], values["C"], -1, 1)
    expected = ("less than 1 point", "reproduced") if p_value < 0.05 else ("undecided", "undecided")
    assert (found["context"].verdict, found["saturation"].verdict) == expected


@pytest.mark.parametrize(
    ("from_a_to_e", "verdict"), [(-1.2, "reproduced"), (-0.8, "less than 1 point"), (0.8, "less than 1 point")]
)
def test_the_margin_of_a_slope_is_a_point_from_the_shallowest_net_to_the_deepest(from_a_to_e: float, verdict: str):
    layers = {"A": 11, "B": 13, "C": 16, "D": 16, "E": 19}
    rises = {net: from_a_to_e * (number - 11) / 8 for net, number in layers.items()}
    noise = np.array([-0.02, 0.0, 0.02])
    errors = {
        (net, "fixed", "dense"): of_runs((40 + rise + noise * (net == "A")).tolist(), 10_000)
        for net, rise in rises.items()
    }
    assert judged(study_of(errors))["depth"].verdict == verdict


@pytest.mark.parametrize(
    ("key", "place", "equal", "decided"),
    [
        ("crops", ("jitter", "combined"), ("jitter", "dense_scales"), [False, True]),
        ("jitter", ("jitter", "dense"), ("large", "dense"), [True, False]),
    ],
)
def test_a_claim_with_two_differences_needs_both(
    key: str, place: tuple[str, str], equal: tuple[str, str], decided: list[bool]
):
    errors = whole(AS_CLAIMED)
    for net in AS_CLAIMED:
        errors[net, *equal] = errors[net, *place]
    found = judged(made_up(errors, runs=5, pool=1000, tested=500))[key]
    assert found.verdict == "undecided"
    assert [one.decided for one in found.components] == decided


def test_a_fusion_worse_than_one_of_its_members_contradicts():
    errors = whole(AS_CLAIMED)
    errors["E", "jitter", "dense_scales"] = errors["D+E", "jitter", "dense_scales"] - 10
    assert judged(made_up(errors, runs=5, pool=2000, tested=1000))["fusion"].verdict == "contradicted"


def test_the_verdict_on_a_small_difference_has_the_margin():
    assert f"less than {MARGIN:g} point" in VERDICTS


# Numbers


def test_the_slope_is_that_of_least_squares_and_a_claim_of_no_change_has_the_90_percent_interval():
    study = made_up({(net, "fixed", "dense"): error for net, error in AS_CLAIMED.items()})
    errors = {net: one for net in AS_CLAIMED if (one := study.measurements(net, "fixed", "dense"))}
    found = judged(study)
    slope = np.polyfit([11, 13, 16, 16, 19], [errors[net].wrong.mean() for net in "ABCDE"], 1)[0]
    assert found["depth"].components[0].difference.mean == pytest.approx(100 * slope)
    for key, (first, second) in STAYING.items():
        expected = contrast([(-1, errors[first]), (1, errors[second])], confidence=0.9)
        assert found[key].components[0].narrow == expected


def test_p_values_and_power_are_corrected_over_all_components_of_the_claims_about_table_1(alike: dict[str, Judgement]):
    components = [one for key, judgement in alike.items() if key != "small_filters" for one in judgement.components]
    assert {one.difference.family for one in components} == {len(components)} == {11}
    smallest = min(components, key=lambda one: one.difference.p_value)
    assert smallest.p_adjusted == pytest.approx(min(1, 11 * smallest.difference.p_value))


def test_the_5x5_net_has_a_family_of_its_own(alike: dict[str, Judgement]):
    (component,) = alike["small_filters"].components
    assert component.difference.family == 1
    assert component.p_adjusted == component.difference.p_value


def test_the_5x5_nets_excess_is_relative_to_bs_error():
    errors = {("B", "fixed", "centre"): of_runs([40.0, 50.0]), ("B_5x5", "fixed", "centre"): of_runs([60.0, 57.0])}
    assert judged(study_of(errors))["small_filters"].relative_excess == pytest.approx(30)
    errors["B", "fixed", "centre"] = of_runs([0.0, 0.0])
    assert judged(study_of(errors))["small_filters"].relative_excess is None


def test_the_excess_is_that_of_the_errors_that_are_judged():
    changed = {"B": of_runs([50.0, 50.0]), "B_5x5": of_runs([60.0, 60.0])}
    study = study_of({(net, "fixed", "centre"): of_runs([40.0, 40.0]) for net in changed})
    (found,) = (one for one in judge(study, lambda name, *_: changed[name]) if one.claim.key == "small_filters")
    assert found.relative_excess == pytest.approx(20)


def test_jitter_has_the_test_scales_and_epochs_of_each_training_scale(as_claimed: dict[str, Judgement]):
    expected = [("fixed", [72], [40]), ("large", [108], [20]), ("jitter", [109], [21])]
    assert as_claimed["jitter"].trainings == expected


@pytest.mark.parametrize(
    ("key", "label"),
    {
        "lrn": "A_LRN minus A (fixed, dense)",
        "depth": "slope over A, B, C, D, E per weight layer (fixed, dense)",
        "small_filters": "B minus B_5x5 (fixed, centre)",
        "jitter": "jitter minus fixed, mean over A, A_LRN, B, C, D, E (dense)",
        "crops": "combined minus dense_scales, mean over A, A_LRN, B, C, D, E (jitter)",
        "fusion": "D+E minus D (jitter, dense_scales)",
    }.items(),
)
def test_a_label_has_nets_training_scale_and_protocol(as_claimed: dict[str, Judgement], key: str, label: str):
    assert as_claimed[key].components[0].label == label


# Runs that did not train


def test_runs_that_did_not_train_count_in_the_training_error():
    errors = {("C", "fixed", "dense"): 60.0, ("D", "fixed", "dense"): 30.0}
    found = judged(made_up(errors, runs=5, untrained={("C", "fixed"): 2}))["context"]
    assert (found.verdict, found.unfitted) == ("not trained far enough", {("C", "fixed"): 36.0})


def test_untrained_runs_are_those_of_a_claims_nets_and_of_a_fusions_members():
    errors = {source: error for source, error in whole(AS_CLAIMED).items() if source[1] == "jitter"}
    found = judged(made_up(errors, untrained={("D", "jitter"): 1}))
    assert [(net.arch, net.scale) for net in found["fusion"].untrained] == [("D", "jitter")]
    assert found["lrn"].untrained == []


# Where a claim is judged, and what is missing


def test_the_fixed_scale_is_judged_before_others():
    errors = {("B", scale, "dense"): 50.0 for scale in ("fixed", "large")}
    errors |= {("C", "fixed", "dense"): 60.0, ("C", "large", "dense"): 40.0}
    assert judged(made_up(errors, runs=5, pool=2000, tested=900))["non_linearity"].verdict == "contradicted"


def test_another_scale_is_judged_if_the_fixed_one_is_missing():
    found = judged(made_up({(net, "large", "dense"): error for net, error in AS_CLAIMED.items()}, runs=5))["context"]
    assert (found.verdict, found.components[0].label) == ("reproduced", "D minus C (large, dense)")


def test_fusion_is_judged_at_one_test_scale_if_three_are_missing():
    errors = {("D", "fixed", "dense"): 50.0, ("E", "fixed", "dense"): 50.0, ("D+E", "fixed", "dense"): 30.0}
    assert judged(made_up(errors, runs=5))["fusion"].verdict == "reproduced"


@pytest.mark.parametrize(
    ("key", "there", "missing", "settings"),
    [
        ("non_linearity", [("B", "fixed", "dense")], [("C", "fixed", "dense")], ["arch=all"]),
        ("non_linearity", [("C", "large", "dense")], [("B", "large", "dense")], ["arch=all", "scale=all"]),
        ("small_filters", [("B", "fixed", "centre")], [("B_5x5", "fixed", "centre")], []),
        (
            "fusion",
            [("D", "jitter", "dense_scales"), ("E", "jitter", "dense_scales")],
            [("D+E", "jitter", "dense_scales")],
            ["arch=all"],
        ),
        (
            "jitter",
            [(net, scale, "dense") for net in AS_CLAIMED for scale in ("large", "jitter")],
            [(net, "fixed", "dense") for net in ("C", "D", "E")],
            ["scale=all"],
        ),
        (
            "crops",
            [(net, "jitter", "dense_scales") for net in ("D", "E")],
            [(net, "jitter", protocol) for protocol in ("combined", "multi_crop") for net in ("D", "E")],
            ["studies.made-up.evaluate.protocols.jitter=[dense_scales,multi_crop,combined]"],
        ),
    ],
)
def test_what_is_missing_has_the_settings_that_make_it(
    key: str, there: list[Source], missing: list[Source], settings: list[str]
):
    found = judged(made_up(dict.fromkeys(there, 30.0)))[key]
    assert (found.verdict, found.components, found.missing, found.settings) == ("not tested", [], missing, settings)
