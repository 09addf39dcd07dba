import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from vgg_ablation.report.table import (
    LONGEST,
    NONE,
    Table,
    decimal,
    detectable,
    inert,
    interval,
    possible,
    probability,
    whole,
)


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_columns_of_a_markdown_table_are_aligned():
    table = Table("made-up", "", ("net", "images"), [("A", whole(1200)), ("A_LRN", whole(3))])
    lines = table.markdown().splitlines()
    assert [cells(line) for line in lines] == [
        ["net", "images"],
        [":------", "---------:"],
        ["A", "1,200"],
        ["A_LRN", "3"],
    ]
    assert len({len(line) for line in lines}) == 1


def test_a_long_table_is_only_named():
    table = Table("made-up", "", ("number",), [(str(number),) for number in range(LONGEST + 1)])
    assert table.markdown() == "37 rows: `tables/made-up.csv`."


def test_a_table_is_shown_with_some_of_its_columns():
    table = Table("made-up", "", ("net", "error", "runs"), [("A", decimal(1.0), whole(3))])
    shown = table.only(["net", "runs"])
    assert (shown.header, shown.rows, shown.numeric()) == (["net", "runs"], [["A", "3"]], [False, True])
    with pytest.raises(ValueError, match="is not in list"):
        table.only(["loss"])


def test_a_number_with_an_interval_is_three_columns_for_machines():
    table = Table("made-up", "", ("net", "error"), [("A", interval(31.23456, 29, 33)), ("B", decimal(None))])
    assert table.frame().to_csv(index=False) == "net,error,error (low),error (high)\nA,31.23456,29.0,33.0\nB,,,\n"


def test_numbers_have_the_format_of_their_kind():
    assert interval(1.25, -0.5, 3, "+") == "+1.2 [-0.5, +3.0]"
    assert [decimal(None), whole(12_000), decimal(-0.5, 2, "+")] == ["–", "12,000", "-0.50"]
    assert [probability(p) for p in (0.0004, 0.001, 0.0496, 1)] == ["< 0.001", "0.001", "0.050", "1.000"]


HOSTILE = ["![x](http://e/x.png)", "[x](http://e)", "<b>", "<!-- x -->", "<https://e>", "a | b", "`x`", "**x**", "&lt;"]


@given(st.one_of(st.sampled_from(HOSTILE), st.text(alphabet="a 1_*`[]()<>!&;#~|\\:/.\n-", min_size=1)))
def test_text_from_outside_is_shown_as_it_is_and_is_no_markup(text: str):
    table = Table("made-up", "", ("name", "other"), [(f"x{text}x", "y")])
    html = MarkdownIt("commonmark").enable("table").render(table.markdown())
    (shown,) = re.findall(r"<tbody>\n<tr>\n<td[^>]*>(.*)</td>\n<td[^>]*>y</td>", html)
    escaped = re.sub(r"\s+", " ", f"x{text}x").replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert shown == escaped


def test_github_makes_no_link_of_an_address_in_a_name():
    assert "http://evil.example" not in inert("http://evil.example")
    assert "www.evil.example" not in inert("www.evil.example")


@pytest.mark.parametrize(
    ("points", "text", "value"),
    [(None, NONE, None), (99.9, "99.9", 99.9), (100.0, "none", None), (149.9, "none", None)],
)
def test_a_difference_that_cannot_be_is_not_printed(points: float | None, text: str, value: float | None):
    assert (detectable(points), detectable(points).value, possible(points)) == (text, value, value)
