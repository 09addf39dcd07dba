from pathlib import Path

import pandas as pd
import pytest
from made_up_study import Make

from vgg_ablation.pipeline.errors import StageError
from vgg_ablation.report import read_study


def test_nets_and_runs_come_in_the_papers_order(make: Make):
    files = make("E B A", runs=3)
    files.metrics["nets"][0]["runs"].reverse()
    nets = files.read().nets
    assert [net.arch for net in nets] == ["A", "B", "E"]
    assert [run.run for run in nets[2].runs] == [0, 1, 2]


def test_dense_comes_first_wherever_it_stands(make: Make):
    assert make("A").read().protocols == ["dense", "centre"]


def test_without_dense_the_first_protocol_stands_in(make: Make):
    files = make("A", runs=2)
    for run in files.metrics["nets"][0]["runs"]:
        del run["protocols"]["dense"]
    assert files.read().protocols == ["centre"]


def test_an_outcome_that_is_not_there_is_no_outcome(make: Make):
    files = make("A")
    files.trials["outcome"] = ""
    assert set(files.read().trials["outcome"]) == {""}


def test_unknown_keys_are_passed_over(make: Make):
    files = make("A")
    files.metrics["nets"][0]["carbon"] = 12
    assert files.read().nets[0].arch == "A"


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"metrics\.json"):
        read_study(tmp_path, tmp_path / "data", "sample")


@pytest.mark.parametrize("error", [101, -1, float("nan"), None])
def test_an_error_that_is_no_percentage_is_refused(make: Make, error: float | None):
    files = make("A")
    files.metrics["nets"][0]["runs"][1]["protocols"]["dense"]["top1_error"] = error
    with pytest.raises(StageError, match=r"metrics.json: nets.0.runs.1.protocols.dense.top1_error: "):
        files.read()


def test_a_net_that_is_there_twice_is_refused(make: Make):
    with pytest.raises(StageError, match="twice"):
        make("A A").read()


def test_runs_under_different_protocols_are_refused(make: Make):
    files = make("A")
    del files.metrics["nets"][0]["runs"][1]["protocols"]["dense"]
    with pytest.raises(StageError, match="same protocols"):
        files.read()


def test_a_missing_column_is_named(make: Make):
    files = make("A")
    files.curves = files.curves.drop(columns="train_loss")
    with pytest.raises(StageError, match=r"curves.csv has no column train_loss"):
        files.read()


def test_what_is_no_table_is_refused(make: Make):
    files = make("A")
    files.trials = pd.DataFrame()
    with pytest.raises(StageError, match=r"trials.csv"):
        files.read()


def test_what_is_no_json_is_refused(make: Make, tmp_path: Path):
    make("A").read()
    summary = tmp_path / "data" / "processed" / "summary.json"
    summary.write_text("{", encoding="utf-8")
    with pytest.raises(StageError, match=r"summary.json is not JSON"):
        read_study(tmp_path / "results" / "all", tmp_path / "data", "sample")
