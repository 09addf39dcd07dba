import re

import pytest

from made_up_study import Make
from vgg_ablation.report.markdown import LONGEST, document, laid_out
from vgg_ablation.report.sections import Findings, Section, sections, title
from vgg_ablation.report.tables import Table, whole


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def blocks(text: str) -> list[list[str]]:
    return [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]


def test_every_table_is_whole_and_lines_up(whole_found: Findings, six_found: Findings):
    for found in (whole_found, six_found):
        tables = blocks(document(title(found.study), sections(found), ""))
        assert len(tables) > 12
        for lines in tables:
            assert len({len(line) for line in lines}) == 1
            assert len({len(cells(line)) for line in lines}) == 1
            assert all(re.fullmatch(r"-{3,}:?", cell) for cell in cells(lines[1]))


def test_the_cells_are_those_of_the_table():
    table = Table("made-up", "", ("net", "images"), [("A", whole(1200)), ("B", whole(3))])
    assert [cells(line) for line in laid_out(table).splitlines()] == [
        ["net", "images"],
        ["----", "-----:"],
        ["A", "1,200"],
        ["B", "3"],
    ]


def test_what_would_break_a_table_does_not():
    table = Table("made-up", "", ("net", "reason"), [("A", "a | bar\nand a line")], frozenset({0, 1}))
    (lines,) = blocks(laid_out(table))
    assert cells(lines[2]) == ["A", "a \\| bar and a line"]


def test_a_long_table_is_named_with_its_file():
    table = Table("made-up", "", ("number",), [(str(number),) for number in range(LONGEST + 1)])
    assert laid_out(table) == "26 lines: [tables/made-up.csv](tables/made-up.csv)."


def test_a_table_of_paragraphs_becomes_a_list():
    table = Table("made-up", "", ("claim", "why"), [("It falls", "because " * 20)], frozenset({0, 1}))
    assert laid_out(table).startswith("* **It falls**\n  *Why*: because because")


def test_the_first_section_stands_under_the_title_itself():
    parts = [Section("answer", "The answer", ("Yes.",)), Section("more", "More", ("Much.",), (), ("A note.",))]
    assert document("Report", parts, "Links.") == "# Report\n\nYes.\n\nLinks.\n\n## More\n\nMuch.\n\nA note.\n"


def test_captions_tell_several_tables_of_a_section_apart(make: Make):
    table = Table("made-up", "One", ("net",), [("A",)])
    text = document("Report", [Section("x", "X", (), (table, table))], "")
    assert text.count("**One**") == 2
    assert "**One**" not in document("Report", [Section("x", "X", (), (table,))], "")


@pytest.mark.parametrize("name", ["![x](http://e/x.png)", "[x](http://e)", "<b>", "</b>", "<!-- x -->", "<https://e>"])
def test_a_name_out_of_an_archive_makes_no_link_image_or_html(name: str) -> None:
    table = Table("classes", "Classes", ("category", "error"), [(name, "1.0")])
    found = document("Title", [Section("classes", f"Of {name}", (f"Of {name}.",), (table,), (f"Of {name}.",))], "")
    assert re.search(r"(?<!\\)\]\(|(?<!\\)<[A-Za-z/!?]", found) is None
