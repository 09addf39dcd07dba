from collections.abc import Mapping

import numpy as np
import pytest
from judged_study import Source, made_up
from made_up_study import Make

from vgg_ablation.report.claims import CLAIMS, Judgement, judge
from vgg_ablation.report.comparisons import compare_all
from vgg_ablation.report.inputs import Study

PROTOCOLS = {
    "fixed": ("centre", "dense", "dense_scales"),
    "large": ("dense", "dense_scales"),
    "jitter": ("dense", "dense_scales", "multi_crop", "combined"),
}
BETTER = {"centre": 0.0, "dense": 0.0, "dense_scales": 3.0, "multi_crop": 3.0, "combined": 12.0}
AS_CLAIMED = {"A": 60.0, "A_LRN": 63.0, "B": 50.0, "C": 40.0, "D": 30.0, "E": 33.0}
REVERSED = {"A": 30.0, "A_LRN": 18.0, "B": 40.0, "C": 50.0, "D": 62.0, "E": 45.0}


def whole(nets: Mapping[str, float], sign: int = 1, shallow: float = 65.0, fused: float = 12.0) -> dict[Source, float]:
    """Expected errors of all that the claims ask for; with sign -1 jitter and averaging make it worse, not better."""
    errors = {
        (net, scale, protocol): error - sign * BETTER[protocol] - sign * (8.0 if scale == "jitter" else 0)
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
    return judged(made_up(whole(AS_CLAIMED), runs=5, pool=3000, tested=1500))


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


@pytest.mark.parametrize("key", KEYS)
def test_an_undecided_claim_tells_what_could_have_been_seen(alike: dict[str, Judgement], key: str):
    assert f"{alike[key].differences[0][1].detectable:.2f} points" in alike[key].why


@pytest.mark.parametrize("key", KEYS)
def test_one_run_decides_no_claim(single: dict[str, Judgement], key: str):
    assert (single[key].verdict, "one run" in single[key].why) == ("undecided", True)


@pytest.mark.parametrize("key", KEYS)
def test_the_sentence_has_the_numbers_of_its_differences(as_claimed: dict[str, Judgement], key: str):
    for label, difference, _ in as_claimed[key].differences:
        assert f"{label} {difference.mean:+.2f} points" in as_claimed[key].why


def test_p_values_are_corrected_over_all_differences_of_all_claims(alike: dict[str, Judgement]):
    differences = [(one[1].p_value, one[2]) for judgement in alike.values() for one in judgement.differences]
    assert len(differences) == 11
    smallest, adjusted = min(differences)
    assert adjusted == pytest.approx(min(1, 11 * smallest))


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


def test_an_improvement_within_the_margin_that_is_sure_contradicts_no_help():
    """A tiny improvement that every image and run shows is an improvement, however small."""
    study = made_up({("A", "fixed", "dense"): 40.0, ("A_LRN", "fixed", "dense"): 30.0}, runs=5, pool=2000, tested=1000)
    assert judged(study)["lrn"].verdict == "contradicted"


def test_a_worse_net_does_not_help():
    study = made_up({("A", "fixed", "dense"): 30.0, ("A_LRN", "fixed", "dense"): 40.0}, runs=5)
    assert judged(study)["lrn"].verdict == "reproduced"


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
