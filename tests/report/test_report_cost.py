from made_up_study import Make
from vgg_ablation.report.cost import cost_tables, total
from vgg_ablation.report.table import Table


def line(table: Table, first: str) -> list[str]:
    (row,) = [row for row in table.rows if row[0] == first]
    return list(row)


def test_a_nets_cost_is_that_of_its_stages(make: Make):
    # Stages 4, 6 and 8 of the made-up study: 14, 16 and 18 s; 5,000 and 7,000 images in 12 and 14 s of work.
    table = cost_tables(make("A B", runs=2).read())["cost-nets"]
    assert table.header[:5] == ("net", "tune", "train", "evaluate", "all")
    assert line(table, "B") == ["B", "14 s", "16 s", "18 s", "48 s", "12,000", "462", "12.5%", "12.5%"]


def test_the_cost_of_all_stages_adds_up(make: Make):
    study = make("A B", runs=2).read()
    table = cost_tables(study)["cost-stages"]
    assert line(table, "train") == ["train", "31 s", "27 s", "4.0 s", "13,000"]
    assert line(table, "all")[:4] == ["all", "1:56 min", "1:40 min", "16 s"]
    cost = total(study.costs)
    assert (cost.time, cost.share, cost.device) == ("1:56 min", "70%", "cpu (2 threads, bfloat16)")


def test_what_was_not_measured_is_a_dash(make: Make):
    files = make("A", runs=2)
    files.costs["share_of_limit"], files.costs["commit"] = float("nan"), ""
    tables = cost_tables(files.read())
    assert line(tables["cost-nets"], "A")[-2:] == ["–", "–"]
    assert line(tables["machine"], "commit")[1] == "–"
