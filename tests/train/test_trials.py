import json
import math
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from vgg_ablation.errors import StageError
from vgg_ablation.train import trials as ledger_module
from vgg_ablation.train.trials import DatabaseLedger, FileLedger

STUDY = "tune/0123456789abcdef"
SPACE = {"learning_rate": FloatDistribution(1e-4, 1e-1, log=True), "weight_decay": FloatDistribution(1e-5, 1e-2)}


def finished(number: int, value: float = 50.0, **changes: object) -> FrozenTrial:
    """Return a trial such as a search appends."""
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
    """Return what is to be kept of trials, floats in hexadecimal: NaN equals itself, and 0.0 is not -0.0."""

    def bits(value: object) -> object:
        if isinstance(value, dict):
            return {name: bits(each) for name, each in value.items() if name != "place"}
        return value.hex() if isinstance(value, float) else value

    names = ("state", "value", "params", "distributions", "intermediate_values", "user_attrs", "system_attrs")
    return [{name: bits(getattr(trial, name)) for name in names} for trial in trials]


def in_file(folder: Path, say: Callable[[str], None] = pytest.fail) -> FileLedger:
    return FileLedger(folder / "trials", say)


@pytest.fixture
def in_database(tmp_path: Path) -> Callable[..., DatabaseLedger]:
    """Return what opens the ledger of a name in one SQLite database."""

    def opened(name: str = STUDY, say: Callable[[str], None] = pytest.fail) -> DatabaseLedger:
        return DatabaseLedger(f"sqlite:///{tmp_path / 'trials.db'}", name, say)

    return opened


# In a file.

exact = st.floats(allow_nan=False)


@st.composite
def trials(draw: st.DrawFn) -> FrozenTrial:
    state = draw(st.sampled_from([TrialState.COMPLETE, TrialState.PRUNED]))
    low, high = sorted(draw(st.lists(st.floats(1e-300, 1e300), min_size=2, max_size=2, unique=True)))
    space = FloatDistribution(low, high, log=True)
    return create_trial(
        state=state,
        value=draw(exact),
        params={"learning_rate": draw(st.floats(low, high))},
        distributions={"learning_rate": space},
        intermediate_values=draw(st.dictionaries(st.integers(1, 99), st.floats(allow_nan=True), max_size=4)),
        user_attrs={"epochs": draw(st.integers(1, 99)), "seconds": draw(st.floats()), "outcome": draw(st.text())},
        system_attrs={"fixed_params": {"learning_rate": draw(exact)}},
    )


@given(kept=st.lists(trials(), max_size=4))
@settings(max_examples=50, deadline=None)
def test_trials_come_back_to_the_last_bit(kept: list[FrozenTrial]) -> None:
    with TemporaryDirectory() as folder:
        for number, trial in enumerate(kept):
            trial.number = number
            in_file(Path(folder)).append(trial)
        assert content(in_file(Path(folder)).read()) == content(kept)


def test_a_new_file_has_no_trials(tmp_path: Path) -> None:
    assert in_file(tmp_path).read() == []


def test_a_trial_that_is_kept_in_the_file_is_not_kept_twice(tmp_path: Path) -> None:
    kept = [finished(0), finished(1)]
    for trial in (*kept, kept[0], kept[1]):
        in_file(tmp_path).append(trial)
    assert content(in_file(tmp_path).read()) == content(kept)


def test_a_damaged_file_is_named_and_costs_the_latest_trial_alone(tmp_path: Path) -> None:
    kept = [finished(number, 10.0 * number) for number in range(4)]
    for trial in kept:
        in_file(tmp_path).append(trial)
    latest = max(tmp_path.iterdir(), key=lambda path: path.stat().st_size)
    damaged = bytearray(latest.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    latest.write_bytes(damaged)
    said: list[str] = []
    ledger = in_file(tmp_path, said.append)
    assert content(ledger.read()) == content(kept[:3])
    assert len(said) == 1
    assert str(latest) in said[0]
    ledger.append(kept[3])
    assert content(in_file(tmp_path).read()) == content(kept)


def test_a_torn_file_costs_the_latest_trial_alone(tmp_path: Path) -> None:
    """As where the machine lost its power, and the disk had promised more than it kept."""
    for number in range(3):
        in_file(tmp_path).append(finished(number))
    latest = max(tmp_path.iterdir(), key=lambda path: path.stat().st_size)
    latest.write_bytes(latest.read_bytes()[:-100])
    assert content(in_file(tmp_path, lambda _: None).read()) == content([finished(0), finished(1)])


def test_the_file_is_json_for_people_who_look(tmp_path: Path) -> None:
    in_file(tmp_path).append(finished(0, value=62.5))
    (path,) = tmp_path.iterdir()
    _, _, text = path.read_bytes().partition(b"\n")
    (trial,) = json.loads(text)
    assert (trial["value"], trial["params"]["learning_rate"]) == (62.5, 1e-2)


# In a database.


def test_trials_come_back_from_a_database_to_the_last_bit(in_database: Callable[..., DatabaseLedger]) -> None:
    tenth = 0.1 + 0.2
    kept = [
        finished(0, tenth, user_attrs={"epochs": 1, "seconds": math.pi, "outcome": ""}),
        finished(1, 1 / 3, params={"learning_rate": math.nextafter(1e-2, 1), "weight_decay": 5e-4}),
        finished(2, state=TrialState.PRUNED, intermediate_values={1: -math.inf, 2: math.inf, 3: tenth}),
        finished(3, 0.0, system_attrs={"fixed_params": {"learning_rate": 1e-2}}),
    ]
    for trial in kept:
        in_database().append(trial)
    assert content(in_database().read()) == content(kept)


def test_a_new_database_has_no_trials(in_database: Callable[..., DatabaseLedger]) -> None:
    assert in_database().read() == []


def test_searches_in_one_database_keep_to_themselves(in_database: Callable[..., DatabaseLedger]) -> None:
    in_database("tune/one").append(finished(0, 1.0))
    in_database("tune/two").append(finished(0, 2.0))
    in_database("tune/two").append(finished(1, 3.0))
    assert [trial.value for trial in in_database("tune/one").read()] == [1.0]
    assert [trial.value for trial in in_database("tune/two").read()] == [2.0, 3.0]


def study(tmp_path: Path) -> optuna.Study:
    """Return the study as other programs see it."""
    return optuna.load_study(study_name=STUDY, storage=f"sqlite:///{tmp_path / 'trials.db'}")


def test_a_trial_that_is_kept_in_the_database_is_not_kept_twice(
    in_database: Callable[..., DatabaseLedger], tmp_path: Path
) -> None:
    for trial in (finished(0, 10.0), finished(1, 20.0), finished(1, 30.0), finished(0, 10.0)):
        in_database().append(trial)
    assert [trial.value for trial in study(tmp_path).trials] == [10.0, 20.0]


def test_the_database_holds_a_study_that_optuna_reads(
    in_database: Callable[..., DatabaseLedger], tmp_path: Path
) -> None:
    for number, value in enumerate([10.0, 30.0, 20.0]):
        in_database().append(finished(number, value))
    assert (study(tmp_path).best_value, len(study(tmp_path).trials)) == (30.0, 3)


def test_trials_come_in_the_order_of_their_places(in_database: Callable[..., DatabaseLedger]) -> None:
    for number in (2, 0, 1):
        in_database().append(finished(number, float(number)))
    assert [trial.value for trial in in_database().read()] == [0.0, 1.0, 2.0]


@pytest.mark.parametrize("places", [(1,), (0, 2), (0, 1, 4)])
def test_a_database_that_lacks_a_trial_is_refused(
    in_database: Callable[..., DatabaseLedger], places: tuple[int, ...]
) -> None:
    for place in places:
        in_database().append(finished(place))
    with pytest.raises(StageError, match=rf'study "{STUDY}" has trials in the places {", ".join(map(str, places))} '):
        in_database().read()


def test_a_database_with_a_trial_of_another_hand_is_refused(
    in_database: Callable[..., DatabaseLedger], tmp_path: Path
) -> None:
    in_database().append(finished(0))
    study(tmp_path).add_trial(finished(1))
    with pytest.raises(StageError, match="the places 0, None and not in 0 to 1"):
        in_database().read()


def test_a_trial_that_another_process_is_running_is_none_of_ours(
    in_database: Callable[..., DatabaseLedger], tmp_path: Path
) -> None:
    in_database().append(finished(0))
    study(tmp_path).ask()
    assert content(in_database().read()) == content([finished(0)])


# A database that goes away.


def test_a_database_that_is_busy_is_waited_for(
    in_database: Callable[..., DatabaseLedger], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_database().append(finished(0))
    monkeypatch.setattr(ledger_module, "WAITS", (0.0,) * 3)
    (tmp_path / "trials.db").rename(tmp_path / "away")
    (tmp_path / "trials.db").mkdir()
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if len(said) == 2:
            (tmp_path / "trials.db").rmdir()
            (tmp_path / "away").rename(tmp_path / "trials.db")

    in_database(say=say).append(finished(1))
    assert len(said) == 2
    assert said[0].endswith("trials.db: unable to open database file; trying again in 0 s")
    assert content(in_database().read()) == content([finished(0), finished(1)])


def test_the_waits_grow_and_last_some_minutes() -> None:
    assert list(ledger_module.WAITS) == sorted(ledger_module.WAITS)
    assert 120 <= sum(ledger_module.WAITS) <= 300


def test_a_database_that_stays_away_ends_the_search_with_one_line(
    in_database: Callable[..., DatabaseLedger], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "WAITS", (0.0,) * 3)
    (tmp_path / "trials.db").mkdir()
    said: list[str] = []
    with pytest.raises(StageError, match="unable to open database file; given up after 4 attempts") as error:
        in_database(say=said.append).append(finished(0))
    assert "\n" not in str(error.value)
    assert len(said) == 3


def test_a_commit_whose_acknowledgement_was_lost_is_not_repeated(
    in_database: Callable[..., DatabaseLedger], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "WAITS", (0.0,))
    add_trial = optuna.Study.add_trial
    lost: list[int] = []

    def add_and_lose(self: optuna.Study, trial: FrozenTrial) -> None:
        add_trial(self, trial)
        if not lost:
            lost.append(trial.number)
            raise optuna.exceptions.StorageInternalError from sqlite3.OperationalError("connection lost")

    monkeypatch.setattr(optuna.Study, "add_trial", add_and_lose)
    said: list[str] = []
    in_database(say=said.append).append(finished(0))
    assert len(said) == 1
    assert "connection lost" in said[0]
    assert len(study(tmp_path).trials) == 1


def test_a_trial_that_was_doubled_on_the_way_counts_once(
    in_database: Callable[..., DatabaseLedger], tmp_path: Path
) -> None:
    """A commit may arrive after its connection was given up; or two machines do the same search at once."""
    in_database().append(finished(0, 10.0))
    study(tmp_path).add_trial(finished(0, 20.0, user_attrs={"place": 0}))
    in_database().append(finished(1, 30.0))
    assert [trial.value for trial in in_database().read()] == [10.0, 30.0]


# Addresses.


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("nowhere", "no address of a database"),
        ("postgresql://me:hush@host:port/name", "no address of a database"),
        ("postgresql+psycopg://me:hu@sh@host/name", "%40 for an @ in the password"),
        ("oracel://me:hush@host/name", r"OPTUNA_STORAGE oracel://me:\*\*\*@host/name: no driver \(Can't load plugin"),
        (
            "mysql+pymysql://me:hush@host/name?password=hush",
            r"mysql\+pymysql://me:\*\*\*@host/name: no driver \(Failed to import",
        ),
        ("oracel://me:{hush}@host/name", r"me:\*\*\*@host"),
    ],
)
def test_a_wrong_address_is_refused_at_once_in_one_line_without_the_password(address: str, message: str) -> None:
    with pytest.raises(StageError, match=message) as error:
        DatabaseLedger(address, STUDY, pytest.fail).read()
    assert "\n" not in str(error.value)
    assert not re.search("hush|sh@host", str(error.value))


def test_a_path_with_braces_is_taken_as_it_is(tmp_path: Path) -> None:
    DatabaseLedger(f"sqlite:///{tmp_path}/{{SCHEMA_VERSION}}.db", STUDY, pytest.fail).append(finished(0))
    assert [path.name for path in tmp_path.iterdir()] == ["{SCHEMA_VERSION}.db"]


def test_a_search_in_a_file_waits_for_no_library_of_databases() -> None:
    """They take a second to import."""
    code = (
        "import sys; from pathlib import Path; from vgg_ablation.train.trials import FileLedger; "
        "FileLedger(Path('nowhere/trials'), print).read(); print(*sys.modules.keys() & {'sqlalchemy', 'alembic'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
