import numpy as np
import pytest

from judged_study import made_up
from vgg_ablation.analysis.comparisons import NEIGHBOURS, Comparison, compare_all
from vgg_ablation.analysis.statistics import Measurements, paired_difference
from vgg_ablation.analysis.study import Study
from vgg_ablation.model.table1 import ABLATION

FAR_APART = {"A": 80.0, "B": 50.0, "C": 20.0}


def dense(expected: dict[str, float], runs: int = 3) -> Study:
    return made_up({(net, "fixed", "dense"): error for net, error in expected.items()}, runs)


def pairs(study: Study) -> dict[tuple[str, str], Comparison]:
    return {(one.first, one.second): one for one in compare_all(study, "fixed", "dense")}


def of(study: Study, net: str) -> Measurements:
    errors = study.measurements(net, "fixed", "dense")
    assert errors is not None
    return errors


def test_neighbours_are_nets_that_section_4_1_compares():
    found = pairs(dense(dict.fromkeys(ABLATION, 30.0)))
    assert tuple(pair for pair, one in found.items() if one.neighbours) == NEIGHBOURS


def test_a_net_without_the_protocol_is_not_compared():
    study = made_up({("A", "fixed", "dense"): 30.0, ("B", "fixed", "dense"): 30.0, ("C", "fixed", "centre"): 30.0})
    assert list(pairs(study)) == [("A", "B")]


@pytest.mark.parametrize(("first", "second", "better"), [(80, 50, "B"), (20, 50, "A"), (30, 30, None)])
def test_the_better_net_has_the_lower_error(first: float, second: float, better: str | None):
    assert pairs(dense({"A": first, "B": second}))["A", "B"].better == better


def test_one_run_decides_nothing_however_far_apart_the_nets_are():
    found = pairs(dense(FAR_APART, runs=1))["A", "C"]
    assert found.p_adjusted < 1e-6
    assert found.better is None


def test_p_values_and_power_are_corrected_for_all_pairs():
    study = dense(FAR_APART)
    found = sorted(pairs(study).values(), key=lambda one: one.difference.p_value)
    steps = [one.difference.p_value * times for one, times in zip(found, (3, 2, 1), strict=True)]
    assert [one.p_adjusted for one in found] == pytest.approx(np.maximum.accumulate(steps).tolist())
    alone = paired_difference(of(study, "A"), of(study, "B"), family=3)
    assert pairs(study)["A", "B"].difference.detectable == alone.detectable


def test_a_net_outside_table_1_changes_no_comparison_of_nets_in_it():
    without, among = pairs(dense(FAR_APART)), pairs(dense({**FAR_APART, "B_5x5": 40.0}))
    assert {pair: one for pair, one in among.items() if "B_5x5" not in pair} == without
    assert [one.difference.family for pair, one in among.items() if "B_5x5" in pair] == [3, 3, 3]


@pytest.mark.parametrize(
    ("scale", "protocol", "published"),
    [("fixed", "dense", -1.1), ("jitter", "dense", -1.7), ("fixed", "dense_scales", -1.1), ("fixed", "centre", None)],
)
def test_the_papers_difference_is_of_the_same_scale_and_protocol(scale: str, protocol: str, published: float | None):
    study = made_up({(net, scale, protocol): 30.0 for net in ("C", "D")})
    (found,) = compare_all(study, scale, protocol)
    assert found.published == (None if published is None else pytest.approx(published))


def test_the_5x5_net_has_no_published_difference():
    assert pairs(dense({"B": 30.0, "B_5x5": 35.0}))["B", "B_5x5"].published is None
