import numpy as np
import pytest

from judged_study import Source, judged, of_runs, simulate, study_of
from vgg_ablation.analysis.claims import Judgement
from vgg_ablation.analysis.fit import unfitted
from vgg_ablation.analysis.statistics import Measurements

PLAIN = ("A", "A_LRN", "B", "C", "D", "E")
TRAINED_TOO_SHORT = {
    "A": (6.7, [40.4, 38.7, 40.2, 34.9, 36.2]),
    "A_LRN": (3.4, [32.6, 36.4, 38.9, 33.3, 35.1]),
    "B": (31.8, [41.2, 44.4, 49.4, 42.5, 44.8]),
    "C": (34.5, [45.0, 53.8, 55.2, 41.6, 40.8]),
    "D": (32.8, [42.1, 47.5, 44.8, 50.4, 44.6]),
    "E": (41.4, [46.7, 51.7, 53.3, 56.5, 53.1]),
}
"""Training error and test error of each run, percent, of a study of photographs with 1,500 steps a run."""


def test_two_percent_of_the_training_images_may_be_wrong():
    assert unfitted({"A": 2.0, "C": 2.01, "E": 9.0}) == {"E": 9.0, "C": 2.01}


@pytest.mark.parametrize("seed", range(3))
def test_a_claim_about_a_net_that_did_not_fit_is_never_decided(seed: int):
    """Depth makes every study worse by 40 points, so without the guard each claim would be decided."""
    rng = np.random.default_rng(seed)
    for _ in range(30):
        drawn = simulate(rng, [30, 30, 38, 46, 54, 70], runs=4)
        errors = {(net, "fixed", "dense"): one for net, one in zip(PLAIN, drawn, strict=True)}
        training: dict[str, float] = dict(zip(PLAIN, rng.choice([0.5, 2.0, 2.1, 40.0], len(PLAIN)), strict=True))
        for key, one in judged(study_of(errors, training_errors=training)).items():
            nets = {net for net, _ in one.training_errors}
            if any(training[net] > 2 for net in nets):
                assert one.verdict == "not trained far enough", key
                assert one.unfitted == {(net, "fixed"): training[net] for net in nets if training[net] > 2}
            else:
                assert one.verdict != "not trained far enough", key


def test_a_missing_net_comes_before_one_that_did_not_fit():
    found = judged(study_of({("D", "fixed", "dense"): of_runs([30.0, 31.0])}, training_errors={"D": 40.0}))
    assert found["context"].verdict == "not tested"


def test_the_members_of_a_fusion_must_fit():
    errors: dict[Source, Measurements] = {(name, "fixed", "dense"): of_runs([30.0, 31.0]) for name in ("D", "E", "D+E")}
    found = judged(study_of(errors, training_errors={"E": 40.0}))["fusion"]
    assert (found.verdict, found.unfitted) == ("not trained far enough", {("E", "fixed"): 40.0})


def test_p_values_are_corrected_for_the_claims_that_are_judged_alone():
    drawn = simulate(np.random.default_rng(0), [30, 30, 38, 46, 54, 70])
    errors = {(net, "fixed", "dense"): one for net, one in zip(PLAIN, drawn, strict=True)}
    found = judged(study_of(errors, training_errors={"E": 40.0}))
    tested = [part for one in found.values() if one.judged for part in one.components]
    assert {part.difference.family for part in tested} == {len(tested)} == {3}  # lrn, non_linearity, context
    (depth,) = found["depth"].components
    assert (depth.p_adjusted, depth.narrow, depth.detectable) == (None, None, None)
    assert depth.difference.mean > 0


def trained_too_short(fitted: bool) -> Judgement:
    """The judgement on depth from the errors of `TRAINED_TOO_SHORT`, with its training errors or without."""
    errors = {(net, "fixed", "dense"): of_runs(runs, 522) for net, (_, runs) in TRAINED_TOO_SHORT.items()}
    training = {} if fitted else {net: error for net, (error, _) in TRAINED_TOO_SHORT.items()}
    return judged(study_of(errors, training_errors=training))["depth"]


def test_deep_nets_that_were_trained_too_short_do_not_contradict_depth():
    assert trained_too_short(fitted=True).verdict == "contradicted"
    found = trained_too_short(fitted=False)
    assert found.verdict == "not trained far enough"
    assert [net for net, _ in found.unfitted] == ["E", "C", "D", "B", "A"]
