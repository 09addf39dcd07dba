"""The script of the stage `tune`, run in this process on a few images."""

import json
import runpy
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest
import yaml

from vgg_ablation.train import run as run_module
from vgg_ablation.train import search as tune_module
from vgg_ablation.train import trials as ledger_module
from vgg_ablation.train.search import Outcome

SCRIPT = Path(__file__).parents[2] / "stages" / "tune.py"
TRIALS, EPOCHS = 3, 2

Event = Callable[[], None]


@pytest.fixture
def epochs(monkeypatch: pytest.MonkeyPatch) -> list[Event]:
    """Work through what is to happen in the epochs to come, one each; what is left shows how many were trained."""
    to_come: list[Event] = []
    validate = run_module.validate

    def validated(*arguments: object) -> tuple[float, float]:
        to_come.pop(0)()
        return validate(*arguments)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(run_module, "validate", validated)
    return to_come


@pytest.fixture(autouse=True)
def search(study: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let A be tuned on twelve processed images of two categories."""
    monkeypatch.setattr(sys, "argv", ["tune.py", "A"])
    study["tune"] |= {"trials": TRIALS, "epochs": EPOCHS, "random_trials": TRIALS, "pruner": "none"}
    params = {"arch": "A", "scale": "fixed", "study": "tiny", "studies": {"tiny": study}}
    Path("params.yaml").write_text(yaml.safe_dump(params))


def tune() -> str:
    """Run the stage, and return its table of trials."""
    runpy.run_path(str(SCRIPT))
    return Path("results/A/trials.csv").read_text()


def nothing() -> None:
    pass


def state(pattern: str) -> list[Path]:
    return sorted(Path(".state/tune").glob(f"*/{pattern}"))


def in_file(_: pytest.MonkeyPatch) -> tuple[Event, Event]:
    """Return what takes the file away that is to hold the second trial, and what gives it back."""

    def lose() -> None:
        state("trials.1")[0].with_name("trials.0").mkdir()

    return lose, lambda: state("trials.0")[0].rmdir()


def in_database(monkeypatch: pytest.MonkeyPatch) -> tuple[Event, Event]:
    """Have a database, and return what takes it away, and what gives it back."""
    monkeypatch.setenv("OPTUNA_STORAGE", "sqlite:///trials.db")
    path, away = Path("trials.db"), Path("away")

    def lose() -> None:
        path.rename(away)
        path.mkdir()

    def give_back() -> None:
        path.rmdir()
        away.rename(path)

    return lose, give_back


@pytest.mark.parametrize("ledger", [in_file, in_database])
def test_a_trial_whose_record_cannot_be_written_costs_no_epoch(
    ledger: Callable[[pytest.MonkeyPatch], tuple[Event, Event]], epochs: list[Event], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(ledger_module, "WAITS", ())
    lose, give_back = ledger(monkeypatch)
    epochs += [nothing] * EPOCHS + [nothing, lose]
    with pytest.raises(SystemExit):
        tune()
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not Path("results/A").exists()
    assert {"trial-1.0", "trial-1.1"} <= {path.name for path in state("trial-*")}
    give_back()
    epochs += [nothing] * EPOCHS
    found = tune()
    assert epochs == []

    monkeypatch.delenv("OPTUNA_STORAGE", raising=False)
    monkeypatch.setenv("DVC_ROOT", "elsewhere")  # where nothing is kept
    epochs += [nothing] * EPOCHS * TRIALS
    assert tune() == found


def test_a_damaged_record_of_the_search_costs_no_epoch(epochs: list[Event]) -> None:
    def damage_and_interrupt() -> None:
        (latest,) = state("trials.1")  # one trial is kept: there is none before it
        latest.write_bytes(latest.read_bytes()[:-1])
        raise KeyboardInterrupt

    epochs += [nothing] * EPOCHS + [damage_and_interrupt]
    with pytest.raises(SystemExit):
        tune()
    epochs += [nothing] * EPOCHS * (TRIALS - 1)
    tune()
    assert epochs == []


def test_an_interrupted_trial_goes_on_from_its_latest_epoch(epochs: list[Event]) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    epochs += [nothing, interrupt]
    with pytest.raises(SystemExit):
        tune()
    epochs += [nothing] * (EPOCHS * TRIALS - 1)
    tune()
    assert epochs == []


def test_no_checkpoint_outlives_its_trial(epochs: list[Event]) -> None:
    epochs += [nothing] * EPOCHS * TRIALS
    tune()
    assert state("trial-*") == []


def test_a_checkpoint_that_a_kill_left_behind_is_removed(epochs: list[Event]) -> None:
    """The kill came after the trial was kept, and before its checkpoint was removed."""
    epochs += [nothing] * EPOCHS * TRIALS
    tune()
    state("trials.0")[0].with_name("trial-0.1").write_bytes(b"left")
    tune()
    assert state("trial-*") == []


def test_the_environment_names_a_database_that_holds_the_search(
    epochs: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    in_database(monkeypatch)
    epochs += [nothing] * EPOCHS * TRIALS
    table = tune()
    (folder,) = state("")
    assert state("trials.*") == []
    study = optuna.load_study(study_name=f"tune/{folder.name}", storage="sqlite:///trials.db")
    assert [f"{trial.params['learning_rate']!r}" in table for trial in study.trials] == [True] * TRIALS


def test_damaged_images_are_refused_before_any_trial(capsys: pytest.CaptureFixture[str]) -> None:
    pixels = bytearray(Path("data/processed/pixels.uint8").read_bytes())
    pixels[1000] ^= 1
    Path("data/processed/pixels.uint8").write_bytes(pixels)
    with pytest.raises(SystemExit):
        tune()
    assert "pixels.uint8" in capsys.readouterr().err


def test_exploded_trials_count_as_diverged_and_the_table_tells_them_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = [
        replace(Outcome(0, "complete", "", 1e-2, 5e-4, 0.0, 1, 0.5), trial=trial, outcome=outcome)
        for trial, outcome in enumerate(["diverged", "exploded", "at chance", "exploded", ""])
    ]
    monkeypatch.setattr(tune_module, "search", lambda *_: iter(outcomes))
    tune()
    best = json.loads(Path("results/A/best.json").read_text())
    assert (best["diverged"], best["at_chance"], best["complete"]) == (3, 1, 5)
    found = pd.read_csv("results/A/trials.csv")["outcome"].fillna("").tolist()
    assert found == ["diverged", "exploded", "at chance", "exploded", ""]
