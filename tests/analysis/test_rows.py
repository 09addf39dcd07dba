import csv
import io
import json

import numpy as np
import pytest

from made_up_study import PROTOCOLS, Make
from vgg_ablation.analysis.findings import Findings
from vgg_ablation.analysis.rows import ablation, by_depth, frame, headline, published_beside
from vgg_ablation.analysis.study import Study
from vgg_ablation.paper.tables import published_errors

COLUMNS = (
    "arch,scale,protocol,weight_layers,params,gmacs,train_scale,test_scale,runs,top1_error,top1_error_low,"
    "top1_error_high,top1_error_runs,top5_error,mean_class_recall,nll,ece,training_error,learning_rate,weight_decay,"
    "did_not_train,paper_top1_error,paper_top5_error"
)

Lines = dict[tuple[str, str, str], dict[str, str]]


@pytest.fixture(scope="module")
def lines(whole_found: Findings) -> Lines:
    """The lines of the table by net, training scale and protocol."""
    text = frame(whole_found.rows).to_csv(index=False)
    return {(row["arch"], row["scale"], row["protocol"]): row for row in csv.DictReader(io.StringIO(text))}


def test_the_table_keeps_its_columns(six_found: Findings):
    assert frame(six_found.rows).to_csv(index=False).splitlines()[0] == COLUMNS


def test_there_is_a_row_per_scale_protocol_and_net_then_fusion(lines: Lines):
    nets = ["A", "A_LRN", "B", "C", "D", "E", "B_5x5", "D+E", "A+A_LRN+B+C+D+E"]
    tests = [(scale, protocol) for scale, protocols in PROTOCOLS.items() for protocol in protocols]
    assert list(lines) == [(net, *test) for test in tests for net in nets]


def test_every_error_is_the_mean_over_runs_of_the_share_of_wrong_images(lines: Lines, whole: Study):
    for (name, scale, protocol), row in lines.items():
        found = [whole.decisions(name, scale, run, protocol) for run in range(3)]
        shares = [100 * sum(one.predicted != one.labels) / 360 for one in found]
        assert float(row["top1_error"]) == pytest.approx(sum(shares) / 3)
        assert [float(error) for error in row["top1_error_runs"].split(";")] == pytest.approx(shares, rel=1e-5)
        assert float(row["top1_error_low"]) < float(row["top1_error"]) < float(row["top1_error_high"])


@pytest.mark.parametrize("name", ["top5_error", "mean_class_recall", "nll", "ece"])
def test_every_other_score_is_the_mean_over_runs(lines: Lines, whole: Study, name: str):
    for (arch, scale, protocol), row in lines.items():
        measured = whole.fusion(arch, scale) or whole.net(arch, scale)
        assert measured is not None
        expected = np.mean([getattr(run.protocols[protocol], name) for run in measured.runs])
        assert float(row[name]) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("net", "scale", "protocol", "values"),
    [
        ("C", "fixed", "dense", {"train_scale": "72", "test_scale": "72", "learning_rate": "0.0131"}),
        ("C", "jitter", "multi_crop", {"train_scale": "[72; 144]", "test_scale": "72, 108, 144"}),
        ("D+E", "fixed", "dense", dict.fromkeys(("weight_layers", "params", "learning_rate", "did_not_train"), "")),
    ],
)
def test_a_line_has_the_scales_and_the_settings_of_its_net(
    lines: Lines, net: str, scale: str, protocol: str, values: dict[str, str]
):
    row = lines[net, scale, protocol]
    assert {name: row[name] for name in values} == values


@pytest.mark.parametrize(
    ("arch", "scale", "protocol", "top1", "top5"),
    [
        ("D", "fixed", "dense", "27.0", "8.8"),
        ("E", "large", "dense_scales", "26.7", "8.6"),
        ("E", "jitter", "combined", "24.4", "7.1"),
        ("D+E", "jitter", "multi_crop", "23.9", "7.2"),
        ("A", "jitter", "dense", "", ""),
        ("B_5x5", "fixed", "dense", "", ""),
    ],
)
def test_the_papers_errors_are_in_the_same_cells(
    lines: Lines, arch: str, scale: str, protocol: str, top1: str, top5: str
):
    row = lines[arch, scale, protocol]
    assert (row["paper_top1_error"], row["paper_top5_error"]) == (top1, top5)


def test_if_the_paper_has_no_table_its_dense_errors_are_printed_beside_ours():
    found = published_beside("fixed", "centre")
    assert (found.protocol, found.errors) == ("dense", published_errors("fixed", "dense"))


def test_the_metrics_are_few_and_rounded(six_found: Findings):
    rows = six_found.lead_rows
    found = json.loads(json.dumps(headline(rows)))
    assert found == {
        **{row.arch: round(row.top1_error, 2) for row in rows}, "best": six_found.best.arch, "did_not_train": 1,
    }  # fmt: skip


def test_the_metrics_of_one_net_name_no_best_one(make: Make):
    found = headline([row for row in ablation(make("C", runs=2, classes=3).read()) if row.protocol == "dense"])
    assert list(found) == ["C", "did_not_train"]


def test_error_by_depth_has_a_line_per_net(six_found: Findings):
    table = by_depth(six_found.lead_rows)
    assert list(table["weight_layers"]) == [11, 11, 13, 16, 16, 19]
    assert list(table["top1_error"]) == [row.top1_error for row in six_found.lead_rows]
