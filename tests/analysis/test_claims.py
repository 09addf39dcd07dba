import re
from collections.abc import Mapping

import numpy as np
import pytest
from statsmodels.stats.weightstats import ttost_paired

from judged_study import Source, made_up, of_runs, study_of
from made_up_study import Make
from vgg_ablation.analysis.claims import CLAIMS, Judgement, judge
from vgg_ablation.analysis.comparisons import compare_all
from vgg_ablation.analysis.study import Study

PROTOCOLS = {
    "fixed": ("centre", "dense", "dense_scales"),
    "large": ("dense", "dense_scales"),
    "jitter": ("dense", "dense_scales", "multi_crop", "combined"),
}
BETTER = {"centre": 0.0, "dense": 0.0, "dense_scales": 3.0, "multi_crop": 3.0, "combined": 12.0}
BETTER_SCALE = {"fixed": 0.0, "large": 2.0, "jitter": 10.0}
AS_CLAIMED = {"A": 60.0, "A_LRN": 63.0, "B": 50.0, "C": 40.0, "D": 30.0, "E": 30.0}
REVERSED = {"A": 30.0, "A_LRN": 18.0, "B": 40.0, "C": 50.0, "D": 62.0, "E": 45.0}


def whole(nets: Mapping[str, float], sign: int = 1, shallow: float = 65.0, fused: float = 12.0) -> dict[Source, float]:
    """Expected errors of all that the claims ask for; with sign -1 jitter and averaging make it worse, not better."""
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


def judged(study: Study) -> dict[str, Judgement]:
    return {one.claim.key: one for one in judge(study)}


@pytest.fixture(scope="module")
def as_claimed() -> dict[str, Judgement]:
    return judged(made_up(whole(AS_CLAIMED), runs=5, pool=16000, tested=8000))


@pytest.fixture(scope="module")
def reverse() -> dict[str, Judgement]:
    return judged(made_up(whole(REVERSED, sign=-1, shallow=25.0), runs=5, pool=3000, tested=1500))


@pytest.fixture(scope="module")
def alike() -> dict[str, Judgement]:
    errors = dict.fromkeys(whole(AS_CLAIMED), 40.0)
    return judged(made_up(errors, runs=3, pool=300, tested=150))


@pytest.fixture(scope="module")
def single() -> dict[str, Judgement]:
    return judged(made_up(whole(AS_CLAIMED), runs=1))


KEYS = [claim.key for claim in CLAIMS]
"""All nine of the issue: LRN, depth, saturation, C and B, D and C, 5x5, jitter, crops, fusion."""
FALLING = [claim.key for claim in CLAIMS if claim.expects == "fall"]
STAYING = {"lrn": ("A", "A_LRN"), "saturation": ("D", "E")}
"""Claims that something changes nothing, or does not help, with the nets that they are about."""


def two(key: str, differences: list[float]) -> Judgement:
    """Judge the claim on two nets whose errors differ by so many points in each run, on every image alike."""
    first, second = STAYING[key]
    errors = {
        (first, "fixed", "dense"): of_runs([40.0] * len(differences), 1000),
        (second, "fixed", "dense"): of_runs([40.0 + difference for difference in differences], 1000),
    }
    return judged(study_of(errors))[key]


def interval(why: str) -> list[float]:
    found = re.search(r"the 90 % interval is ([+-]\S+) to ([+-][\d.]+)", why)
    assert found
    return [float(bound) for bound in found.groups()]


def test_there_are_nine_claims_each_with_a_rule():
    assert len(set(KEYS)) == 9
    assert all("else undecided." in claim.rule for claim in CLAIMS)


@pytest.mark.parametrize("key", KEYS)
def test_what_is_as_the_paper_says_is_reproduced(as_claimed: dict[str, Judgement], key: str):
    assert as_claimed[key].verdict == "reproduced"


@pytest.mark.parametrize("key", KEYS)
def test_what_is_the_opposite_of_what_the_paper_says_is_contradicted(reverse: dict[str, Judgement], key: str):
    assert reverse[key].verdict == "contradicted"


@pytest.mark.parametrize("key", KEYS)
def test_what_the_data_cannot_tell_is_undecided(alike: dict[str, Judgement], key: str):
    assert alike[key].verdict == "undecided"


@pytest.mark.parametrize("key", FALLING)
def test_an_undecided_claim_that_an_error_falls_tells_what_could_have_been_seen(alike: dict[str, Judgement], key: str):
    assert f"finds a difference of {alike[key].differences[0][1].detectable:.2f} points" in alike[key].why


@pytest.mark.parametrize("key", STAYING)
def test_an_undecided_claim_that_nothing_changes_tells_how_wide_its_interval_is(alike: dict[str, Judgement], key: str):
    low, high = interval(alike[key].why)
    half = float(alike[key].why.removesuffix(".").rsplit(" ", 1)[1])
    assert half == pytest.approx((high - low) / 2, abs=0.01)
    assert "80 % power" not in alike[key].why


def test_the_power_is_that_after_the_correction_over_all_claims(alike: dict[str, Judgement]):
    tests = [one for judgement in alike.values() for one in judgement.differences]
    assert {difference.family for _, difference, _ in tests} == {len(tests)}
    assert f"level 5 % / {len(tests)}, Holm's first step" in alike["context"].why


@pytest.mark.parametrize("key", KEYS)
def test_one_run_decides_no_claim(single: dict[str, Judgement], key: str):
    assert (single[key].verdict, "one run" in single[key].why) == ("undecided", True)


@pytest.mark.parametrize("key", KEYS)
def test_the_sentence_has_the_numbers_of_its_differences(as_claimed: dict[str, Judgement], key: str):
    for label, difference, _ in as_claimed[key].differences:
        assert f"{label} {difference.mean:+.2f} points" in as_claimed[key].why


def test_p_values_are_corrected_over_all_differences_of_all_claims(alike: dict[str, Judgement]):
    differences = [(one[1].p_value, one[2]) for judgement in alike.values() for one in judgement.differences]
    assert len(differences) == 12
    smallest, adjusted = min(differences)
    assert adjusted == pytest.approx(min(1, 12 * smallest))


def test_the_slope_is_that_of_least_squares():
    study = made_up({(net, "fixed", "dense"): error for net, error in AS_CLAIMED.items()})
    depths, nets = [11, 13, 16, 16, 19], ["A", "B", "C", "D", "E"]
    means = [errors.wrong.mean() for net in nets if (errors := study.errors(net, "fixed", "dense"))]
    ((_, difference, _),) = judged(study)["depth"].differences
    assert difference.mean == pytest.approx(100 * np.polyfit(depths, means, 1)[0])


def test_what_complements_each_other_has_to_beat_both():
    """Combined is far better than multi-crop, and as good as dense."""
    errors = whole(AS_CLAIMED)
    for net in AS_CLAIMED:
        errors[net, "jitter", "dense_scales"] = errors[net, "jitter", "combined"]
    found = judged(made_up(errors, runs=5, pool=2000, tested=1000))["crops"]
    assert found.verdict == "undecided"
    assert found.differences[1][2] < 0.05


def test_a_fusion_worse_than_one_of_its_members_contradicts():
    errors = whole(AS_CLAIMED)
    errors["E", "jitter", "dense_scales"] = errors["D+E", "jitter", "dense_scales"] - 10
    assert judged(made_up(errors, runs=5, pool=2000, tested=1000))["fusion"].verdict == "contradicted"


@pytest.mark.parametrize(
    ("differences", "lrn", "saturation"),
    [
        ([-0.3, -0.31, -0.29], "reproduced", "reproduced"),
        ([0.3, 0.31, 0.29], "reproduced", "reproduced"),
        ([-3.0, -3.1, -2.9], "contradicted", "contradicted"),
        ([3.0, 3.1, 2.9], "reproduced", "contradicted"),
        ([-3.0, 3.1, 0.0], "undecided", "undecided"),
        ([-1.0, -1.1, -0.9], "undecided", "undecided"),
        ([1.0, 1.1, 0.9], "reproduced", "undecided"),
        ([9.0, 0.0, 4.0], "undecided", "undecided"),
    ],
)
def test_what_is_within_a_point_changes_nothing_and_what_is_beyond_does(
    differences: list[float], lrn: str, saturation: str
):
    """An improvement alone contradicts that LRN does not help; 19 layers saturate only if the error does not rise."""
    assert (two("lrn", differences).verdict, two("saturation", differences).verdict) == (lrn, saturation)


@pytest.mark.parametrize("mean", [-0.4, 0.0, 0.4])
@pytest.mark.parametrize("spread", [0.3, 0.4, 0.55, 0.65])
def test_saturation_is_reproduced_where_statsmodels_two_one_sided_tests_are_significant(mean: float, spread: float):
    differences = mean + spread * np.array([-1.0, 0.0, 1.0])
    p_value, _, _ = ttost_paired(40 + differences, np.full(3, 40.0), -1, 1)
    assert (two("saturation", differences.tolist()).verdict == "reproduced") == (p_value < 0.05)


@pytest.mark.parametrize("key", STAYING)
def test_the_90_percent_interval_is_told_of_what_stays(as_claimed: dict[str, Judgement], key: str):
    low, high = interval(as_claimed[key].why)
    ((_, difference, _),) = as_claimed[key].differences
    assert difference.low < low < difference.mean < high < difference.high


def test_a_rising_error_is_named_as_what_contradicts_saturation():
    assert "wholly above +1 point: the error rises" in two("saturation", [3.0, 3.1, 2.9]).why


# Runs that did not train


@pytest.mark.parametrize("key", KEYS)
def test_a_net_of_which_no_run_trained_decides_nothing(key: str):
    untrained = {(net, scale): 5 for net in (*AS_CLAIMED, "B_5x5") for scale in PROTOCOLS}
    found = judged(made_up(whole(AS_CLAIMED), runs=5, pool=1200, tested=600, untrained=untrained))[key]
    assert found.verdict == "undecided"
    assert "5 of 5 runs of " in found.why


def test_a_net_that_stays_at_chance_does_not_saturate():
    errors = {("D", "fixed", "dense"): 28.0, ("E", "fixed", "dense"): 90.0}
    found = judged(made_up(errors, runs=3, pool=2000, tested=1000, untrained={("E", "fixed"): 3}))["saturation"]
    assert found.verdict == "undecided"
    assert "3 of 3 runs of E (fixed) did not train" in found.why


def test_some_runs_that_did_not_train_are_told_and_leave_the_verdict():
    errors = {("C", "fixed", "dense"): 60.0, ("D", "fixed", "dense"): 30.0}
    found = judged(made_up(errors, runs=5, untrained={("C", "fixed"): 2}))["context"]
    assert found.verdict == "reproduced"
    assert found.why.endswith("; 2 of 5 runs of C (fixed) did not train.")


def test_the_members_of_a_fusion_are_looked_at(as_claimed: dict[str, Judgement]):
    errors = {source: error for source, error in whole(AS_CLAIMED).items() if source[1] == "jitter"}
    study = made_up(errors, runs=5, pool=1200, tested=600, untrained={("D", "jitter"): 1})
    assert judged(study)["fusion"].why.endswith("; 1 of 5 runs of D (jitter) did not train.")
    assert "did not train" not in as_claimed["fusion"].why


def test_nets_that_a_claim_does_not_ask_for_are_left_out_of_its_sentence():
    errors = {(net, "fixed", "dense"): error for net, error in AS_CLAIMED.items()}
    assert "did not train" not in judged(made_up(errors, untrained={("E", "fixed"): 3}))["context"].why


# What a claim is about


def test_jitter_has_to_beat_the_large_scale_too():
    """At the fixed scale a net is tested at a smaller size, after fewer epochs: that it is worse says little."""
    errors = whole(AS_CLAIMED)
    for net in AS_CLAIMED:
        errors[net, "large", "dense"] = errors[net, "jitter", "dense"]
    found = judged(made_up(errors, runs=5, pool=2000, tested=1000))["jitter"]
    assert found.verdict == "undecided"
    assert found.differences[0][2] < 0.05


def test_jitter_is_not_asked_without_the_large_scale():
    errors = {source: error for source, error in whole(AS_CLAIMED).items() if source[1] != "large"}
    found = judged(made_up(errors))["jitter"]
    assert (found.verdict, "training scale large" in found.why) == ("not asked", True)


def test_jitters_sentence_tells_test_scales_and_epochs(as_claimed: dict[str, Judgement]):
    expected = "fixed at Q = 72 after 40 epochs, large at Q = 108 after 20 more epochs, jitter at Q = 109 after 21 more"
    assert expected in as_claimed["jitter"].why


def test_the_5x5_nets_excess_is_relative_to_bs_error():
    errors = {("B", "fixed", "centre"): of_runs([40.0, 50.0]), ("B_5x5", "fixed", "centre"): of_runs([60.0, 57.0])}
    expected = "B_5x5 less B is +30.0 % of B's error, in the paper +7 %"
    assert expected in judged(study_of(errors))["small_filters"].why


def test_an_excess_over_no_error_is_left_out():
    errors = {("B", "fixed", "centre"): of_runs([0.0, 0.0]), ("B_5x5", "fixed", "centre"): of_runs([60.0, 57.0])}
    assert "; in the paper B_5x5 less B is +7 % of B's error" in judged(study_of(errors))["small_filters"].why


@pytest.mark.parametrize(
    ("key", "place"),
    {
        "lrn": "(fixed, dense)", "depth": "(fixed, dense)", "small_filters": "(fixed, centre)", "jitter": "(dense)",
        "crops": "(jitter)", "fusion": "(jitter, dense_scales)",
    }.items(),
)  # fmt: skip
def test_a_label_ends_with_training_scale_and_protocol(as_claimed: dict[str, Judgement], key: str, place: str):
    assert {label[-len(place) :] for label, _, _ in as_claimed[key].differences} == {place}


def test_a_label_has_the_scale_that_the_claim_fell_back_to():
    found = judged(made_up({(net, "large", "dense"): error for net, error in AS_CLAIMED.items()}))["context"]
    assert found.differences[0][0] == "D less C (large, dense)"


@pytest.mark.parametrize("key", [key for key in KEYS if key != "jitter"])
def test_a_rule_tells_in_which_order_training_scales_are_tried(key: str):
    rule = next(claim.rule for claim in CLAIMS if claim.key == key)
    order = "jitter, else fixed, else large" if key in ("crops", "fusion") else "fixed, else large, else jitter"
    assert f"training scale {order}, the first with" in rule


def test_equal_nets_on_few_images_are_not_called_equal():
    study = made_up({("A", "fixed", "dense"): 40.0, ("A_LRN", "fixed", "dense"): 40.0}, runs=5)
    assert "does not exclude" in judged(study)["lrn"].why


def test_a_study_at_another_scale_is_judged_there():
    study = made_up({(net, "large", "dense"): error for net, error in AS_CLAIMED.items()}, runs=5)
    assert judged(study)["non_linearity"].verdict == "reproduced"


def test_the_fixed_scale_is_judged_before_others():
    errors = {("B", scale, "dense"): 50.0 for scale in ("fixed", "large")}
    study = made_up(
        errors | {("C", "fixed", "dense"): 60.0, ("C", "large", "dense"): 40.0}, runs=5, pool=2000, tested=900
    )
    assert judged(study)["non_linearity"].verdict == "contradicted"


@pytest.mark.parametrize("key", KEYS)
def test_a_claim_on_what_was_not_run_is_not_asked(key: str):
    found = judged(made_up({("A", "fixed", "dense"): 30.0}))[key]
    assert (found.verdict, found.differences) == ("not asked", [])
    assert "`dvc exp run -S " in found.why


def test_a_missing_net_is_named_with_the_command_that_trains_it():
    found = judged(made_up({("B", "fixed", "dense"): 30.0}))["non_linearity"]
    assert found.why == "Not there: C at training scale fixed under dense. To ask: `dvc exp run -S arch=all`."


def test_a_missing_training_scale_is_named_with_the_command_that_trains_it():
    study = made_up({(net, "fixed", "dense"): 30.0 for net in AS_CLAIMED})
    assert judged(study)["jitter"].why.endswith("To ask: `dvc exp run -S scale=all`.")


def test_the_fixed_scale_may_be_the_missing_one():
    study = made_up({(net, scale, "dense"): 30.0 for net in AS_CLAIMED for scale in ("large", "jitter")})
    assert judged(study)["jitter"].why.endswith("To ask: `dvc exp run -S scale=all`.")


def test_a_missing_protocol_is_named_with_the_setting_that_adds_it():
    study = made_up({(net, "jitter", "dense_scales"): 30.0 for net in AS_CLAIMED})
    setting = "'studies.made-up.evaluate.protocols.jitter=[dense_scales,multi_crop,combined]'"
    assert judged(study)["crops"].why.endswith(f"To ask: `dvc exp run -S {setting}`.")


def test_the_missing_5x5_net_is_trained_by_itself():
    study = made_up({("B", "fixed", "centre"): 30.0})
    expected = "To ask: `dvc exp run -S arch=B_5x5`, then `python stages/report.py --partial`."
    assert judged(study)["small_filters"].why.endswith(expected)


def test_a_missing_fusion_takes_all_nets():
    study = made_up({(net, "jitter", "dense_scales"): 30.0 for net in ("D", "E")})
    assert judged(study)["fusion"].why.endswith("To ask: `dvc exp run -S arch=all`.")


def test_what_lacks_least_is_asked_for():
    study = made_up({("C", "large", "dense"): 30.0})
    assert judged(study)["non_linearity"].why.startswith("Not there: B at training scale large under dense.")


def test_fusion_falls_back_to_one_test_scale():
    study = made_up(
        {("D", "fixed", "dense"): 50.0, ("E", "fixed", "dense"): 50.0, ("D+E", "fixed", "dense"): 30.0}, runs=5
    )
    assert judged(study)["fusion"].verdict == "reproduced"


def test_a_study_read_from_files_is_judged(make: Make):
    study = make(runs=3).read()
    scale, protocol = study.lead
    judgements = {one.claim.key: one for one in judge(study)}
    assert judgements["depth"].differences[0][1].runs == 3
    assert len(compare_all(study, scale, protocol)) == 15
