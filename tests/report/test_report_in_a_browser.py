import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from made_up_study import Files
from vgg_ablation.report.outputs import write_report

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PROGRAM = next((found for name in BROWSERS if (found := shutil.which(name))), None)

pytestmark = pytest.mark.skipif(PROGRAM is None, reason=f"none of {', '.join(BROWSERS)} is installed")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("report")
    write_report(Files(folder, ["A", "C", "E"], 1, 12, {("E", 0)}).read(), folder / "reports")
    return (folder / "reports" / "index.html").as_uri()


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=PROGRAM, args=["--no-sandbox"])
        yield browser.new_page(viewport={"width": 1280, "height": 800})
        browser.close()


def test_the_page_shows_headline_table_and_figures_without_network_or_errors(page: Page, address: str):
    requests, errors = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address, wait_until="networkidle")
    assert errors == []
    assert [url for url in requests if not url.startswith("data:")] == [address]
    for part in ("h1", "#result ul", "#result figure img", "#result table"):
        box = page.locator(part).first.bounding_box()
        assert box
        assert box["y"] + box["height"] < 800  # on the first screen
    images = page.locator("figure img")
    assert images.count() > 5
    assert page.evaluate("[...document.images].every((image) => image.naturalWidth > 200 && image.alt)")


def test_a_table_is_sorted_by_a_click(page: Page, address: str):
    page.goto(address)
    button = page.locator(".answer th button", has_text="layers")
    for expected in (["11", "16", "19"], ["19", "16", "11"]):
        button.click()
        assert page.locator(".answer td:nth-child(2)").all_inner_texts() == expected


def test_times_are_sorted_by_length(page: Page, address: str):
    page.goto(address)
    times = ["1:39:42 h", "25 s", "2.5 days", "–", "1:04 min", "0.4 s"]
    page.evaluate(
        """(times) => {
          const cells = document.querySelectorAll(".answer td:nth-child(2)");
          const body = cells[0].closest("tbody");
          while (body.rows.length < times.length) body.append(body.rows[0].cloneNode(true));
          times.forEach((time, place) => { body.rows[place].cells[1].textContent = time; });
        }""",
        times,
    )
    page.locator(".answer th button", has_text="layers").click()
    assert page.locator(".answer td:nth-child(2)").all_inner_texts() == [
        *("–", "0.4 s", "25 s", "1:04 min", "1:39:42 h", "2.5 days")
    ]


def test_a_phone_shows_the_page_and_the_main_table_without_scrolling_sideways(page: Page, address: str):
    page.set_viewport_size({"width": 375, "height": 800})
    page.goto(address)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator(".answer .scroll").evaluate("(table) => table.scrollWidth <= table.clientWidth")


def test_the_contents_open_the_section_that_they_name(page: Page, address: str):
    page.goto(address)
    assert not page.locator("#fairness").is_visible()
    page.locator("nav a", has_text="Was it fair?").click()
    assert page.locator("#fairness").is_visible()


def test_printing_opens_everything_and_folds_it_again(page: Page, address: str):
    page.goto(address)
    folded = page.locator("details:not([open])")
    before = folded.count()
    assert before > 10
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert folded.count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert folded.count() == before


def test_every_link_leads_to_a_section_or_a_file(page: Page, address: str):
    page.goto(address)
    links = page.evaluate("[...document.links].map((link) => link.getAttribute('href'))")
    assert len(links) > 15
    folder = Path(address.removeprefix("file://")).parent
    for link in links:
        assert page.locator(link).count() == 1 if link.startswith("#") else (folder / link).is_file()
