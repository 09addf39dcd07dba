from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from judged_study import judged, of_runs, simulate, study_of
from vgg_ablation.analysis.claims import judge
from vgg_ablation.analysis.sensitivity import Sensitivity, sensitivities, weighted_by_class, worst_runs
from vgg_ablation.analysis.statistics import Measurements, expected_error
from vgg_ablation.analysis.study import Study

Trials = Sequence[tuple[str, float, float, float]]
"""Net, learning rate, weight decay and validation accuracy of each."""
PAPER, OTHER, OWN = (1e-2, 5e-4), (1e-3, 1e-4), (2e-2, 1e-3)


def two(first: Measurements, second: Measurements, nets: str = "C D", **parts) -> Study:
    """A study of two nets, which one claim compares."""
    names = nets.split()
    return study_of({(names[0], "fixed", "dense"): first, (names[1], "fixed", "dense"): second}, **parts)


def of(study: Study, key: str = "context") -> Sensitivity:
    return sensitivities(study, judge(study))["none", key]


CLEAR = of_runs([40.0, 41.0, 39.0, 40.5, 40.2, 39.6], 500), of_runs([30.0, 31.2, 29.0, 30.4, 30.0, 29.9], 500)
"""Errors of C and D; D is better in each run."""


# One run


@pytest.mark.parametrize("seed", range(20))
def test_a_verdict_that_one_run_decides_is_fragile(seed: int):
    """D is 12 points better than C, but in one of six runs it is 25 points worse."""
    rng = np.random.default_rng(seed)
    first, second = simulate(rng, [40, 28], runs=6, tested=400)
    (bad,) = simulate(rng, [65], runs=6, tested=400)
    outlier = second.runs == 3
    second = Measurements(second.runs, second.images, np.where(outlier, bad.wrong, second.wrong))
    found = of(two(first, second))
    assert (found.verdict, found.changed, found.fragile) == ("undecided", {3: "reproduced"}, True)


def test_at_least_90_of_100_clear_verdicts_are_not_fragile():
    rng = np.random.default_rng(1)
    drawn = [simulate(rng, [40, 25], runs=6, tested=400) for _ in range(100)]
    found = [of(two(first, second)) for first, second in drawn]
    assert {one.verdict for one in found} == {"reproduced"}
    assert sum(one.fragile for one in found) <= 10


def test_each_nets_worst_run_is_left_out_for_both_nets():
    study = two(of_runs([40.0, 49.0, 41.0, 40.0]), of_runs([30.0, 31.0, 30.0, 37.0]))
    assert worst_runs(study, judged(study)["context"]) == [1, 3]
    assert list(of(study).without_run) == [1, 3]


def test_one_run_cannot_be_left_out():
    found = of(two(of_runs([40.0]), of_runs([30.0])))
    assert (found.without_run, found.fragile) == ({}, False)


# Class recall


def test_errors_weighted_by_class_have_the_mean_class_recall_of_metrics_json(six: Study):
    net = six.net("D", "fixed")
    errors = six.measurements("D", "fixed", "dense")
    assert net
    assert errors
    expected = {run.run: 100 - run.protocols["dense"].mean_class_recall for run in net.runs}
    assert expected_error(weighted_by_class(errors, six.labels)).by_run == pytest.approx(expected, abs=1e-3)


def test_classes_of_different_sizes_weigh_the_same():
    errors = Measurements(np.zeros(10, dtype=int), np.arange(10), np.array([1.0] * 2 + [0.0] * 8))
    assert weighted_by_class(errors, np.array([0] * 2 + [1] * 8)).wrong.mean() == pytest.approx(0.5)


def test_a_verdict_that_rests_on_one_large_class_is_fragile():
    """D is better on the images of one class of 180 and worse on those of nine classes of 20 together."""
    runs, images = np.repeat(range(6), 360), np.tile(range(360), 6)
    large = images < 180
    rng = np.random.default_rng(2)
    first, second = (
        Measurements(runs, images, (rng.random(len(runs)) < np.where(large, one, other)).astype(float))
        for one, other in ((0.5, 0.3), (0.2, 0.42))
    )
    found = of(two(first, second, classes=[180, *[20] * 9]))
    assert (found.verdict, found.by_class, found.fragile) == ("reproduced", "contradicted", True)
    assert not found.changed


# Common settings


def trials(accuracies: Mapping[tuple[float, float], tuple[float, float]], nets: str = "C D") -> Trials:
    return [
        (net, *point, accuracy)
        for point, both in accuracies.items()
        for net, accuracy in zip(nets.split(), both, strict=True)
    ]


@pytest.mark.parametrize(("accuracy", "opposed"), [(45.0, True), (49.0, False), (75.0, False)])
def test_a_significantly_opposite_contrast_at_the_common_settings_opposes(accuracy: float, opposed: bool):
    """100 validation images; one-sided at 5 %: 15 points of 60 are 2.15 standard errors, 11 points 1.57."""
    found = of(two(*CLEAR, trials=trials({PAPER: (60.0, accuracy)})))
    assert found.common
    assert (found.verdict, found.common.opposed, found.fragile) == ("reproduced", opposed, opposed)
    assert found.common.difference == pytest.approx(60 - accuracy)
    assert found.common.standard_error == pytest.approx((60 * 40 / 100 + accuracy * (100 - accuracy) / 100) ** 0.5)


def test_the_common_settings_are_those_with_the_best_mean_accuracy_that_all_nets_tried():
    of_both = trials({PAPER: (50.0, 52.0), OTHER: (61.0, 55.0)})
    found = of(two(*CLEAR, trials=[*of_both, ("C", *OWN, 99.0)])).common
    assert found
    assert (found.learning_rate, found.weight_decay, found.difference) == (*OTHER, pytest.approx(6.0))


def test_searches_without_common_settings_oppose_nothing():
    assert of(two(*CLEAR, trials=[("C", *PAPER, 60.0), ("D", *OWN, 40.0)])).common is None
    assert of(two(*CLEAR)).common is None


@pytest.mark.parametrize(("accuracy", "opposed"), [(60.0, False), (88.0, True), (30.0, True)])
def test_saturation_is_opposed_by_a_change_of_more_than_the_margin(accuracy: float, opposed: bool):
    alike = of_runs([40.0, 41.0, 39.0, 40.0], 500), of_runs([40.1, 41.0, 39.1, 40.0], 500)
    found = of(two(*alike, nets="D E", trials=trials({PAPER: (60.0, accuracy)}, "D E")), "saturation")
    assert found.common
    assert (found.verdict, found.common.opposed) == ("reproduced", opposed)


def test_an_undecided_verdict_is_not_opposed():
    noisy = of_runs([20.0, 45.0, 30.0, 41.0], 500), of_runs([40.0, 20.0, 35.0, 30.0], 500)
    found = of(two(*noisy, trials=trials({PAPER: (60.0, 10.0)})))
    assert found.common
    assert (found.verdict, found.common.opposed) == ("undecided", False)


def test_a_fusion_has_no_common_settings():
    errors = {(name, "fixed", "dense"): of_runs([30.0, 31.0]) for name in ("D", "E", "D+E")}
    study = study_of(errors, trials=trials({PAPER: (60.0, 30.0)}, "D E"))
    assert of(study, "fusion").common is None


def test_a_claim_that_was_not_judged_has_no_sensitivity():
    study = two(*CLEAR, training_errors={"D": 40.0})
    assert sensitivities(study, judge(study)) == {}
