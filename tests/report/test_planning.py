from pathlib import Path

from vgg_ablation.report.planning import FILE, render


def test_the_page_on_planning_is_that_of_make_docs():
    assert (Path(__file__).parents[2] / FILE).read_text() == render()


def test_more_runs_and_more_images_find_smaller_differences():
    lines = [line.strip("| ").split(" | ") for line in render().splitlines() if line.startswith("| ")][2:]
    table = [list(map(float, line)) for line in lines]
    for _, _, *row in table:
        assert row == sorted(row, reverse=True)
    for spread in {row[0] for row in table}:
        column = [row[2] for row in table if row[0] == spread]
        assert column == sorted(column, reverse=True)
