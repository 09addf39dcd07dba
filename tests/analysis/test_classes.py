import numpy as np
import pytest

from made_up_study import Make
from vgg_ablation.analysis.classes import (
    class_errors,
    classes_table,
    classes_words,
    confusions,
    confusions_table,
    ends,
)
from vgg_ablation.analysis.study import Study


def literal_share(study: Study, arch: str, true: int, taken: int) -> float:
    outcomes = [study.outcomes.of(arch, "fixed", run, "dense") for run in range(5)]
    of_class = [label == true for one in outcomes for label in one.labels]
    as_taken = [
        label == true and predicted == taken
        for one in outcomes
        for label, predicted in zip(one.labels, one.predicted, strict=True)
    ]
    return sum(as_taken) / sum(of_class)


def test_confusions_are_shares_of_a_classs_images(six: Study):
    net = six.net("C", "fixed")
    assert net is not None
    shares = confusions(six, net, "dense")
    assert shares[3, 5] == pytest.approx(literal_share(six, "C", 3, 5))
    np.testing.assert_allclose(shares.sum(axis=1), 1)


def test_a_classs_error_is_the_share_of_its_images_that_are_taken_for_another(six: Study):
    errors = class_errors(six, "fixed", "dense")
    assert list(errors.columns) == ["A", "A_LRN", "B", "C", "D", "E"]
    assert errors.loc["004.shape", "D"] == pytest.approx(100 * (1 - literal_share(six, "D", 3, 3)))


def test_a_class_without_test_images_has_no_error(make: Make):
    files = make("A", runs=1)
    files.arrays["split/0/labels"][files.arrays["split/0/labels"] == 9] = 8
    labels = files.arrays["split/0/labels"]
    for protocol in ("centre", "dense", "dense_scales"):
        predicted = files.arrays[f"A/fixed/0/{protocol}/class"]
        scores = files.metrics["nets"][0]["runs"][0]["protocols"][protocol]
        scores["top1_error"] = round(100 * float((predicted != labels).mean()), 4)
    study = files.read()
    assert class_errors(study, "fixed", "dense").isna()["A"].tolist() == [False] * 9 + [True]
    assert dict(zip(*np.array(classes_table(study, "fixed", "dense").rows).T, strict=True))["010.shape"] == "–"


def test_depth_is_that_of_table_1(whole: Study):
    between = ends(whole, "fixed")
    assert between is not None
    assert [net.arch for net in between] == ["A", "E"]


def test_the_classes_that_depth_helps_most_come_first(six: Study):
    table = classes_table(six, "fixed", "dense")
    changes = [float(row[-1]) for row in table.rows]
    assert table.header[-1] == "A to E, points"
    assert changes == sorted(changes)


def test_the_confusions_that_fall_most_come_first(six: Study):
    table = confusions_table(six, "fixed", "dense")
    assert table is not None
    for category, taken, before, after, change in table.rows:
        true, other = (int(name.split(".")[0]) - 1 for name in (category, taken))
        assert before == f"{100 * literal_share(six, 'A', true, other):.1f}"
        assert after == f"{100 * literal_share(six, 'E', true, other):.1f}"
        assert float(change) < 0
    changes = [float(row[-1]) for row in table.rows]
    assert changes == sorted(changes)


def test_one_net_has_its_hardest_classes_told(make: Make):
    study = make("C", runs=2).read()
    errors = class_errors(study, "fixed", "dense")["C"]
    assert confusions_table(study, "fixed", "dense") is None
    assert f"Hardest: {errors.idxmax()} ({errors.max():.1f} %)" in classes_words(study, "fixed", "dense")


def test_a_net_that_depth_makes_no_better_has_no_mended_confusion(make: Make):
    files = make("A B", runs=1, untrained={("B", 0)})
    files.set_errors(A=[0.0], B=[90.0])
    assert confusions_table(files.read(), "fixed", "dense") is None
