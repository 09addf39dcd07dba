import pytest

from made_up_study import Make
from vgg_ablation.analysis.study import Study
from vgg_ablation.report.cost import cost_sections
from vgg_ablation.report.tables import Number, Table


def tables(study: Study) -> dict[str, Table]:
    return {table.name: table for section in cost_sections(study) for table in section.tables}


def line(table: Table, first: str) -> list[str]:
    (row,) = [row for row in table.rows if row[0] == first]
    return list(row)


def test_a_nets_cost_is_that_of_its_stages(make: Make):
    # Stages 4, 6 and 8 of the made-up study: 14, 16 and 18 s; 5,000 and 7,000 images in 12 and 14 s of work.
    found = tables(make("A B", runs=2).read())["cost"]
    assert found.header[:5] == ("net", "tune", "train", "evaluate", "all")
    assert line(found, "B") == ["B", "14 s", "16 s", "18 s", "48 s", "12,000", "462", "12.5%", "12.5%"]


def test_each_training_scale_is_a_stage(make: Make):
    found = tables(make("A", runs=2, scales="fixed large jitter").read())["cost"]
    assert found.header[:6] == ("net", "tune", "train", "train-large", "train-jitter", "evaluate")
    # Evaluation takes 17, 18 and 19 s.
    assert line(found, "A")[1:7] == ["13 s", "14 s", "15 s", "16 s", "54 s", "1:52 min"]


def test_the_stages_cost_adds_up(make: Make):
    study = make("A B", runs=2).read()
    found = tables(study)["cost-stages"]
    assert line(found, "train") == ["train", "31 s", "27 s", "4.0 s", "13,000"]
    assert line(found, "all")[:4] == ["all", "2:06 min", "1:48 min", "18 s"]
    (text,) = cost_sections(study)[0].paragraphs
    assert "2:06 min of stages' time on cpu (2 threads, bfloat16); 64% of it in steps" in text


def test_one_thread_is_one(make: Make):
    files = make("A", runs=2)
    files.costs["threads"] = 1
    assert " on cpu (1 thread, bfloat16); " in cost_sections(files.read())[0].paragraphs[0]


def test_the_share_of_the_limit_counts_by_work(make: Make):
    files = make("A", runs=2, scales="fixed large")
    trained = files.costs["stage"].str.startswith("train")
    files.costs.loc[trained, "share_of_limit"] = [0.1, 0.4]
    files.costs.loc[trained, "work_seconds"] = [30.0, 10.0]
    share = line(tables(files.read())["cost"], "A")[-2]
    assert isinstance(share, Number)
    assert share.value == pytest.approx((0.1 * 30 + 0.4 * 10) / 40)


def test_a_rate_that_nobody_measured_is_a_dash(make: Make):
    files = make("A", runs=2)
    files.costs["share_of_limit"] = float("nan")
    assert line(tables(files.read())["cost"], "A")[-2:] == ["–", "–"]


def test_where_and_with_what_the_stages_ran_is_told(make: Make):
    files = make("A B", runs=2)
    assert line(tables(files.read())["machine"], "machine")[1] == "A made-up processor, 2 cores, 24 GiB"
    files.costs.loc[files.costs["arch"] == "B", "machine"] = "another"
    told = line(tables(files.read())["machine"], "machine")[1]
    assert told.endswith("; another (tune B, train B fixed, evaluate B fixed)")


def test_without_git_the_commit_is_a_dash(make: Make):
    files = make("A", runs=2)
    files.costs["commit"] = ""
    assert line(tables(files.read())["machine"], "commit")[1] == "–"
