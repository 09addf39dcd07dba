"""The page in Chromium: what only a browser can tell."""

import shutil
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

from made_up_study import Files
from vgg_ablation.report.outputs import write_report

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PROGRAM = next((found for name in BROWSERS if (found := shutil.which(name))), None)

pytestmark = pytest.mark.skipif(PROGRAM is None, reason=f"none of {', '.join(BROWSERS)} is installed")

PHONE, DESKTOP = {"width": 375, "height": 720}, {"width": 1280, "height": 900}
SMALLEST_CONTRAST = 4.5  # WCAG 2.2, level AA

CONTRASTS = """
() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = ([red, green, blue]) => {
    const part = (one) => ((one /= 255) <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
    return 0.2126 * part(red) + 0.7152 * part(green) + 0.0722 * part(blue);
  };
  const ground = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const colour = rgba(getComputedStyle(one).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || element.closest("script, style")) continue;
    const style = getComputedStyle(element);
    const colour = rgba(element.closest("svg") ? style.fill : style.color);
    const [low, high] = [luminance(colour), luminance(ground(element))].sort((a, b) => a - b);
    const contrast = (high + 0.05) / (low + 0.05);
    if (contrast < LIMIT) found.push([contrast, element.tagName, walker.currentNode.textContent.trim().slice(0, 40)]);
  }
  return found;
}
""".replace("LIMIT", str(SMALLEST_CONTRAST))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=PROGRAM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report on three nets at two training scales, written to disk as `dvc repro report` does."""
    folder = tmp_path_factory.mktemp("report")
    study = Files(folder, ["A", "C", "E"], 2, 12, {("E", 1)}, ["fixed", "jitter"]).read()
    write_report(study, folder / "reports")
    return (folder / "reports" / "index.html").as_uri()


Open = Callable[..., Page]


@pytest.fixture
def opened(browser: Browser, address: str) -> Iterator[Open]:
    """Return what opens the report in a fresh window; options are those of Playwright's contexts."""
    contexts = []

    def open_(**options: Any) -> Page:
        contexts.append(context := browser.new_context(**options))
        page = context.new_page()
        page.goto(address)
        return page

    yield open_
    for context in contexts:
        context.close()


def column(page: Page, caption: str, place: int) -> list[str]:
    """The cells of one column of the table with this caption, from top to bottom."""
    table = page.locator("table", has=page.locator("caption", has_text=caption)).first
    return table.locator(f"tbody tr > :nth-child({place})").all_inner_texts()


def header(page: Page, caption: str, text: str):
    table = page.locator("table", has=page.locator("caption", has_text=caption)).first
    return table.locator("th[scope=col]", has_text=text).first


def test_the_page_loads_without_an_error_and_asks_for_nothing_else(browser: Browser, address: str):
    page = browser.new_page()
    requests: list[str] = []
    said: list[str] = []

    def request(one: Request) -> None:
        requests.append(one.url)

    def say(one: ConsoleMessage) -> None:
        said.append(one.text)

    page.on("request", request)
    page.on("console", say)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(address, wait_until="networkidle")
    page.close()
    assert said == []
    assert [url for url in requests if url != "data:,"] == [address]


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_the_page_is_as_wide_as_the_window(opened: Open, size: dict[str, int]):
    page = opened(viewport=size)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    wide = "[...document.querySelectorAll('.scroll')].some((one) => one.scrollWidth > one.clientWidth)"
    assert size is DESKTOP or page.evaluate(wide)  # what is wider scrolls in its own place


def test_the_first_column_stays_in_sight_on_a_phone(opened: Open):
    page = opened(viewport=PHONE)
    region = page.locator("#result .scroll").first
    cell = region.locator("tbody th").first
    before = cell.bounding_box()
    region.evaluate("(one) => { one.scrollLeft = 200; }")
    after = cell.bounding_box()
    assert before
    assert after
    assert region.evaluate("(one) => one.scrollLeft") == 200
    assert after["x"] == before["x"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(opened: Open, scheme: str):
    page = opened(color_scheme=scheme, viewport=DESKTOP)
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    assert page.evaluate(CONTRASTS) == []


@pytest.mark.parametrize(("scheme", "clicks"), [("light", 2), ("dark", 1)])
def test_the_theme_can_be_chosen_against_the_systems(opened: Open, scheme: str, clicks: int):
    page = opened(color_scheme=scheme)
    ground = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(ground)
    for _ in range(clicks):
        page.click(".theme")
    other = {"light": "dark", "dark": "light"}[scheme]
    assert page.inner_text(".theme") == f"Theme: {other}"
    assert page.evaluate(ground) != before
    assert page.evaluate(CONTRASTS) == []


def test_a_table_sorts_by_number_at_a_click_and_back_at_the_next(opened: Open):
    page = opened()
    errors = {
        net: float(error.split()[0]) for net, error in zip(*(column(page, "Dense", n) for n in (1, 4)), strict=True)
    }
    button = header(page, "Dense", "top-1 error").locator("button")
    button.click()
    assert column(page, "Dense", 1) == sorted(errors, key=lambda net: errors[net])
    assert header(page, "Dense", "top-1 error").get_attribute("aria-sort") == "ascending"
    button.click()
    assert column(page, "Dense", 1) == sorted(errors, key=lambda net: -errors[net])
    assert header(page, "Dense", "top-1 error").get_attribute("aria-sort") == "descending"


def test_a_table_sorts_by_keyboard_and_one_header_says_so(opened: Open):
    page = opened()
    header(page, "Dense", "net").locator("button").click()
    header(page, "Dense", "layers").locator("button").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Space")
    assert column(page, "Dense", 1) == ["E", "C", "A"]
    assert page.locator("#result table th[aria-sort]").count() == 1


def test_what_has_no_number_comes_last_whichever_way_a_column_sorts(opened: Open):
    page = opened()
    button = header(page, "Table 3", "paper top-1").locator("button")
    for _ in range(2):
        button.click()
        cells = column(page, "Table 3", 8)
        known = [cell != "–" for cell in cells]
        assert known == sorted(known, reverse=True)
        assert not all(known)


def test_the_keyboard_comes_first_to_the_content(opened: Open):
    page = opened()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.locator(".skip").bounding_box()["y"] >= 0  # pyright: ignore[reportOptionalSubscript]
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"


def test_what_has_the_focus_shows_it(opened: Open):
    page = opened()
    page.locator("nav a").first.focus()
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_a_reader_who_cannot_see_gets_names_for_everything(opened: Open):
    page = opened()
    unnamed = "(one) => !one.getAttribute('aria-label')"
    assert page.locator("svg").count() > 10
    assert not page.evaluate(f"[...document.querySelectorAll('svg, [role=region]')].some({unnamed})")
    assert not page.evaluate("[...document.querySelectorAll('th')].some((one) => !one.scope)")
    assert [page.locator(landmark).count() for landmark in ("header", "nav", "main", "footer")] == [1, 1, 1, 1]
    levels = page.evaluate("[...document.querySelectorAll('h1, h2, h3, h4')].map((one) => Number(one.tagName[1]))")
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_without_scripts_everything_is_there(opened: Open):
    told = opened(java_script_enabled=False)
    scripted = opened()
    for selector in ("section", "table", "svg", "td"):
        assert told.locator(selector).count() == scripted.locator(selector).count() > 0
    assert told.inner_text("#result") == scripted.inner_text("#result")
    assert not told.locator(".theme").is_visible()
    assert told.locator(".sort").count() == 0
    assert told.locator("nav a").first.is_visible()


def test_paper_shows_no_controls_and_a_light_page(opened: Open):
    page = opened(color_scheme="dark", viewport=DESKTOP)
    page.emulate_media(media="print", color_scheme="dark")
    for selector in (".theme", "nav", ".skip", "details"):
        assert not page.locator(selector).first.is_visible()
    arrows = "getComputedStyle(document.querySelector('.sort'), '::after').display"
    assert page.evaluate(arrows) == "none"
    assert page.evaluate("getComputedStyle(document.querySelector('h1')).color") == "rgb(25, 32, 46)"


def test_no_data_link_leads_nowhere(opened: Open, address: str):
    page = opened()
    folder = Path(unquote(urlsplit(address).path)).parent
    links = page.evaluate("[...document.querySelectorAll('a')].map((one) => one.getAttribute('href'))")
    files = [link for link in links if not link.startswith("#")]
    assert len(files) > 10
    assert [link for link in files if not (folder / link).is_file()] == []
