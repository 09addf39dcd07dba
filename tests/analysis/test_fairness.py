import numpy as np
import pandas as pd
import pytest

from made_up_study import IMAGES, TEST, Make
from vgg_ablation.analysis.fairness import (
    Leak,
    at_edge,
    budgets,
    effects,
    images_of_training,
    leaks,
    operations,
    reused,
    unequal,
    untrained_runs,
)
from vgg_ablation.analysis.study import Study

# Near-duplicates


def expected_leaks(study: Study, run: int) -> list[int]:
    part = study.splits[f"split_{run}"]
    assert study.near_duplicates is not None
    found = set()
    for one, other in study.near_duplicates[["image", "other"]].to_numpy().tolist():
        for image, counterpart in ((one, other), (other, one)):
            if part[image] == "test" and part[counterpart] == "train":
                found.add(image)
    return sorted(found)


@pytest.fixture
def many_pairs(make: Make) -> Study:
    files = make("A B", runs=3)
    pairs = np.sort(np.random.default_rng(1).choice(IMAGES, (150, 2), replace=False), axis=1)
    files.pairs = files.pairs.iloc[[0] * 150].reset_index(drop=True).assign(image=pairs[:, 0], other=pairs[:, 1])
    return files.read()


def test_a_test_image_leaks_if_it_resembles_a_training_image_of_its_run(many_pairs: Study):
    found = leaks(many_pairs)
    assert [leak.run for leak in found] == [0, 1, 2]
    for leak in found:
        assert list(leak.images) == expected_leaks(many_pairs, leak.run)
        assert len(leak.images) > 10
        assert leak.share == pytest.approx(100 * len(leak.images) / TEST)


@pytest.mark.parametrize("refit", [False, True])
def test_validation_images_leak_into_runs_that_train_on_them_alone(make: Make, refit: bool):
    files = make("A", runs=1)
    files.metrics["nets"][0]["training"]["refit"] = refit
    part = files.splits["split_0"]
    test, validation = (int(part.index[part == name][0]) for name in ("test", "validation"))
    files.pairs = files.pairs.iloc[:1].assign(image=min(test, validation), other=max(test, validation))
    assert [len(leak.images) for leak in leaks(files.read())] == [refit]


def test_the_error_without_leaks_is_that_of_the_other_images(many_pairs: Study):
    leaked = [expected_leaks(many_pairs, run) for run in range(3)]
    for arch, every, others, change in effects(many_pairs, "fixed", "dense", leaks(many_pairs)):
        found = [many_pairs.decisions(arch, "fixed", run, "dense") for run in range(3)]
        tables = [pd.Series(one.wrong, index=one.images) for one in found]
        rest = [table.drop(images) for table, images in zip(tables, leaked, strict=True)]
        expected = [100 * np.mean([table.mean() for table in some]) for some in (tables, rest)]
        assert (every, others, change) == pytest.approx((*expected, expected[1] - expected[0]))


def test_if_every_test_image_leaks_there_is_no_other_error(many_pairs: Study):
    every = [Leak(run, many_pairs.arrays[f"split/{run}/images"], TEST) for run in range(3)]
    assert [one[2:] for one in effects(many_pairs, "fixed", "dense", every)] == [(None, None)] * 2


# Budgets, failures


def test_equal_budgets_are_equal(whole: Study):
    assert unequal(budgets(whole.nets)) == []


def test_runs_that_did_not_train_are_listed_with_their_reason(six: Study):
    assert untrained_runs(six.nets) == [("E", "fixed", 2, "at chance: training loss 2.303 against ln K = 2.303")]


def test_a_setting_at_the_edge_of_its_space_counts_once_for_all_training_scales(whole: Study):
    assert at_edge(whole) == [("B", "learning_rate")]


def test_images_of_training_include_search_and_earlier_scales(whole: Study):
    net = whole.net("C", "large")
    assert net is not None
    own = whole.costs[whole.costs["arch"] == "C"].set_index("stage")["images"]
    expected = own[["tune", "train", "train-large"]].sum()
    assert images_of_training(whole, net) == expected
    assert operations(whole, net) == pytest.approx(6e9 * net.gmacs * expected)


@pytest.mark.parametrize(
    ("section", "key", "field", "scale", "given"),
    [
        ("tuned", "trials", "trials", "", 15),
        ("tuned", "epochs", "trial_epochs", "", 30),
        ("tuned", "images", "search_images", "", 123_456),
        ("training", "epochs", "epochs", "fixed", 100),
        ("training", "train_images", "train_images", "fixed", 480),
    ],
)
def test_unequal_budgets_are_listed(make: Make, section: str, key: str, field: str, scale: str, given: int):
    files = make("A B C", runs=1)
    files.metrics["nets"][1][section][key] = 9
    assert unequal(budgets(files.read().nets)) == [(field, scale, {"A": given, "B": 9, "C": given})]


def test_the_search_has_seen_some_test_images_of_later_runs(make: Make):
    files = make("A", runs=3)
    seen = set(files.splits.index[files.splits["split_0"].isin(["train", "validation"])])
    tested = [set(files.splits.index[files.splits[f"split_{run}"] == "test"]) for run in range(3)]
    expected = {run: 100 * len(images & seen) / len(images) for run, images in enumerate(tested)}
    assert expected[0] == 0
    assert reused(files.read()) == pytest.approx(expected)
