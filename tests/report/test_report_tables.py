import csv
import io
import json

import numpy as np
import pytest

from made_up_study import Make
from vgg_ablation.analysis.study import Study
from vgg_ablation.paper import SINGLE_SCALE
from vgg_ablation.report.tables import (
    Number,
    Table,
    ablation,
    by_depth,
    decimal,
    frame,
    headline,
    in_common,
    interval,
    probability,
    result_table,
    settings_table,
    weights_table,
)

COLUMNS = (
    "arch,scale,protocol,weight_layers,params,gmacs,train_scale,test_scale,runs,top1_error,top1_error_low,"
    "top1_error_high,top1_error_runs,top5_error,mean_class_recall,nll,ece,training_error,learning_rate,weight_decay,"
    "did_not_train,paper_top1_error,paper_top5_error"
)


def lines(study: Study) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(frame(ablation(study)).to_csv(index=False))))


def test_the_table_for_machines_keeps_its_columns(six: Study):
    assert frame(ablation(six)).to_csv(index=False).splitlines()[0] == COLUMNS


def test_there_is_a_row_a_scale_protocol_and_net_and_then_the_fusions(whole: Study):
    nets = ["A", "A_LRN", "B", "C", "D", "E", "B_5x5", "D+E", "A+A_LRN+B+C+D+E"]
    expected = {
        "fixed": ["centre", "dense", "dense_scales"],
        "large": ["dense", "dense_scales"],
        "jitter": ["dense", "dense_scales", "multi_crop", "combined"],
    }
    assert [(row["scale"], row["protocol"], row["arch"]) for row in lines(whole)] == [
        (scale, protocol, net) for scale, protocols in expected.items() for protocol in protocols for net in nets
    ]


def test_every_error_is_the_mean_over_runs_of_the_share_of_wrong_images(whole: Study):
    for row in lines(whole):
        shares = []
        for run in range(3):
            key = f"{row['arch']}/{row['scale']}/{run}/{row['protocol']}/class"
            pairs = zip(whole.outcomes.arrays[key], whole.outcomes.arrays[f"split/{run}/labels"], strict=True)
            shares.append(100 * sum(one != other for one, other in pairs) / 360)
        assert float(row["top1_error"]) == pytest.approx(sum(shares) / 3)
        assert [float(error) for error in row["top1_error_runs"].split(";")] == pytest.approx(shares, rel=1e-5)
        assert float(row["top1_error_low"]) < float(row["top1_error"]) < float(row["top1_error_high"])


@pytest.mark.parametrize("name", ["top5_error", "mean_class_recall", "nll", "ece"])
def test_every_other_score_is_the_mean_over_runs(make: Make, name: str):
    files = make("C D E A A_LRN B", runs=3)
    found = {(row["arch"], row["protocol"]): float(row[name]) for row in lines(files.read())}
    measured = [(net["arch"], net["runs"]) for net in files.metrics["nets"]]
    measured += [("+".join(one["members"]), one["runs"]) for one in files.metrics["fusions"]]
    for arch, runs in measured:
        for protocol in ("centre", "dense", "dense_scales"):
            expected = np.mean([run["protocols"][protocol][name] for run in runs])
            assert found[arch, protocol] == pytest.approx(expected)


def test_a_fusion_has_no_size_of_its_own(whole: Study):
    row = next(row for row in lines(whole) if row["arch"] == "D+E")
    assert {row[name] for name in ("weight_layers", "params", "gmacs", "learning_rate", "did_not_train")} == {""}


def test_the_learning_rate_is_that_of_the_training_scale(whole: Study):
    rates = {row["scale"]: float(row["learning_rate"]) for row in lines(whole) if row["arch"] == "C"}
    assert rates == pytest.approx({"fixed": 0.0131, "large": 0.00131, "jitter": 0.00131})


def test_scales_are_written_as_the_paper_writes_them(whole: Study):
    of_c = {(row["scale"], row["protocol"]): row for row in lines(whole) if row["arch"] == "C"}
    assert (of_c["fixed", "dense"]["train_scale"], of_c["fixed", "dense"]["test_scale"]) == ("72", "72")
    row = of_c["jitter", "multi_crop"]
    assert (row["train_scale"], row["test_scale"]) == ("[72; 144]", "72, 108, 144")


@pytest.mark.parametrize(
    ("arch", "scale", "protocol", "top1", "top5"),
    [
        ("D", "fixed", "dense", "27.0", "8.8"),
        ("E", "large", "dense_scales", "26.7", "8.6"),
        ("E", "jitter", "combined", "24.4", "7.1"),
        ("D+E", "jitter", "multi_crop", "23.9", "7.2"),
        ("A", "jitter", "dense", "", ""),
        ("D", "fixed", "centre", "", ""),
        ("B_5x5", "fixed", "dense", "", ""),
    ],
)
def test_the_papers_figures_stand_in_its_own_cells(
    whole: Study, arch: str, scale: str, protocol: str, top1: str, top5: str
):
    (row,) = [row for row in lines(whole) if (row["arch"], row["scale"], row["protocol"]) == (arch, scale, protocol)]
    assert (row["paper_top1_error"], row["paper_top5_error"]) == (top1, top5)


def test_few_classes_have_no_top5_error(make: Make):
    rows = ablation(make("C", runs=1, classes=3).read())
    assert {row.top5_error for row in rows} == {None}
    assert "top5_error" not in str(headline(rows[:1]))


# The main table


def test_the_main_table_shows_each_run_beside_mean_interval_and_paper(six: Study):
    rows = [row for row in ablation(six) if row.protocol == "dense" and row.params]
    table = result_table(rows, "result", "")
    (of_d,) = [dict(zip(table.header, row, strict=True)) for row in table.rows if row[0] == "D"]
    (row,) = [row for row in rows if row.arch == "D"]
    assert of_d["top-1 error, %"] == f"{row.top1_error:.1f} [{row.top1_error_low:.1f}, {row.top1_error_high:.1f}]"
    assert of_d["each run, %"] == ", ".join(f"{error:.1f}" for error in row.each_run)
    assert (of_d["paper top-1, %"], of_d["paper top-5, %"], of_d["runs"]) == ("27.0", "8.8", "5")


def test_a_run_that_did_not_train_is_counted_in_the_main_table(six: Study):
    rows = [row for row in ablation(six) if row.protocol == "dense" and row.params]
    assert result_table(rows, "result", "").rows[5][9] == "5 (1 did not train)"


def test_where_the_paper_has_no_table_its_dense_figures_stand_in(six: Study):
    rows = [row for row in ablation(six) if row.protocol == "centre" and row.params]
    shown = [row[-2] for row in result_table(rows, "result", "").rows]
    assert shown == [f"{errors.top1:.1f}" for errors in SINGLE_SCALE.values()]


# For machines


def test_a_number_with_an_interval_is_three_columns():
    table = Table("made-up", "", ("net", "error"), [("A", interval(31.23456, 29, 33)), ("B", decimal(None))])
    assert table.frame().to_csv(index=False) == "net,error,error (low),error (high)\nA,31.23456,29.0,33.0\nB,,,\n"


def test_a_number_reads_as_its_text():
    number = Number("+1.5", 1.5)
    assert f"{number}|" == "+1.5|"
    assert (number.value, number.low) == (1.5, None)


@pytest.mark.parametrize(("p_value", "text"), [(0.0004, "< 0.001"), (0.001, "0.001"), (0.0496, "0.050"), (1, "1.000")])
def test_a_p_value_has_the_digits_it_deserves(p_value: float, text: str):
    assert probability(p_value) == text


def test_the_metrics_are_few_and_rounded(six: Study):
    rows = [row for row in ablation(six) if row.protocol == "dense" and row.params]
    found = json.loads(json.dumps(headline(rows)))
    assert list(found) == ["A", "A_LRN", "B", "C", "D", "E", "best", "best_top1_error", "did_not_train"]
    assert found["did_not_train"] == 1
    assert found["best"] == min(rows, key=lambda row: row.top1_error).arch
    for row in rows:
        assert found[row.arch] == {
            "top1_error": round(row.top1_error, 2),
            "top5_error": round(row.top5_error or 0, 2),
            "mean_class_recall": round(row.mean_class_recall, 2),
        }


def test_one_net_alone_has_its_training_error_and_calibration_among_the_metrics(make: Make):
    rows = [row for row in ablation(make("C", runs=2).read()) if row.protocol == "dense"]
    found = headline(rows)
    assert list(found) == ["C", "did_not_train"]
    of_c = found["C"]
    assert isinstance(of_c, dict)
    assert list(of_c) == ["top1_error", "top5_error", "mean_class_recall", "training_error", "ece", "nll"]


def test_error_by_depth_is_a_line_a_net(six: Study):
    rows = [row for row in ablation(six) if row.protocol == "dense" and row.params]
    table = by_depth(rows)
    assert list(table["weight_layers"]) == [11, 11, 13, 16, 16, 19]
    assert list(table["top1_error"]) == [row.top1_error for row in rows]


# What nets have in common


def test_a_value_that_all_share_stands_alone(whole: Study):
    assert in_common(whole.nets, ["64"] * len(whole.nets)) == "64"


def test_a_whole_training_scale_goes_by_its_name(whole: Study):
    values = ["100" if net.scale == "fixed" else "40" for net in whole.nets]
    assert in_common(whole.nets, values) == "100 (fixed); 40 (large, jitter)"


def test_a_single_net_that_differs_is_named(six: Study):
    values = ["paper" if net.arch == "B" else "kaiming" for net in six.nets]
    assert in_common(six.nets, values) == "kaiming (A, A_LRN, C, D, E); paper (B)"


def test_the_weights_of_every_run_are_told(six: Study):
    told = {(row[0], row[1], row[2]): row[4] for row in weights_table(six.nets).rows}
    assert told == {
        (net.arch, net.scale, str(run.run)): f"`{run.weights_sha256}`" for net in six.nets for run in net.runs
    }


def test_every_setting_of_the_study_is_laid_out_and_the_source_without_its_folder(make: Make):
    settings = make("A").settings()
    rows = {row[0]: row[1] for row in settings_table(settings, "images.tar").rows}
    assert rows["data.source"] == "images.tar"
    assert rows["scales.jitter.train"] == "72, 144"
    assert rows["tune.learning_rate.low"] == "0.0001"
    leaves = [leaf for section in settings.model_dump().values() for leaf in section]
    assert all(any(leaf in name for name in rows) for leaf in leaves)
