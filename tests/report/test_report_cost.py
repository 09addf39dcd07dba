from io import StringIO

import pandas as pd
from made_up_study import Make

from vgg_ablation.report.inputs import COST_COLUMNS
from vgg_ablation.report.outputs import render


def lines(text: str, start: str) -> list[list[str]]:
    """The cells of the table lines that begin with `start`."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    return [row for row in rows if row[0] == start]


def test_all_numbers_are_in_the_table_for_machines(make: Make) -> None:
    study = make("A B", runs=2)
    written = pd.read_csv(StringIO(render(study.read())["cost.csv"]), keep_default_na=False)
    assert list(written.columns) == COST_COLUMNS
    assert list(zip(written["stage"], written["arch"], strict=True)) == [
        ("download", ""), ("preprocess", ""), ("tune", "A"), ("tune", "B"), ("train", "A"), ("train", "B"),
        ("evaluate", "A"), ("evaluate", "B"),
    ]  # fmt: skip
    assert list(written["seconds"]) == list(range(10, 18))


def test_a_nets_cost_is_that_of_its_stages(make: Make) -> None:
    (row,) = lines(render(make("A B", runs=2).read())["cost.md"], "B")
    # Stages 3, 5 and 7 of the made-up study: 13, 15 and 17 s; 4,000 and 6,000 images in 11 and 13 s of work.
    assert row == ["B", "13 s", "15 s", "17 s", "45 s", "10,000", "417", "12.5%", "12.5%"]


def test_the_stages_cost_adds_up(make: Make) -> None:
    text = render(make("A B", runs=2).read())["cost.md"]
    assert lines(text, "train") == [["train", "29 s", "25 s", "4.0 s", "11,000"]]
    (whole,) = lines(text, "all")
    assert whole[:4] == ["all", "1:48 min", "1:32 min", "16 s"]
    assert "1:48 min of stages' time on cpu (2 threads, bfloat16); 69% of it in steps" in text


def test_what_it_cost_stands_in_files_of_its_own(make: Make) -> None:
    study = make("A B", runs=2)
    before = render(study.read())
    study.costs["seconds"] *= 2
    after = render(study.read())
    assert {name for name in before if before[name] != after[name]} == {"cost.md", "cost.csv"}
