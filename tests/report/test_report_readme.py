import pytest

from vgg_ablation.report.readme import updated

TABLE = "| net | error |\n|:----|------:|\n| A   |  31.2 |"
REPORT = (
    f"# Title\n\n- **Depth: undecided.**\n- **Best net A.**\n- **Fit.**\n\nNote.\n\n{TABLE}\n\n## Claims\n\n{TABLE}\n"
)
README = """# Project

<!-- excerpt of reports/ablation.md: make docs -->
old
<!-- end of excerpt -->

Between.
"""
FILES = {"reports/ablation.md": REPORT}


def test_an_excerpt_is_the_title_the_headline_and_the_first_table():
    text = updated(README, FILES.__getitem__)
    excerpt = text.partition("make docs -->\n")[2].partition("<!-- end")[0]
    assert excerpt == f"> Title\n\n- **Depth: undecided.**\n- **Best net A.**\n- **Fit.**\n\n{TABLE}\n"


def test_everything_else_stays_and_a_second_update_changes_nothing():
    text = updated(README, FILES.__getitem__)
    assert text.startswith("# Project\n\n<!-- excerpt of reports/ablation.md: make docs -->\n>")
    assert "\nBetween.\n" in text
    assert updated(text, FILES.__getitem__) == text


def test_a_report_without_a_table_is_an_error():
    with pytest.raises(ValueError, match="no table"):
        updated(README, lambda _: "# Title\n\n- Headline.\n\nText.\n")
