from dataclasses import replace

import numpy as np
import pytest

from made_up_study import Make
from vgg_ablation.analysis.classes import (
    BINS,
    class_changes,
    class_errors,
    confusions,
    ends,
    fallen_confusions,
    reliability,
)
from vgg_ablation.analysis.study import Study


def share(study: Study, arch: str, true: int, taken: int) -> float:
    """Percent of a class's images that are predicted as another, counted image by image."""
    found = [study.decisions(arch, "fixed", run, "dense") for run in range(5)]
    predicted = [
        guess
        for one in found
        for label, guess in zip(one.labels.tolist(), one.predicted.tolist(), strict=True)
        if label == true
    ]
    return 100 * predicted.count(taken) / len(predicted)


def test_confusions_are_shares_of_a_classs_images(six: Study):
    net = six.net("C", "fixed")
    assert net is not None
    shares = confusions(six, net, "dense")
    assert 100 * shares[3, 5] == pytest.approx(share(six, "C", 3, 5))
    np.testing.assert_allclose(shares.sum(axis=1), 1)


def test_a_classs_error_is_the_share_of_its_images_predicted_as_others(six: Study):
    errors = class_errors(six, "fixed", "dense")
    assert list(errors.columns) == ["A", "A_LRN", "B", "C", "D", "E"]
    assert errors.loc["004.shape", "D"] == pytest.approx(100 - share(six, "D", 3, 3))
    changes = class_changes(six, "fixed", "dense")
    assert changes is not None
    assert list(changes.columns) == ["A", "E", "change"]
    assert changes["change"].is_monotonic_increasing
    assert changes.loc["004.shape", "change"] == pytest.approx(share(six, "A", 3, 3) - share(six, "E", 3, 3))


def test_a_class_without_test_images_has_no_error(six: Study):
    study = replace(six, data=six.data.model_copy(update={"categories": [*six.data.categories, "011.none"]}))
    study = replace(study, nets=[net.model_copy(update={"classes": 11}) for net in six.nets])
    assert class_errors(study, "fixed", "dense").isna()["A"].tolist() == [False] * 10 + [True]
    changes = class_changes(study, "fixed", "dense")
    assert changes is not None
    assert "011.none" not in changes.index


def test_the_ends_of_depth_are_nets_of_table_1(whole: Study):
    between = ends(whole, "fixed")
    assert between is not None
    assert [net.arch for net in between] == ["A", "E"]


def test_the_confusion_that_falls_most_is_first(six: Study):
    found = fallen_confusions(six, "fixed", "dense")
    assert found
    for one in found:
        true, taken = (int(name.split(".")[0]) - 1 for name in (one.category, one.taken_for))
        assert one.before == pytest.approx(share(six, "A", true, taken))
        assert one.after == pytest.approx(share(six, "E", true, taken))
        assert one.change < 0
    changes = [one.change for one in found]
    assert changes == sorted(changes)


@pytest.mark.parametrize("archs", ["C", "C D"])
def test_nets_of_one_depth_have_no_change(make: Make, archs: str):
    study = make(archs, runs=2).read()
    assert class_changes(study, "fixed", "dense") is None
    assert fallen_confusions(study, "fixed", "dense") == []


def test_a_deep_net_without_improvement_has_no_fallen_confusion(make: Make):
    files = make("A B", runs=1, untrained={("B", 0)})
    files.set_errors(A=[0.0], B=[90.0])
    assert fallen_confusions(files.read(), "fixed", "dense") == []


def test_reliability_bins_are_those_of_the_calibration_error(make: Make):
    """The gaps between accuracy and confidence, weighted by images, add up to the expected calibration error."""
    study = make("A", runs=1).read()
    table = reliability(study, study.nets[0], "dense")
    gaps = table["images"] * (table["accuracy"] - table["confidence"]).abs()
    assert len(table) == BINS
    assert 100 * gaps.sum() / table["images"].sum() == pytest.approx(study.nets[0].runs[0].protocols["dense"].ece, 1e-4)
    assert table[table["images"] == 0]["accuracy"].isna().all()
