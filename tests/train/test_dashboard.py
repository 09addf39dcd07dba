"""The dashboard of the searches, served and read over HTTP; opened in a browser where one is installed."""

import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen
from wsgiref.simple_server import make_server

import pandas as pd
import pytest
from optuna.trial import create_trial
from playwright.sync_api import sync_playwright

from vgg_ablation.files import write_json
from vgg_ablation.train import dashboard
from vgg_ablation.train.dashboard import Searches, application
from vgg_ablation.train.trials import Trials

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PROGRAM = next((found for name in BROWSERS if (found := shutil.which(name))), None)


@pytest.fixture(autouse=True)
def short_search(study: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    study["tune"] |= {"trials": 2, "epochs": 1, "round_size": 1, "random_trials": 2, "pruner": "none"}
    monkeypatch.setattr(dashboard, "_PAUSE", 0.0)


@pytest.fixture
def address() -> Iterator[str]:
    pytest.importorskip("optuna_dashboard", reason="optuna-dashboard is not installed")
    searches = Searches(pytest.fail)
    searches.refresh()
    with make_server("localhost", 0, application(searches), handler_class=dashboard._Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://localhost:{server.server_port}"
        server.shutdown()
        thread.join()


def get(address: str) -> Any:
    with urlopen(address) as answer:  # noqa: S310 - on this machine
        return json.load(answer)


def test_a_search_has_its_finished_trials_in_the_dashboard(tune_a: Callable[[], str], address: str) -> None:
    assert get(f"{address}/api/studies")["study_summaries"] == [], "no search has begun"
    tune_a()
    trials = pd.read_csv("results/none/A/search/trials.csv")
    (shown,) = get(f"{address}/api/studies")["study_summaries"]
    (state,) = Path(".state/tune").iterdir()
    assert shown["study_name"] == f"A {state.name[:8]}"
    found = get(f"{address}/api/studies/{shown['study_id']}")["trials"]
    assert [trial["values"] for trial in found] == [[value] for value in trials["validation_accuracy"]]


def test_a_trial_that_ends_later_comes_once(
    study: dict[str, Any], tune_a: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    searches = Searches(pytest.fail)
    counts = []
    for count in (1, 3, 3):
        study["tune"]["trials"] = count
        tune_a()
        searches.refresh()
        (found,) = searches.storage.get_all_studies()
        counts.append(len(searches.storage.get_all_trials(found._study_id)))
    assert counts == [1, 3, 3]


@pytest.fixture
def begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state folder of a search without trials."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    folder = tmp_path / ".state/tune/0123456789"
    folder.mkdir(parents=True)
    write_json(folder / "determinants.json", {"arch": "A", "tune": {"round_size": 2}})
    return folder


def test_trials_of_a_round_that_end_in_another_order_come_once_each(begun: Path) -> None:
    searches, stored = Searches(pytest.fail), Trials(begun, 2, pytest.fail)
    for number in (1, 0):
        trial = create_trial(value=float(number))
        trial.number = number
        stored.add(trial)
        searches.refresh()
    (found,) = searches.storage.get_all_studies()
    assert [trial.value for trial in searches.storage.get_all_trials(found._study_id)] == [1, 0]


def test_a_search_without_trials_is_left_as_it_is(begun: Path) -> None:
    Searches(pytest.fail).refresh()
    assert [path.name for path in begun.iterdir()] == ["determinants.json"]


@pytest.mark.skipif(PROGRAM is None, reason=f"none of {', '.join(BROWSERS)} is installed")
def test_a_browser_shows_a_search_with_its_trials_and_their_accuracy(tune_a: Callable[[], str], address: str) -> None:
    tune_a()
    trials = pd.read_csv("results/none/A/search/trials.csv")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=PROGRAM, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"{address}/dashboard")
        page.get_by_text(re.compile(r"A [0-9a-f]{8}")).first.click()
        page.get_by_text("validation accuracy, %").first.wait_for()
        page.goto(f"{page.url}/trials")
        page.get_by_text("2 Trials").wait_for()
        shown = page.inner_text("body").split()
        browser.close()
    assert {"Trial", "0", "1", str(trials["learning_rate"][0])} <= set(shown)
