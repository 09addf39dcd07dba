import numpy as np
import pytest

from judged_study import made_up, study_of
from vgg_ablation.analysis.comparisons import NEIGHBOURS, Comparison, compare_all
from vgg_ablation.analysis.statistics import Errors, paired_difference
from vgg_ablation.analysis.study import Study
from vgg_ablation.paper import WEIGHT_LAYERS

FAR_APART = {"A": 80.0, "B": 50.0, "C": 20.0}


def dense(expected: dict[str, float], runs: int = 3) -> Study:
    return made_up({(net, "fixed", "dense"): error for net, error in expected.items()}, runs)


def pairs(study: Study) -> dict[tuple[str, str], Comparison]:
    return {(one.first, one.second): one for one in compare_all(study, "fixed", "dense")}


def test_six_nets_make_fifteen_pairs_of_which_five_are_neighbours():
    found = pairs(dense(dict.fromkeys(WEIGHT_LAYERS, 30.0)))
    assert len(found) == 15
    assert tuple(pair for pair, one in found.items() if one.neighbours) == NEIGHBOURS


def test_one_net_makes_no_pair():
    assert pairs(dense({"A": 30.0})) == {}


def test_a_net_without_the_protocol_takes_no_part():
    study = made_up({("A", "fixed", "dense"): 30.0, ("B", "fixed", "dense"): 30.0, ("C", "fixed", "centre"): 30.0})
    assert list(pairs(study)) == [("A", "B")]


def test_nets_far_apart_are_told_apart():
    assert {pair: one.verdict for pair, one in pairs(dense(FAR_APART)).items()} == {
        ("A", "B"): "B lower",
        ("A", "C"): "C lower",
        ("B", "C"): "C lower",
    }


def test_a_second_net_that_is_worse_is_not_the_better_one():
    assert pairs(dense({"A": 20.0, "B": 50.0}))["A", "B"].better == "A"


def test_equal_nets_are_undecided():
    assert pairs(dense({"A": 30.0, "B": 30.0}))["A", "B"].verdict == "undecided"


def test_one_run_decides_nothing_however_far_apart_the_nets_are():
    found = pairs(dense(FAR_APART, runs=1))["A", "C"]
    assert found.p_adjusted < 1e-6
    assert found.verdict == "undecided"


def test_an_undecided_pairs_sentence_tells_what_could_have_been_seen():
    found = pairs(dense({"A": 30.0, "B": 30.0}))["A", "B"]
    assert f"{found.difference.detectable:.2f} points" in found.sentence
    assert "80 % power" in found.sentence


def test_an_undecided_pairs_power_is_that_after_the_correction_for_all_pairs():
    study = dense({"A": 30.0, "B": 30.0, "C": 30.0})
    first, second = (study.errors(net, "fixed", "dense") for net in ("A", "B"))
    assert first is not None
    assert second is not None
    found = pairs(study)["A", "B"]
    assert found.difference.detectable == paired_difference(first, second, family=3).detectable
    assert "a test at level 5 % / 3, Holm's first step over 3 tests, finds a difference of" in found.sentence


def test_the_only_pair_needs_no_correction():
    assert "a test at level 5 % finds a difference of" in pairs(dense({"A": 30.0, "B": 30.0}))["A", "B"].sentence


def test_an_undecided_pair_of_single_runs_says_so():
    assert "one run" in pairs(dense(FAR_APART, runs=1))["A", "B"].sentence


def test_a_decided_pairs_sentence_names_the_better_net_first():
    found = pairs(dense(FAR_APART))["A", "B"]
    assert found.sentence.startswith(f"B is {-found.difference.mean:.2f} points below A (95 % interval ")


def test_p_values_are_corrected_for_all_pairs_there_are():
    found = sorted(pairs(dense(FAR_APART)).values(), key=lambda one: one.difference.p_value)
    adjusted = np.maximum.accumulate(
        [one.difference.p_value * times for one, times in zip(found, (3, 2, 1), strict=True)]
    )
    assert [one.p_adjusted for one in found] == pytest.approx(adjusted.tolist())


@pytest.mark.parametrize(
    ("scale", "protocol", "published"),
    [("fixed", "dense", -1.1), ("jitter", "dense", -1.7), ("fixed", "dense_scales", -1.1), ("fixed", "centre", None)],
)
def test_the_papers_difference_is_of_the_same_scale_and_protocol(scale: str, protocol: str, published: float | None):
    study = made_up({(net, scale, protocol): 30.0 for net in ("C", "D")})
    (found,) = compare_all(study, scale, protocol)
    assert found.published == (None if published is None else pytest.approx(published))


def test_the_5x5_net_has_no_published_error():
    assert pairs(dense({"B": 30.0, "B_5x5": 35.0}))["B", "B_5x5"].published is None


def test_only_the_runs_that_both_nets_have_are_compared():
    whole, part = (dense({"A": 30.0, "B": 40.0}).errors(net, "fixed", "dense") for net in ("A", "B"))
    assert whole is not None
    assert part is not None
    kept = part.runs > 0
    part = Errors(part.runs[kept], part.images[kept], part.wrong[kept])
    found = pairs(study_of({("A", "fixed", "dense"): whole, ("B", "fixed", "dense"): part}))["A", "B"]
    assert found.difference == paired_difference(whole, part)
    assert found.difference.runs == 2


def test_a_run_that_did_not_train_takes_part():
    trained = dense({"A": 30.0, "B": 20.0})
    one, other = (trained.errors(net, "fixed", "dense") for net in ("A", "B"))
    assert one is not None
    assert other is not None
    failed = Errors(other.runs, other.images, np.where(other.runs == 2, 1.0, other.wrong))
    study = study_of({("A", "fixed", "dense"): one, ("B", "fixed", "dense"): failed})
    assert pairs(study)["A", "B"].difference.mean > pairs(trained)["A", "B"].difference.mean + 20
