import math
import re
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from vgg_ablation.errors import StageError
from vgg_ablation.train import trials as trials_module
from vgg_ablation.train.trials import Trials

SPACE = {"learning_rate": FloatDistribution(1e-4, 1e-1, log=True), "weight_decay": FloatDistribution(1e-5, 1e-2)}
NAME = "tune/0123456789abcdef"


def finished(number: int, value: float = 50.0, **changes: object) -> FrozenTrial:
    """Return a trial such as a search stores."""
    trial = create_trial(
        params={"learning_rate": 1e-2, "weight_decay": 5e-4},
        distributions=dict(SPACE),
        intermediate_values={1: 10.0, 2: value},
        value=value,
        user_attrs={"epochs": 2, "seconds": 0.1 + 0.2, "outcome": ""},
    )
    trial.number = number
    for name, changed in changes.items():
        setattr(trial, name, changed)
    return trial


def content(trials: list[FrozenTrial]) -> list[dict]:
    """Return what must come back, floats in hexadecimal: NaN equals itself, and 0.0 is not -0.0."""

    def bits(value: object) -> object:
        if isinstance(value, dict):
            return {name: bits(each) for name, each in value.items() if name != "number"}
        return value.hex() if isinstance(value, float) else value

    names = ("state", "value", "params", "distributions", "intermediate_values", "user_attrs", "system_attrs")
    return [{name: bits(getattr(trial, name)) for name in names} for trial in trials]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / NAME).mkdir(parents=True)
    return tmp_path / NAME


@pytest.fixture
def trials(folder: Path) -> Trials:
    return Trials(folder, 2, pytest.fail)


def study(folder: Path) -> optuna.Study:
    """Return the study as other programs read it."""
    return optuna.load_study(study_name=NAME, storage=f"sqlite:///{folder / 'trials.db'}")


@pytest.fixture
def database(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Name an SQLite file as the database; return it."""
    monkeypatch.setenv("OPTUNA_STORAGE", f"sqlite:///{folder / 'trials.db'}")
    monkeypatch.setattr(trials_module, "WAITS", (0.0,) * 3)
    return folder / "trials.db"


def test_trials_come_back_to_the_last_bit_in_the_order_of_their_numbers(trials: Trials) -> None:
    assert trials.read() == {}
    tenth = 0.1 + 0.2
    stored = [
        finished(0, tenth, user_attrs={"epochs": 1, "seconds": math.pi, "outcome": ""}),
        finished(1, 1 / 3, params={"learning_rate": math.nextafter(1e-2, 1), "weight_decay": 5e-4}),
        finished(2, state=TrialState.PRUNED, intermediate_values={1: -math.inf, 2: math.inf, 3: tenth}),
        finished(3, 0.0, system_attrs={"fixed_params": {"learning_rate": 1e-2}}),
    ]
    for number in (0, 1, 3, 2):
        trials.add(stored[number])
    assert content([trials.read()[number] for number in range(4)]) == content(stored)


def test_a_trial_is_not_stored_twice(trials: Trials, folder: Path) -> None:
    for trial in (finished(0, 10.0), finished(1, 20.0), finished(1, 30.0)):
        trials.add(trial)
    assert [trial.value for trial in study(folder).trials] == [10.0, 20.0]


def test_searches_in_one_database_are_separate(folder: Path, database: Path) -> None:
    Trials(folder, 2, pytest.fail).add(finished(0, 1.0))
    Trials(folder.with_name("other"), 2, pytest.fail).add(finished(0, 2.0))
    assert [trial.value for trial in Trials(folder, 2, pytest.fail).read().values()] == [1.0]


def test_only_trials_of_the_latest_round_may_be_missing(trials: Trials) -> None:
    for number in (1, 0, 3):
        trials.add(finished(number))
    assert {number: trial.number for number, trial in trials.read().items()} == {0: 0, 1: 1, 3: 3}
    trials.add(finished(4))
    with pytest.raises(StageError, match=rf'study "{NAME}" has trials 1, 0, 3, 4: some were deleted'):
        trials.read()


def test_processes_that_store_at_the_same_time_lose_no_trial(folder: Path) -> None:
    """Each creates the file if it is not there yet."""
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: Trials(folder, 8, pytest.fail).add(finished(number)), range(8)))
    assert sorted(Trials(folder, 8, pytest.fail).read()) == list(range(8))


def test_a_trial_that_was_added_by_hand_is_refused(trials: Trials, folder: Path) -> None:
    trials.add(finished(0))
    study(folder).add_trial(finished(1))
    with pytest.raises(StageError, match=r"has trials 0, None: .* delete the study"):
        trials.read()


def test_an_unfinished_trial_of_another_program_is_ignored(trials: Trials, folder: Path) -> None:
    trials.add(finished(0))
    study(folder).ask()
    assert content(list(trials.read().values())) == content([finished(0)])


@pytest.mark.parametrize("kept", [0, 9000], ids=["garbage", "cut short"])
def test_a_damaged_file_is_named_with_what_to_do(trials: Trials, folder: Path, kept: int) -> None:
    path = folder / "trials.db"
    if kept:
        trials.add(finished(0))
        path.write_bytes(path.read_bytes()[:kept])
    else:
        path.write_bytes(b"garbage")
    with pytest.raises(StageError) as error:
        trials.read()
    assert re.fullmatch(rf"{path}: [^\n]*; delete it to start this search over", str(error.value))


# A database that cannot be reached.


def test_a_database_that_is_away_for_a_while_is_retried(folder: Path, database: Path) -> None:
    Trials(folder, 2, pytest.fail).add(finished(0))
    database.rename(folder / "away")
    database.mkdir()
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if len(said) == 2:
            database.rmdir()
            (folder / "away").rename(database)

    Trials(folder, 2, say).add(finished(1))
    assert len(said) == 2
    assert said[0].endswith("trials.db: unable to open database file; retrying in 0 s")
    assert content(list(Trials(folder, 2, pytest.fail).read().values())) == content([finished(0), finished(1)])


def test_a_database_that_stays_away_is_an_error_of_one_line(folder: Path, database: Path) -> None:
    database.mkdir()
    said: list[str] = []
    with pytest.raises(StageError, match="unable to open database file; progress saved") as error:
        Trials(folder, 2, said.append).add(finished(0))
    assert "\n" not in str(error.value)
    assert len(said) == 3


def test_a_commit_whose_acknowledgement_is_lost_is_not_repeated(
    folder: Path, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_trial = optuna.Study.add_trial
    lost: list[int] = []

    def add_and_lose(self: optuna.Study, trial: FrozenTrial) -> None:
        add_trial(self, trial)
        if not lost:
            lost.append(trial.number)
            raise optuna.exceptions.StorageInternalError from sqlite3.OperationalError("connection lost")

    monkeypatch.setattr(optuna.Study, "add_trial", add_and_lose)
    said: list[str] = []
    Trials(folder, 2, said.append).add(finished(0))
    assert len(said) == 1
    assert "connection lost" in said[0]
    assert len(study(folder).trials) == 1


# Addresses.


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("nowhere", "not the address of a database"),
        ("postgresql://me:hush@host:port/name", "not the address of a database"),
        ("postgresql+psycopg://me:hu@sh@host/name", "%40 for an @ in the password"),
        ("oracel://me:hush@host/name", r"OPTUNA_STORAGE oracel://me:\*\*\*@host/name: no driver \(Can't load plugin"),
        ("mysql+pymysql://me:{hush}@host/name?password=hush", r"mysql\+pymysql://me:\*\*\*@host/name: no driver"),
    ],
)
def test_a_wrong_address_is_refused_without_showing_the_password(
    folder: Path, monkeypatch: pytest.MonkeyPatch, address: str, message: str
) -> None:
    monkeypatch.setenv("OPTUNA_STORAGE", address)
    with pytest.raises(StageError, match=message) as error:
        Trials(folder, 2, pytest.fail).read()
    assert not re.search("\n|hush|sh@host", str(error.value))
