import pytest

from vgg_ablation.report.readme import excerpts, with_excerpt

TABLE = "| net | error |\n| --- | ----: |\n| A   |  31.2 |"
REPORT = f"# Title\n\nThe answer.\n\nLinks.\n\n## Error by net\n\n{TABLE}\n\nNotes.\n"
OTHER = "docs/studies/office10/ablation.md"
README = f"""# Project

<!-- excerpt of reports/ablation.md: make readme -->
old
<!-- end of excerpt -->

Between.

<!-- excerpt of {OTHER}: make readme -->
<!-- end of excerpt -->
"""


def test_the_reports_that_are_quoted_are_those_that_the_markers_name():
    assert excerpts(README) == ["reports/ablation.md", OTHER]


def test_an_excerpt_is_title_answer_and_first_table():
    quoted = f"> Title\n\nThe answer.\n\n{TABLE}\n<!-- end of excerpt -->"
    assert with_excerpt(README, REPORT) == README.replace("old\n<!-- end of excerpt -->", quoted, 1)


def test_each_report_has_its_own_place():
    filled = with_excerpt(README, REPORT, OTHER)
    assert filled.index("old") < filled.index("Between.") < filled.index("The answer.")


def test_an_excerpt_of_an_excerpt_changes_nothing():
    filled = with_excerpt(README, REPORT)
    assert with_excerpt(filled, REPORT) == filled


def test_an_excerpt_needs_its_markers():
    with pytest.raises(ValueError, match=r"no markers for an excerpt of reports/ablation\.md"):
        with_excerpt("# no markers", REPORT)


def test_a_report_without_a_table_is_no_report():
    with pytest.raises(ValueError, match="has no table"):
        with_excerpt(README, "# Title\n\nThe answer.\n")
