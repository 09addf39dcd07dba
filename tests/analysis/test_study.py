import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from made_up_study import TEST, Files, Make
from vgg_ablation.analysis.study import Study, read_partial, read_study
from vgg_ablation.errors import StageError


def test_nets_come_by_training_scale_then_in_the_papers_order_the_5x5_net_last(make: Make):
    files = make("B_5x5 E A", runs=2, scales="jitter fixed")
    assert [(net.scale, net.arch) for net in files.read().nets] == [
        (scale, arch) for scale in ("fixed", "jitter") for arch in ("A", "E", "B_5x5")
    ]


def test_runs_come_in_order(make: Make):
    files = make("A", runs=3)
    files.metrics["nets"][0]["runs"].reverse()
    assert [run.run for run in files.read().nets[0].runs] == [0, 1, 2]


def test_protocols_come_in_the_order_of_the_papers_tables(whole: Study):
    assert whole.scales == ["fixed", "large", "jitter"]
    assert whole.protocols("fixed") == ["centre", "dense", "dense_scales"]
    assert whole.protocols("jitter") == ["dense", "dense_scales", "multi_crop", "combined"]


def test_nets_are_first_compared_as_in_table_3(whole: Study):
    assert whole.lead == ("fixed", "dense")


def test_without_dense_the_first_protocol_stands_in(make: Make):
    files = make("A", runs=2)
    for run in files.metrics["nets"][0]["runs"]:
        del run["protocols"]["dense"]
    assert files.read().lead == ("fixed", "centre")


def test_without_the_fixed_scale_the_next_one_stands_in(make: Make):
    assert make("A", runs=2, scales="large jitter").read().lead == ("large", "dense")


@pytest.mark.parametrize(("name", "scale", "protocol"), [("C", "fixed", "centre"), ("D+E", "jitter", "combined")])
def test_errors_have_each_runs_share_of_wrong_images(whole: Study, name: str, scale: str, protocol: str):
    errors = whole.errors(name, scale, protocol)
    measured = whole.fusion(name, scale) or whole.net(name, scale)
    assert errors is not None
    assert measured is not None
    for run in measured.runs:
        own = errors.runs == run.run
        assert 100 * errors.wrong[own].mean() == pytest.approx(run.protocols[protocol].top1_error, abs=1e-3)
        assert list(errors.images[own]) == list(whole.splits.index[whole.splits[f"split_{run.run}"] == "test"])


@pytest.mark.parametrize(
    ("name", "scale", "protocol"), [("C", "fixed", "combined"), ("A+B", "fixed", "dense"), ("VGG", "fixed", "dense")]
)
def test_there_are_no_errors_of_what_was_not_measured(whole: Study, name: str, scale: str, protocol: str):
    assert whole.errors(name, scale, protocol) is None


def test_an_outcome_that_is_not_there_is_no_outcome(make: Make):
    files = make("A")
    files.trials["outcome"] = ""
    assert set(files.read().trials["outcome"]) == {""}


def test_words_that_look_like_a_missing_number_stay_words(make: Make):
    files = make("A", runs=2)
    files.pairs.loc[0, ["path", "category"]] = ["NA", "nan"]
    pairs = files.read().near_duplicates
    assert pairs is not None
    assert list(pairs.loc[0, ["path", "category"]]) == ["NA", "nan"]


def test_losses_may_be_no_numbers(make: Make):
    files = make("A", runs=1)
    files.curves.loc[1:3, "train_loss"] = [np.nan, np.inf, -np.inf]
    losses = files.read().curves["train_loss"]
    assert np.isnan(losses[1])
    assert list(losses[2:4]) == [np.inf, -np.inf]


def test_no_pair_of_near_duplicates_is_an_empty_table(make: Make):
    files = make("A", runs=1)
    files.pairs = files.pairs.iloc[:0]
    pairs = files.read().near_duplicates
    assert pairs is not None
    assert pairs.empty


def test_unknown_keys_are_passed_over(make: Make):
    files = make("A")
    files.metrics["nets"][0]["carbon"] = 12
    assert files.read().nets[0].arch == "A"


def test_a_missing_file_is_named(tmp_path: Path, make: Make):
    with pytest.raises(FileNotFoundError, match=r"metrics\.json"):
        read_study(tmp_path, tmp_path, tmp_path / "data", "sample", make("A").settings())


@pytest.mark.parametrize("error", [101, -1, float("nan"), None])
def test_an_error_that_is_no_percentage_is_refused(make: Make, error: float | None):
    files = make("A")
    files.metrics["nets"][0]["runs"][1]["protocols"]["dense"]["top1_error"] = error
    with pytest.raises(StageError, match=r"metrics.json: nets.0.runs.1.protocols.dense.top1_error: "):
        files.read()


@pytest.mark.parametrize(("key", "value"), [("arch", "F"), ("scale", "tiny"), ("train_scale", [1, 2, 3]), ("runs", [])])
def test_what_no_net_has_is_refused(make: Make, key: str, value: object):
    files = make("A", runs=1)
    files.metrics["nets"][0][key] = value
    with pytest.raises(StageError, match=rf"metrics.json: nets.0.{key}"):
        files.read()


def test_a_net_that_is_there_twice_is_refused(make: Make):
    with pytest.raises(StageError, match="twice"):
        make("A A").read()


def test_runs_under_different_protocols_are_refused(make: Make):
    files = make("A")
    del files.metrics["nets"][0]["runs"][1]["protocols"]["dense"]
    with pytest.raises(StageError, match="same protocols"):
        files.read()


def test_nets_of_other_runs_are_refused(make: Make):
    files = make("A B", runs=2)
    del files.metrics["nets"][1]["runs"][0]
    with pytest.raises(StageError, match="do not all have the same runs"):
        files.read()


def test_a_protocol_that_nobody_knows_is_refused(make: Make):
    files = make("A", runs=1)
    protocols = files.metrics["nets"][0]["runs"][0]["protocols"]
    protocols["ten_crop"] = protocols["centre"]
    with pytest.raises(StageError, match="ten_crop"):
        files.read()


def test_errors_that_do_not_follow_from_the_outcomes_are_refused(make: Make):
    files = make("A", runs=2)
    files.metrics["nets"][0]["runs"][1]["protocols"]["centre"]["top1_error"] += 0.1
    with pytest.raises(StageError, match=r"outcomes.npz: A \(fixed\), run 1, centre: 360 images, .* evaluation again"):
        files.read()


def test_outcomes_that_are_not_there_are_named(make: Make):
    files = make("D E", runs=1)
    for part in ("class", "confidence", "true"):
        del files.arrays[f"D+E/fixed/0/dense/{part}"]
    with pytest.raises(StageError, match=r"outcomes.npz has nothing on D\+E \(fixed\), run 0, dense"):
        files.read()


def test_a_class_beyond_the_categories_is_refused(make: Make):
    files = make("A", runs=1)
    wrong = np.flatnonzero(files.arrays["A/fixed/0/dense/class"] != files.arrays["split/0/labels"])
    files.arrays["A/fixed/0/dense/class"][wrong[0]] = 10
    with pytest.raises(StageError, match="a class beyond the 10"):
        files.read()


def test_nets_of_other_images_are_refused(make: Make):
    files = make("A", runs=2)
    files.splits["split_1"] = files.splits["split_0"]
    with pytest.raises(StageError, match=r"split/1/images are not the test images of split_1"):
        files.read()


def test_nets_of_other_categories_are_refused(make: Make):
    files = make("A", runs=1)
    files.summary["categories"] += ["011.shape"]
    with pytest.raises(StageError, match="nets of 10 classes, where the images have 11 categories"):
        files.read()


def test_an_image_in_no_part_of_a_split_is_refused(make: Make):
    files = make("A", runs=1)
    files.splits.loc[7, "split_0"] = "tset"
    with pytest.raises(StageError, match=r"splits.csv: an image is there twice, or in no part"):
        files.read()


@pytest.mark.parametrize(("table", "column"), [("curves", "train_loss"), ("pairs", "distance"), ("costs", "machine")])
def test_a_missing_column_is_named(make: Make, table: str, column: str):
    files = make("A")
    setattr(files, table, getattr(files, table).drop(columns=column))
    with pytest.raises(StageError, match=rf"has no column {column}"):
        files.read()


def test_what_is_no_table_is_refused(make: Make):
    files = make("A")
    files.write()
    (files.folder / "results" / "all" / "trials.csv").write_text("")
    with pytest.raises(StageError, match=r"trials.csv is empty"):
        again(files)


@pytest.mark.parametrize("content", [b"image,other\n\xff\xfe,1\n", b'image,other\n"1,2\n', b"\x00\x01\x02"])
def test_a_damaged_table_is_refused_in_one_line(make: Make, content: bytes):
    files = make("A", runs=1)
    files.write()
    (files.folder / "data" / "near-duplicates.csv").write_bytes(content)
    with pytest.raises(StageError, match=r"near-duplicates.csv") as raised:
        again(files)
    assert "\n" not in str(raised.value)


def test_a_word_among_numbers_is_refused(make: Make):
    files = make("A", runs=1)
    files.trials["epochs"] = "many"
    with pytest.raises(StageError, match=r"trials.csv is no table as the stages write it: .*many"):
        files.read()


@pytest.mark.parametrize("content", ["{", "[" * 100_000, "\ud800"])
def test_what_is_no_json_is_refused(make: Make, content: str):
    files = make("A")
    files.write()
    summary = files.folder / "data" / "processed" / "summary.json"
    summary.write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(StageError, match=r"summary.json is not JSON"):
        again(files)


def again(files: Files) -> Study:
    """Read what lies on disk, as it is."""
    search = files.folder / "results" / "all"
    return read_study(search / "fixed", search, files.folder / "data", "sample", files.settings())


# While a study runs


def test_what_is_there_is_joined_and_the_rest_is_missing(make: Make):
    study = make("A C D", runs=2, scales="fixed large").read_apart(scales=["fixed", "large"])
    assert [(net.scale, net.arch) for net in study.nets] == [(s, a) for s in ("fixed", "large") for a in "ACD"]
    assert study.missing == [f"{arch} ({scale})" for scale in ("fixed", "large") for arch in ("A_LRN", "B", "E")]


def test_a_partial_study_reads_as_the_same_nets_joined(make: Make):
    files = make("A B", runs=2, scales="fixed large")
    apart, joined = files.read_apart(), files.read()
    assert apart.nets == joined.nets
    assert apart.outcomes.arrays.keys() == joined.outcomes.arrays.keys()
    for name in ("curves", "trials", "costs"):
        tables = [getattr(study, name) for study in (apart, joined)]
        ordered = [table.sort_values(list(table.columns), ignore_index=True) for table in tables]
        pd.testing.assert_frame_equal(*ordered)


def test_of_the_missing_only_the_scales_that_are_asked_for_are_named(make: Make):
    assert make("A A_LRN B C D E", runs=1).read_apart(scales=["fixed"]).missing == []


def test_the_5x5_net_joins_and_is_never_missing(make: Make):
    study = make("A B_5x5", runs=1).read_apart()
    assert study.archs == ["A", "B_5x5"]
    assert study.missing == [f"{arch} (fixed)" for arch in ("A_LRN", "B", "C", "D", "E")]


def test_fusions_of_the_very_nets_that_are_there_join_them(make: Make):
    files = make("A D E B_5x5", runs=2)
    joined = files.read()
    study = files.read_apart()
    assert study.fusions == joined.fusions
    apart, whole = (one.errors("D+E", "fixed", "dense") for one in (study, joined))
    assert apart is not None
    assert whole is not None
    assert np.array_equal(apart.wrong, whole.wrong)


def test_a_fusion_of_nets_trained_anew_since_is_left_out(make: Make):
    files = make("A A_LRN B C D E", runs=2)
    files.write()
    (of_a,) = [net for net in files.metrics["nets"] if net["arch"] == "A"]
    of_a["runs"][1]["weights_sha256"] = "0" * 64
    study = files.read_apart()
    assert [fusion.name for fusion in study.fusions] == ["D+E"]
    assert not any(name.startswith("A+") for name in study.outcomes.arrays)


def test_fusions_that_do_not_follow_from_their_outcomes_are_refused(make: Make):
    files = make("D E", runs=1)
    files.metrics["fusions"][0]["runs"][0]["protocols"]["dense"]["top1_error"] += 0.1
    files.write()
    with pytest.raises(StageError, match=r"all.fixed.outcomes.npz: D\+E \(fixed\), run 0, dense: 360 images"):
        files.read_apart()


def test_fusions_wait_for_the_whole_study(make: Make):
    study = make("D E", runs=1).read_apart()
    assert study.fusions == []
    assert study.errors("D+E", "fixed", "dense") is None


def partial(files: Files) -> Study:
    """Read what lies on disk, as it is."""
    return read_partial(files.folder / "results", files.folder / "data", "sample", ["fixed"], files.settings())


@pytest.mark.parametrize(
    "name", ["metrics.json", "outcomes.npz", "curves.csv", "cost/train.csv", "cost/evaluate.csv", "../trials.csv"]
)
def test_a_net_that_is_half_finished_is_missing(make: Make, name: str):
    files = make("A B", runs=1)
    (files.write_apart() / "B" / "fixed" / name).unlink()
    study = partial(files)
    assert study.archs == ["A"]
    assert "B (fixed)" in study.missing


def test_a_net_trained_anew_and_not_evaluated_since_is_missing(make: Make):
    files = make("A B", runs=2)
    path = files.write_apart() / "B" / "fixed" / "training.json"
    training = json.loads(path.read_text())
    training["runs"][1]["weights_sha256"] = "0" * 64
    path.write_text(json.dumps(training))
    assert partial(files).archs == ["A"]


def test_a_net_whose_start_was_trained_anew_since_is_missing(make: Make):
    files = make("A B", runs=2, scales="fixed large")
    fixed = files.write_apart() / "B" / "fixed"
    assert len(partial(files).nets) == 4
    for name in ("training.json", "metrics.json"):
        record = json.loads((fixed / name).read_text())
        runs = record["runs"] if name == "training.json" else record["nets"][0]["runs"]
        runs[1]["weights_sha256"] = "0" * 64
        (fixed / name).write_text(json.dumps(record))
    study = partial(files)
    assert [(net.arch, net.scale) for net in study.nets] == [("A", "fixed"), ("B", "fixed"), ("A", "large")]


def test_a_net_whose_search_was_run_anew_since_is_missing(make: Make):
    files = make("A B", runs=1)
    path = files.write_apart() / "B" / "best.json"
    tuned = json.loads(path.read_text())
    path.write_text(json.dumps({**tuned, "learning_rate": tuned["learning_rate"] / 2}))
    assert partial(files).archs == ["A"]


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("training", "epochs", 20),
        ("training", "momentum", 0.8),
        ("training", "patience", 3),
        ("training", "colour_shift", 0.0),
        ("training", "width", 1.0),
        ("training", "schedule", "plateau"),
        ("tuned", "trials", 8),
        ("tuned", "space", {"learning_rate": [1e-4, 1.0], "weight_decay": [1e-5, 1e-2]}),
    ],
)
def test_a_net_that_an_earlier_study_left_is_missing(make: Make, section: str, key: str, value: object):
    files = make("A B", runs=1)
    files.metrics["nets"][1][section][key] = value
    assert files.read_apart().archs == ["A"]


def test_what_no_net_was_evaluated_for_has_no_report(make: Make, tmp_path: Path):
    files = make("A", runs=1)
    shutil.rmtree(files.write_apart() / "A" / "fixed")
    with pytest.raises(StageError, match="no net is trained and evaluated yet"):
        partial(files)


def test_near_duplicates_that_were_not_looked_for_yet_are_none(make: Make):
    files = make("A", runs=1)
    files.write_apart()
    (files.folder / "data" / "near-duplicates.csv").unlink()
    (files.folder / "data" / "cost" / "near_duplicates.csv").unlink()
    assert partial(files).near_duplicates is None


def test_a_test_image_is_there_once_a_run(six: Study):
    errors = six.errors("A", "fixed", "dense")
    assert errors is not None
    assert len(errors.wrong) == 5 * TEST
