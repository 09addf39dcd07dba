"""The search for a net's hyper-parameters on twelve images."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest

from vgg_ablation.errors import StageError
from vgg_ablation.runtime.settings import TuneSettings
from vgg_ablation.train import run as run_module
from vgg_ablation.train.search import Trial
from vgg_ablation.train.tune import describe_trial, summarise

TRIALS, EPOCHS = 2, 2
Event = Callable[[], None]


@pytest.fixture
def epochs(monkeypatch: pytest.MonkeyPatch) -> list[Event]:
    """A list of what happens in the coming epochs; what is left at the end was not trained."""
    coming: list[Event] = []
    validate = run_module.validate

    def validated(*arguments: Any) -> tuple[float, float]:
        coming.pop(0)()
        return validate(*arguments)

    monkeypatch.setattr(run_module, "validate", validated)
    return coming


@pytest.fixture(autouse=True)
def short_search(study: dict[str, Any]) -> None:
    study["tune"] |= {"trials": TRIALS, "epochs": EPOCHS, "random_trials": TRIALS, "pruner": "none"}


def nothing() -> None:
    pass


def interrupt() -> None:
    raise KeyboardInterrupt


def state(pattern: str) -> list[Path]:
    return sorted(Path(".state/tune").glob(f"*/{pattern}"))


def test_the_search_writes_its_trials_the_best_point_and_its_cost(tune_a: Callable[[], str]) -> None:
    tune_a()
    results = Path("results/none/A/search")
    trials = pd.read_csv(results / "trials.csv")
    best = json.loads((results / "best.json").read_text())
    assert trials["trial"].tolist() == [0, 1]
    assert best["validation_accuracy"] == trials["validation_accuracy"].max()
    assert best["images"] == trials["images"].sum() == 8 * trials["epochs"].sum()
    assert len(list(results.iterdir())) == 3
    assert state("trial-*/checkpoint.*") == [], "no checkpoint is left"

    (path,) = state("trials.db")
    (path.parent / "trial-0/checkpoint.1").write_bytes(b"left by a kill after the trial was stored")
    tune_a()
    assert state("trial-*/checkpoint.*") == []


def test_trials_are_stored_in_an_sqlite_file_that_optuna_reads(tune_a: Callable[[], str]) -> None:
    table = tune_a()
    (path,) = state("trials.db")
    study = optuna.load_study(study_name=f"tune/{path.parent.name}", storage=f"sqlite:///{path}")
    assert [f"{trial.params['learning_rate']!r}" in table for trial in study.trials] == [True] * TRIALS


def test_trials_are_stored_in_the_database_that_the_environment_names(
    tune_a: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPTUNA_STORAGE", "sqlite:///elsewhere.db")
    tune_a()
    assert state("trials.db") == []
    (name,) = optuna.get_all_study_names("sqlite:///elsewhere.db")
    assert name == f"tune/{state('')[0].name}"


def test_an_interrupted_trial_resumes_after_its_latest_epoch(tune_a: Callable[[], str], epochs: list[Event]) -> None:
    epochs += [*[nothing] * EPOCHS, nothing, interrupt]
    with pytest.raises(KeyboardInterrupt):
        tune_a()
    epochs += [nothing] * (EPOCHS * (TRIALS - 1) - 1)
    tune_a()
    assert epochs == []


def test_a_trial_that_cannot_be_stored_costs_no_epoch(
    tune_a: Callable[[], str], epochs: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose() -> None:
        (path,) = state("trials.db")
        path.rename("away")
        path.mkdir()

    epochs += [nothing] * EPOCHS + [nothing, lose]
    with pytest.raises(StageError, match="unable to open database file; progress saved"):
        tune_a()
    (path,) = state("trials.db")
    path.rmdir()
    Path("away").rename(path)
    resumed = tune_a()
    assert epochs == []

    monkeypatch.setenv("DVC_ROOT", "elsewhere")  # without stored trials
    epochs += [nothing] * EPOCHS * TRIALS
    assert tune_a() == resumed


def test_damaged_images_are_refused_before_any_trial(tune_a: Callable[[], str], epochs: list[Event]) -> None:
    pixels = bytearray(Path("data/processed/pixels.uint8").read_bytes())
    pixels[1000] ^= 1
    Path("data/processed/pixels.uint8").write_bytes(pixels)
    with pytest.raises(StageError, match=r"pixels\.uint8"):
        tune_a()


def test_exploded_trials_count_as_diverged(study: dict[str, Any]) -> None:
    plain = Trial(0, "complete", "", 1e-2, 5e-4, 4, 0.0, 1, 0.5)
    outcomes = ["diverged", "exploded", "at chance", "exploded", ""]
    trials = [replace(plain, trial=number, outcome=outcome) for number, outcome in enumerate(outcomes)]
    best = summarise(trials, TuneSettings.model_validate(study["tune"]), images=40)
    assert (best["diverged"], best["at_chance"], best["complete"]) == (3, 1, 5)


@pytest.mark.parametrize(("rate", "edges"), [(1e-2, []), (1.1e-4, ["learning_rate"]), (9e-2, ["learning_rate"])])
def test_a_best_point_at_the_edge_of_the_space_is_reported(
    study: dict[str, Any], rate: float, edges: list[str]
) -> None:
    space = {"learning_rate": {"low": 1e-4, "high": 1e-1}, "weight_decay": {"low": 1e-5, "high": 1e-2}}
    study["tune"] |= space
    trial = Trial(0, "complete", "", rate, 5e-4, 4, 50.0, 1, 0.5)
    assert summarise([trial], TuneSettings.model_validate(study["tune"]), 8)["at_edge"] == edges


def test_a_line_about_a_trial_has_its_batch_size_in_full() -> None:
    trial = Trial(0, "pruned", "at chance", 1e-2, 5e-4, 1024, 12.34, 9, 0.5)
    point = "learning rate 0.01, weight decay 0.0005, batch size 1024"
    assert describe_trial(trial) == f"{point}: validation accuracy 12.3 % in 9 epochs, pruned, at chance"


def test_a_trial_has_live_curves_and_its_result(tune_a: Callable[[], str], epochs: list[Event]) -> None:
    epochs += [nothing, nothing, nothing, interrupt]
    with pytest.raises(KeyboardInterrupt):
        tune_a()
    epochs += [nothing]
    trials = pd.read_csv(io.StringIO(tune_a()))
    for number in range(TRIALS):
        (shown,) = Path("live").glob(f"A/search/trial-{number}-*")
        assert pd.read_csv(shown / "curves.csv")["epoch"].tolist() == [1, 2]
        result = json.loads((shown / "result.json").read_text())
        assert result["hyper_parameters"]["learning_rate"] == trials["learning_rate"][number]
        assert result["errors"] == {"validation_error": 100 - trials["validation_accuracy"][number]}
