import re
from collections.abc import Callable
from dataclasses import replace

import matplotlib as mpl
import pytest
from page_elements import Page

from made_up_study import Files, Make
from vgg_ablation.analysis.study import Study
from vgg_ablation.report import class_figures, figures
from vgg_ablation.report.cost import cost_sections
from vgg_ablation.report.drawing import STYLE, Drawing
from vgg_ablation.report.page import VERDICTS, document, value
from vgg_ablation.report.sections import Section, find, sections, title
from vgg_ablation.report.tables import NONE, Number, Table

Render = Callable[..., Page]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Two nets at two training scales with two runs each, one of which did not train."""
    return Files(tmp_path_factory.mktemp("two"), ["A", "D"], 2, 10, {("D", 1)}, ["fixed", "jitter"]).read()


@pytest.fixture(scope="module")
def drawings(study: Study) -> dict[str, Drawing]:
    return figures.all_figures(find(study))


@pytest.fixture(scope="module")
def text(study: Study, drawings: dict[str, Drawing]) -> str:
    return document(study, [*sections(find(study)), *cost_sections(study)], drawings)


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_the_page_begins_with_the_reports_first_line(study: Study, page: Page):
    line = title(study)
    assert page.text["title"] == [line.replace("`", "")]
    assert page.text["h1"] == [line.partition("`")[0] + ")"]  # the study's name stands in an element of its own
    assert page.text["code"][0] == study.name


def test_every_section_is_there_in_order_and_in_the_contents(study: Study, page: Page):
    keys = [section.key for section in (*sections(find(study)), *cost_sections(study))]
    assert [section["id"] for section in page.of("section")] == keys
    contents = [link["href"] for link in page.of("a") if link["href"].startswith("#") and "class" not in link]
    assert contents == [f"#{key}" for key in keys]
    assert [heading["id"] for heading in page.of("h2")] == [
        section["aria-labelledby"] for section in page.of("section")
    ]


def test_every_figure_has_its_place(drawings: dict[str, Drawing], page: Page):
    shown = [drawing["aria-label"] for drawing in page.of("svg")]
    assert sorted(shown) == sorted(f"{drawing.title}. {drawing.words}" for drawing in drawings.values())
    assert len(page.of("figure")) == len(page.of("figcaption"))


def test_a_figure_stands_with_its_data_and_the_command_that_made_it(drawings: dict[str, Drawing], page: Page):
    linked = {link["href"] for link in page.of("a") if link["href"].startswith("figures/")}
    assert linked == {f"figures/{name}.csv" for name in drawings if name != "search-key"}
    assert page.text["code"].count("dvc repro report") == len(page.of("figure")) + 1  # and in the last line


def test_a_study_that_is_not_finished_says_so_and_names_its_command(study: Study, drawings: dict[str, Drawing]):
    half = replace(study, missing=["E (fixed)"], partial=True)
    text = document(half, sections(find(half)), drawings)
    assert "<code>python stages/report.py --partial</code>" in text
    assert "dvc repro report" not in text
    assert "E (fixed)" in text


def test_the_page_needs_nothing_but_itself_and_its_figures_data(page: Page, text: str):
    own = {f"#{name}" for name in page.attributes("id")} | {"data:,", "ablation.csv", "ablation.md"}
    links = {link for link in (*page.attributes("href"), *page.attributes("src")) if not link.startswith("figures/")}
    assert links <= own
    assert set(re.findall(r"url\((.*?)\)", text)) <= own
    assert not {tag for tag, _ in page.elements} & {"img", "iframe", "object", "embed"}
    assert "@import" not in text


def test_no_id_is_there_twice(page: Page):
    ids = page.attributes("id")
    assert len(set(ids)) == len(ids)


def test_cells_of_the_first_row_and_column_are_headers_with_a_scope(page: Page):
    scopes = [cell.get("scope") for cell in page.of("th")]
    assert set(scopes) == {"row", "col"}
    assert scopes.count("col") >= 2 * len(page.of("table"))


def test_numbers_are_few_enough_to_read_or_only_linked(page: Page, drawings: dict[str, Drawing]):
    assert len(drawings["learning-fixed-A"].data) == 80
    assert "The numbers" in page.text["summary"]
    assert not [cell for cell in page.text["td"] if cell == "nan"]


def test_two_reports_on_one_study_have_the_same_bytes(study: Study, drawings: dict[str, Drawing], text: str):
    assert document(study, [*sections(find(study)), *cost_sections(study)], drawings) == text


# Tables


@pytest.fixture
def render(study: Study) -> Render:
    def rendered(*tables: Table, heading: str = "Some", paragraph: str = "") -> Page:
        return Page(document(study, [Section("some", heading, (paragraph,), tables)], {}))

    return rendered


@pytest.mark.parametrize("verdict", VERDICTS)
def test_a_verdict_is_a_badge_with_its_word(render: Render, verdict: str):
    page = render(Table("one", "One", ("claim", "verdict"), [("falls", verdict)], frozenset({0, 1})))
    assert {"class": f"badge {verdict.replace(' ', '-')}"} in page.of("span")
    assert verdict in page.text["span"]


def test_a_number_sorts_by_itself_not_by_its_text(render: Render):
    rows = [("A", Number("0.54 M", 540_000)), ("B", Number("1:02 min", 62.0)), ("C", Number(NONE, None))]
    page = render(Table("one", "One", ("net", "size"), rows))
    assert page.attributes("data-value") == ["540000", "62.0", ""]
    assert page.of("table") == [{"class": "sortable"}]


def test_a_list_of_settings_does_not_sort(render: Render):
    rows = [("epochs", "3"), ("batch size", "4"), ("device", "cpu")]
    assert render(Table("one", "One", ("setting", "value"), rows, frozenset({0, 1}))).of("table") == [{}]


@pytest.mark.parametrize(("cell", "expected"), [(Number("2", 2), "2"), (Number(NONE, None), ""), ("12", "")])
def test_what_is_no_number_sorts_last(cell: str, expected: str):
    assert value(cell) == expected


def test_names_cannot_break_the_page(render: Render):
    hostile = '<script>alert(1)</script>"&`<b>`'
    page = render(Table("one", hostile, (hostile, "b"), [(hostile, hostile)]), heading=hostile, paragraph=hostile)
    assert len(page.of("script")) == 1
    assert not page.of("b")
    assert page.text["th"][-1] == '<script>alert(1)</script>"&'


def test_a_class_with_a_hostile_name_breaks_no_figure(make: Make):
    files = make("A D", runs=1)
    files.summary["categories"][0] = '001."><script>\\1</script>$x_1$'
    study = files.read()
    with mpl.rc_context(STYLE):
        drawn = class_figures.class_errors(study)
    page = Page(document(study, sections(find(study)), {drawn.name: drawn}))
    assert len(page.of("script")) == 1
    assert '001."><script>\\1</script>$x_1$' in page.text["text"]
