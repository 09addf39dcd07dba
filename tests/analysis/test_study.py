import json
import shutil

import numpy as np
import pandas as pd
import pytest

from made_up_study import TEST, Files, Make
from vgg_ablation.analysis.study import Study, read_study
from vgg_ablation.errors import StageError
from vgg_ablation.model.table1 import ABLATION

# What a study has


def test_nets_and_runs_are_ordered_and_the_first_scale_and_protocol_that_are_there_lead(make: Make):
    files = make("B_5x5 E A", runs=2, scales="jitter large")
    for net in files.metrics["nets"]:
        net["runs"].reverse()
        for run in net["runs"]:
            del run["protocols"]["dense"]
    study = files.read()
    assert [(net.scale, net.arch) for net in study.nets] == [
        (scale, arch) for scale in ("large", "jitter") for arch in ("A", "E", "B_5x5")
    ]
    assert [net.arch for net in study.searched] == study.archs == ["A", "E", "B_5x5"]
    assert [run.run for run in study.nets[0].runs] == study.runs == [0, 1]
    assert study.protocols("jitter") == ["dense_scales", "multi_crop", "combined"]
    assert study.lead == ("large", "dense_scales")
    assert study.measurements("A", "large", "dense") is None
    assert study.measurements("A+E", "large", "dense_scales") is None


def test_the_main_comparison_is_that_of_table_3(whole: Study):
    assert whole.lead == ("fixed", "dense")


@pytest.mark.parametrize(
    ("source", "origin"),
    [
        ("sample", "sample"),
        ("/home/ann/photos.zip", "photos.zip"),
        ("https://ann:secret@example.org/256.tar?key=1", "https://example.org/256.tar"),
    ],
)
def test_the_origin_has_no_folder_and_no_secret_and_clutter_is_no_object(six: Study, source: str, origin: str):
    update = {"source": source, "categories": [*six.data.categories, "257.clutter"], "clutter": True}
    data = six.data.model_copy(update=update)
    assert (data.origin, data.objects) == (origin, 10)


@pytest.mark.parametrize(("name", "scale", "protocol"), [("C", "fixed", "centre"), ("D+E", "jitter", "combined")])
def test_errors_have_each_runs_share_of_wrong_test_images(whole: Study, name: str, scale: str, protocol: str):
    errors = whole.measurements(name, scale, protocol)
    measured = whole.fusion(name, scale) or whole.net(name, scale)
    assert errors is not None
    assert measured is not None
    for run in measured.runs:
        own = errors.runs == run.run
        assert 100 * errors.wrong[own].mean() == pytest.approx(run.protocols[protocol].top1_error, abs=1e-3)
        assert list(errors.images[own]) == list(whole.splits.index[whole.splits[f"split_{run.run}"] == "test"])
    assert len(errors.wrong) == 3 * TEST


# What the files may hold


def test_only_in_a_column_of_numbers_is_a_word_a_missing_number(make: Make):
    files = make("A", runs=2)
    files.pairs.loc[0, "path"] = "NA"
    files.curves.loc[1:2, "train_loss"] = [np.nan, np.inf]
    study = files.read()
    assert study.near_duplicates is not None
    assert study.near_duplicates.loc[0, "path"] == "NA"
    assert np.isnan(study.curves["train_loss"][1])
    assert study.curves["train_loss"][2] == np.inf


def test_of_long_runs_every_nth_epoch_and_the_last_are_kept(make: Make):
    files = make("A", runs=2)
    first = files.curves.iloc[[0]]
    lengths = {0: 251, 1: 51}
    rows = [first.assign(run=run, epoch=epoch) for run, last in lengths.items() for epoch in range(1, last + 1)]
    files.curves = pd.concat(rows)
    curves = files.read().curves
    assert list(curves[curves["run"] == 0]["epoch"]) == [*range(3, 250, 3), 251]
    assert list(curves[curves["run"] == 1]["epoch"]) == [*range(3, 49, 3), 51]


def test_a_missing_file_is_named(make: Make):
    files = make("A", runs=1)
    with pytest.raises(FileNotFoundError, match=r"metrics\.json"):
        read_study("A", "fixed", "sample", files.settings(), files.folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [("arch", "VGG"), ("scale", "tiny"), ("train_scale", [1, 2, 3]), ("runs", []), ("params", None)],
)
def test_an_impossible_value_is_refused_by_file_and_key(make: Make, key: str, value: object):
    files = make("A", runs=1)
    files.metrics["nets"][0][key] = value
    with pytest.raises(StageError, match=rf"metrics.json: nets.0.{key}"):
        files.read()


@pytest.mark.parametrize("missing", ["run", "protocol"])
def test_nets_with_other_runs_or_protocols_than_the_rest_are_refused(make: Make, missing: str):
    files = make("A B", runs=2)
    runs = files.metrics["nets"][1]["runs"]
    if missing == "run":
        del runs[0]
    else:
        del runs[1]["protocols"]["dense"]
    with pytest.raises(StageError, match=r"do not all have the same runs|different protocols"):
        files.read()


def test_errors_that_do_not_follow_from_the_decisions_are_refused(make: Make):
    files = make("A", runs=2)
    files.metrics["nets"][0]["runs"][1]["protocols"]["centre"]["top1_error"] += 0.1
    with pytest.raises(StageError, match=r"decisions.npz: A \(fixed\), run 1, centre: .* run the evaluation again"):
        files.read()


@pytest.mark.parametrize("part", ["class", "confidence"])
@pytest.mark.parametrize("kept", [0, TEST - 1])
def test_missing_decisions_are_named(make: Make, part: str, kept: int):
    files = make("D E", runs=1)
    array = files.arrays.pop(f"D+E/fixed/0/dense/{part}")
    if kept:
        files.arrays[f"D+E/fixed/0/dense/{part}"] = array[:kept]
    with pytest.raises(StageError, match=r"decisions.npz: D\+E \(fixed\), run 0, dense: "):
        files.read()


def test_damaged_decisions_are_refused(make: Make):
    files = make("A", runs=1)
    files.write()
    path = files.folder / "results" / "none" / "all" / "fixed" / "evaluation" / "decisions.npz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(StageError, match=r"decisions.npz is damaged"):
        files.again()


def test_results_of_other_test_images_are_refused(make: Make):
    files = make("A", runs=2)
    files.splits["split_1"] = files.splits["split_0"]
    with pytest.raises(StageError, match=r"split/1/images are not the test images of split_1"):
        files.read()


def test_files_with_different_labels_of_the_same_images_are_refused(make: Make):
    files = make("A B", runs=1)
    results = files.write_apart()
    path = results / "B" / "fixed" / "evaluation" / "decisions.npz"
    arrays = dict(np.load(path))
    for name in ("split/0/labels", *(name for name in arrays if name.endswith("/class"))):
        arrays[name] = (arrays[name] + 1) % 10
    np.savez(path, **arrays)
    with pytest.raises(StageError, match=r"decisions.npz: split/0/labels differs"):
        files.partial()


@pytest.mark.parametrize(("table", "column"), [("curves", "train_loss"), ("pairs", "other"), ("costs", "machine")])
def test_a_missing_column_is_named(make: Make, table: str, column: str):
    files = make("A")
    setattr(files, table, getattr(files, table).drop(columns=column))
    with pytest.raises(StageError, match=rf"has no column {column}"):
        files.read()


@pytest.mark.parametrize("content", [b"", b"image,other\n\xff\xfe,1\n", b'image,other\n"1,2\n', b"image,other\n1,many"])
def test_a_damaged_table_is_refused_in_one_line(make: Make, content: bytes):
    files = make("A", runs=1)
    files.write()
    (files.folder / "data" / "near-duplicates" / "near-duplicates.csv").write_bytes(content)
    with pytest.raises(StageError, match=r"near-duplicates.csv is damaged") as raised:
        files.again()
    assert "\n" not in str(raised.value)


def test_costs_have_the_stages_names_of_the_pipeline(whole: Study):
    scales = {stage: set(costs["scale"]) for stage, costs in whole.costs.groupby("stage") if "train" in str(stage)}
    assert scales == {"train": {"fixed"}, "train-large": {"large"}, "train-jitter": {"jitter"}}


# While a study runs


def test_only_fusions_of_the_nets_that_were_read_are_read(make: Make):
    files = make("A A_LRN B C D E", runs=2)
    assert files.read_apart().fusions == []
    merged = files.read()
    expected, found = (one.measurements("D+E", "fixed", "dense") for one in (merged, files.partial()))
    assert expected is not None
    assert found is not None
    assert np.array_equal(found.wrong, expected.wrong)
    assert files.partial().fusions == merged.fusions
    files.metrics["nets"][0]["runs"][1]["weights_sha256"] = "0" * 64
    assert [fusion.name for fusion in files.read_apart().fusions] == ["D+E"]


def test_nets_in_folders_of_their_own_give_the_same_study(make: Make):
    files = make("A B", runs=2, scales="fixed large jitter")
    merged, apart = files.read(), files.read_apart(scale="all")
    assert apart.nets == merged.nets
    others = [arch for arch in ABLATION if arch not in ("A", "B")]
    assert apart.missing == [(arch, scale) for scale in ("fixed", "large", "jitter") for arch in others]
    assert (apart.partial, merged.partial) == (True, False)
    for name in ("curves", "trials", "costs", "splits"):
        tables = [getattr(study, name) for study in (apart, merged)]
        ordered = [table.sort_values(list(table.columns), ignore_index=True) for table in tables]
        pd.testing.assert_frame_equal(*ordered)


def test_nets_with_batch_normalisation_are_missing_if_they_were_asked_for(make: Make):
    files = make("A A_BN", runs=1)
    study = files.read_apart(norm="batch")
    assert (study.archs, study.norm) == (["A", "A_BN"], "all")
    assert [arch for arch, _ in study.missing] == [f"{arch}_BN" for arch in ABLATION if arch != "A"]


@pytest.mark.parametrize(
    "name",
    [
        "fixed/evaluation/metrics.json", "fixed/training/cost.csv", "search/trials.csv",
    ],
)  # fmt: skip
def test_a_net_that_is_half_finished_is_missing(make: Make, name: str):
    files = make("A B", runs=1)
    (files.write_apart() / "B" / name).unlink()
    study = files.partial()
    assert study.archs == ["A"]
    assert ("B", "fixed") in study.missing


def change(files: Files, name: str, key: str, value: object, record: str = "runs") -> None:
    """Set a key in a JSON file of net B: of its last run, of its net, or of the file itself."""
    path = files.folder / "results" / "none" / "B" / name
    content = json.loads(path.read_text())
    holder = content["nets"][0] if "nets" in content else content
    (holder[record][-1] if record == "runs" else holder)[key] = value
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "changed",
    [
        ("fixed/training/training.json", "weights_sha256", "0" * 64),
        ("search/best.json", "learning_rate", 0.5, ""),
    ],
)
def test_a_net_trained_again_and_not_evaluated_since_is_missing(make: Make, changed: tuple):
    files = make("A B B_5x5", runs=2)
    files.write_apart()
    shutil.rmtree(files.folder / "data" / "near-duplicates")
    change(files, *changed)
    study = files.partial()
    assert study.archs == ["A", "B_5x5"]
    assert [arch for arch, _ in study.missing] == [arch for arch in ABLATION if arch != "A"]
    assert study.near_duplicates is None


def test_a_net_whose_start_was_trained_again_since_is_missing(make: Make):
    files = make("A B", runs=2, scales="fixed large")
    files.write_apart()
    assert len(files.partial().nets) == 4
    for name in ("training/training.json", "evaluation/metrics.json"):
        change(files, f"fixed/{name}", "weights_sha256", "0" * 64)
    found = [(net.arch, net.scale) for net in files.partial().nets]
    assert found == [("A", "fixed"), ("B", "fixed"), ("A", "large")]


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("training", "epochs", 20),
        ("training", "learning_rate", 0.05),
        ("training", "width", 1.0),
        ("tuned", "trials", 8),
        ("tuned", "space", {"learning_rate": [1e-4, 1.0], "weight_decay": [1e-5, 1e-2]}),
        (None, "input_side", 224),
    ],
)
def test_a_net_of_an_earlier_study_is_missing(make: Make, section: str | None, key: str, value: object):
    files = make("A B", runs=1)
    net = files.metrics["nets"][1]
    (net[section] if section else net)[key] = value
    assert files.read_apart().archs == ["A"]


def test_without_any_finished_net_there_is_no_study(make: Make):
    files = make("A", runs=1)
    shutil.rmtree(files.write_apart() / "A" / "fixed")
    with pytest.raises(StageError, match="no net is evaluated yet; run `dvc repro` first"):
        files.partial()
