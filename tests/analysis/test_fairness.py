import numpy as np
import pytest

from made_up_study import IMAGES, Make
from vgg_ablation.analysis.fairness import (
    budget_words,
    edge_words,
    effects,
    gap_table,
    leak_tables,
    leak_words,
    leaks,
    reused,
    reused_words,
    untrained_table,
    untrained_words,
)
from vgg_ablation.analysis.study import Study, read_partial


def literal_leaks(study: Study, run: int) -> list[int]:
    part = study.splits[f"split_{run}"]
    assert study.near_duplicates is not None
    found = set()
    for one, other in study.near_duplicates[["image", "other"]].to_numpy().tolist():
        for image, counterpart in ((one, other), (other, one)):
            if part[image] == "test" and part[counterpart] == "train":
                found.add(image)
    return sorted(found)


def many_pairs(make: Make, runs: int = 3):
    files = make("A B", runs=runs)
    rng = np.random.default_rng(1)
    pairs = np.sort(rng.choice(IMAGES, (150, 2), replace=False), axis=1)
    files.pairs = files.pairs.iloc[[0] * 150].reset_index(drop=True).assign(image=pairs[:, 0], other=pairs[:, 1])
    return files


def test_a_test_image_leaks_if_a_training_image_of_its_run_resembles_it(make: Make):
    study = many_pairs(make).read()
    found = leaks(study)
    assert [leak.run for leak in found] == [0, 1, 2]
    for leak in found:
        assert list(leak.images) == literal_leaks(study, leak.run)
        assert len(leak.images) > 10
        assert leak.share == pytest.approx(100 * len(leak.images) / 360)


def test_validation_images_do_not_leak(make: Make):
    files = make("A", runs=1)
    part = files.splits["split_0"]
    test, validation = (int(part.index[part == name][0]) for name in ("test", "validation"))
    files.pairs = files.pairs.iloc[:1].assign(image=min(test, validation), other=max(test, validation))
    assert [len(leak.images) for leak in leaks(files.read())] == [0]


def test_the_error_without_the_leaks_is_that_of_the_other_images(make: Make):
    study = many_pairs(make).read()
    for effect, net in zip(effects(study, "fixed", "dense", leaks(study)), study.nets, strict=True):
        every, others = [], []
        for run in range(3):
            outcome = study.outcomes.of(net.arch, "fixed", run, "dense")
            leaked = literal_leaks(study, run)
            wrong = dict(zip(outcome.images.tolist(), outcome.wrong.tolist(), strict=True))
            kept = [value for image, value in wrong.items() if image not in leaked]
            every.append(100 * sum(wrong.values()) / len(wrong))
            others.append(100 * sum(kept) / len(kept))
        assert effect.every == pytest.approx(sum(every) / 3)
        assert effect.others == pytest.approx(sum(others) / 3)


def test_where_every_test_image_leaks_there_is_no_other_error(make: Make):
    files = make("A", runs=1)
    part = files.splits["split_0"]
    training, test = (part.index[part == name].to_numpy() for name in ("train", "test"))
    pairs = np.sort(np.stack([training[: len(test)], test], axis=1), axis=1)
    files.pairs = files.pairs.iloc[[0] * len(test)].reset_index(drop=True).assign(image=pairs[:, 0], other=pairs[:, 1])
    study = files.read()
    found = leaks(study)
    (effect,) = effects(study, "fixed", "dense", found)
    assert effect.others is None
    assert leak_tables(study, found)[1].rows[0][2:] == ("–", "–")
    assert "at most 100.0 % of a run's test images" in leak_words(study, found)


def test_without_near_duplicates_there_is_nothing_to_leak(make: Make):
    files = make("A", runs=1)
    files.pairs = files.pairs.iloc[:0]
    study = files.read()
    assert leak_words(study, leaks(study)).startswith("0 pairs of images")


def test_near_duplicates_not_looked_for_are_no_claim_that_there_are_none(make: Make):
    files = make("A", runs=1)
    files.write_apart()
    (files.folder / "data" / "near-duplicates.csv").unlink()
    study = read_partial(files.folder / "results", files.folder / "data", "sample", ["fixed"], files.settings())
    assert leaks(study) == []
    assert leak_words(study, []) == "Near-duplicates across splits were not looked for yet."


def test_equal_budgets_are_told(whole: Study):
    assert budget_words(whole.nets).startswith("Every net was given the same")


@pytest.mark.parametrize(
    ("section", "key", "words"),
    [
        ("tuned", "trials", "trials: 15 (A, C); 9 (B)"),
        ("tuned", "epochs", "epochs a trial: 30 (A, C); 9 (B)"),
        ("tuned", "images", "images in all trials: 123,456 (A, C); 9 (B)"),
        ("training", "epochs", "epochs at this scale (fixed): 100 (A, C); 9 (B)"),
        ("training", "train_images", "training images a run (fixed): 480 (A, C); 9 (B)"),
    ],
)
def test_unequal_budgets_are_named(make: Make, section: str, key: str, words: str):
    files = make("A B C", runs=1)
    files.metrics["nets"][1][section][key] = 9
    assert budget_words(files.read().nets) == f"The nets were not all given the same. {words}."


def test_the_gap_is_that_of_centre_crops(make: Make):
    files = make("A", runs=2, scales="fixed")
    ((*_, training, test, gap),) = gap_table(files.read()).rows
    (net,) = files.metrics["nets"]
    expected = np.mean([[run["training_error"], run["protocols"]["centre"]["top1_error"]] for run in net["runs"]], 0)
    assert (training, test, gap) == (*(f"{error:.1f}" for error in expected), f"{expected[1] - expected[0]:+.1f}")


def test_without_centre_crops_there_is_no_gap(make: Make):
    ((_, scale, words, training, *gap),) = gap_table(make("A", runs=2, scales="large").read()).rows
    assert (scale, words, gap) == ("large", "without centre crop", ["–", "–"])
    assert float(training) > 0


def test_test_images_that_the_search_has_seen_are_counted(make: Make):
    files = make("A", runs=3)
    study = files.read()
    seen = set(files.splits.index[files.splits["split_0"].isin(["train", "validation"])])
    tested = [set(files.splits.index[files.splits[f"split_{run}"] == "test"]) for run in range(3)]
    shares = {run: 100 * len(images & seen) / len(images) for run, images in enumerate(tested)}
    assert shares[0] == 0
    assert reused(study) == pytest.approx(shares)
    low, high = sorted((shares[1], shares[2]))
    assert f"but {low:.1f} to {high:.1f} % of those of runs 1 to 2:" in reused_words(study)


def test_the_search_has_seen_no_test_image_of_the_first_run(make: Make):
    assert reused_words(make("A", runs=1).read()).endswith("which has none of run 0's test images.")


def test_runs_that_did_not_train_are_listed_with_their_reason(six: Study):
    table = untrained_table(six.nets)
    assert table is not None
    assert table.rows == [("E", "fixed", "2", "at chance: training loss 2.303 against ln K = 2.303")]
    assert untrained_words(six).startswith("1 of 30 runs did not train. Of the search's 90 trials, 6 diverged and 12 ")


def test_that_every_run_trained_is_said(make: Make):
    study = make("A B", runs=2).read()
    assert untrained_table(study.nets) is None
    assert untrained_words(study) == (
        "Every run trained. Of the search's 30 trials, 2 diverged and 4 were at chance when they ended."
    )


def test_the_search_that_all_training_scales_share_counts_once(whole: Study):
    assert "Of the search's 105 trials" in untrained_words(whole)


def test_a_choice_at_the_edge_is_told(whole: Study):
    told = edge_words(whole)
    assert told.count("sits at the edge") == 1
    assert "learning rate chosen for B " in told


def test_that_no_choice_is_at_the_edge_is_told(make: Make):
    assert edge_words(make("A", runs=1).read()).startswith("No chosen")
