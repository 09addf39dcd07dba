"""The ledger in a real PostgreSQL, which is stopped and started while a search uses it."""

import math
import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Barrier, Timer

import optuna
import pytest
from optuna.trial import FrozenTrial, create_trial
from sqlalchemy.pool import NullPool

from vgg_ablation.errors import StageError
from vgg_ablation.runtime.settings import SearchRange, TuneSettings
from vgg_ablation.train import trials as ledger_module
from vgg_ablation.train.epoch import Epoch
from vgg_ablation.train.search import Objective, Outcome, search
from vgg_ablation.train.trials import DatabaseLedger, FileLedger


def _programs() -> Path | None:
    """Return the folder of PostgreSQL's own programs, which Debian keeps off the path."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    return next((folder for folder in folders if (folder / "initdb").exists() and (folder / "pg_ctl").exists()), None)


PROGRAMS = _programs()
pytestmark = pytest.mark.skipif(PROGRAMS is None, reason="PostgreSQL's initdb and pg_ctl are not installed")
psycopg = pytest.importorskip("psycopg", reason="psycopg, the driver, is not installed")

PASSWORD = "open-sesame"  # noqa: S105 - of a server that lives for these tests
EPOCHS, CLASSES = 3, 10
SETTINGS = TuneSettings(
    trials=5, epochs=EPOCHS, learning_rate=SearchRange(low=1e-4, high=1e-1),
    weight_decay=SearchRange(low=1e-5, high=1e-2), sampler="tpe", random_trials=2,
    pruner="median", prune_after=1, seed=0,
)  # fmt: skip


class Server:
    """A cluster of its own, reached by a Unix socket in its folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._user: int | None = None
        self._group: int | None = None
        if os.geteuid() == 0:  # as whom PostgreSQL refuses to run
            names = {entry.pw_name: entry for entry in pwd.getpwall()}
            owner = names.get("postgres") or names["nobody"]
            self._user, self._group = owner.pw_uid, owner.pw_gid
            os.chown(folder, self._user, self._group)
        password = folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        self._run(
            "initdb", "--username=search", f"--pwfile={password}", "--auth=scram-sha-256", "--encoding=UTF8",
            "--locale=C", "--no-sync",
        )  # fmt: skip
        self.start()

    def address(self, password: str = PASSWORD, database: str = "postgres") -> str:
        return f"postgresql+psycopg://search:{password}@/{database}?host={self._folder}"

    def start(self) -> None:
        options = f"-c listen_addresses='' -c unix_socket_directories='{self._folder}' -c shared_buffers=1MB"
        self._run("pg_ctl", "start", "--wait", f"--log={self._folder / 'log'}", f"--options={options}")

    def stop(self) -> None:
        """Stop it as a power cut would."""
        self._run("pg_ctl", "stop", "--wait", "--mode=immediate")

    def _run(self, program: str, *arguments: str) -> None:
        assert PROGRAMS is not None
        subprocess.run(
            [PROGRAMS / program, *arguments, f"--pgdata={self._folder / 'data'}"],
            check=True, cwd=self._folder, stdout=subprocess.DEVNULL, user=self._user, group=self._group,
        )  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    # pytest's own folders are closed to other users, and their paths too long for a socket.
    with TemporaryDirectory() as folder:
        server = Server(Path(folder))
        yield server
        server.stop()


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Return a study for each test."""
    return f"tune/{request.node.name}"


def made_up(learning_rate: float, weight_decay: float, trial: int) -> Iterator[Epoch]:
    """Train a made-up net, best at a rate of 0.02."""
    for epoch in range(1, EPOCHS + 1):
        accuracy = epoch * 80 / EPOCHS * math.exp(-(math.log10(learning_rate / 0.02) ** 2)) - weight_decay
        yield Epoch(epoch, learning_rate, 0.1, 0.1, max(0.0, accuracy), 0.1 * epoch)


def meanwhile(trial: int, event: Callable[[], object]) -> Objective:
    """Return `made_up`, with an event before the last epoch of a trial."""

    def run(learning_rate: float, weight_decay: float, number: int) -> Iterator[Epoch]:
        for epoch in made_up(learning_rate, weight_decay, number):
            if (number, epoch.epoch) == (trial, EPOCHS):
                event()
            yield epoch

    return run


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[Outcome]:
    """Return what a search in a file finds."""
    ledger = FileLedger(tmp_path_factory.mktemp("file") / "trials", pytest.fail)
    return list(search(made_up, CLASSES, SETTINGS, ledger))


def kept(server: Server, name: str) -> list[FrozenTrial]:
    """Return all trials of a study, whatever their state, as Optuna itself reads them."""
    storage = optuna.storages.RDBStorage(server.address(), engine_kwargs={"poolclass": NullPool})
    return optuna.load_study(study_name=name, storage=storage).trials


def test_a_search_in_postgresql_is_the_search_in_a_file(server: Server, name: str, expected: list[Outcome]) -> None:
    ledger = DatabaseLedger(server.address(), name, pytest.fail)
    assert list(search(made_up, CLASSES, SETTINGS, ledger)) == expected
    assert {outcome.state for outcome in expected} == {"complete", "pruned"}


def test_a_search_read_back_from_postgresql_is_the_same_to_the_last_bit(
    server: Server, name: str, expected: list[Outcome]
) -> None:
    list(search(made_up, CLASSES, SETTINGS, DatabaseLedger(server.address(), name, pytest.fail)))
    again = search(
        lambda *_: pytest.fail("run again"), CLASSES, SETTINGS, DatabaseLedger(server.address(), name, print)
    )
    found = list(again)
    assert found == expected
    assert [outcome.seconds for outcome in found] == [outcome.seconds for outcome in expected]


def test_a_server_that_restarts_while_a_trial_runs_loses_and_doubles_nothing(
    server: Server, name: str, expected: list[Outcome]
) -> None:
    back = Timer(1.5, server.start)

    def restart() -> None:
        server.stop()
        back.start()

    said: list[str] = []
    ledger = DatabaseLedger(server.address(), name, said.append)
    assert list(search(meanwhile(2, restart), CLASSES, SETTINGS, ledger)) == expected
    back.join()
    assert [trial.user_attrs["place"] for trial in kept(server, name)] == list(range(SETTINGS.trials))
    assert said
    assert all(re.search(r"; trying again in \d+ s$", line) and PASSWORD not in line for line in said)


def test_a_server_that_stays_away_ends_the_search_with_one_line_and_the_next_one_goes_on(
    server: Server, name: str, expected: list[Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "WAITS", (0.0, 0.0))
    ledger = DatabaseLedger(server.address(), name, lambda _: None)
    before: list[Outcome] = []
    try:
        with pytest.raises(StageError, match=r"search:\*\*\*@/postgres: .*given up after 3 attempts") as error:
            before.extend(search(meanwhile(2, server.stop), CLASSES, SETTINGS, ledger))
    finally:
        server.start()
    assert "\n" not in str(error.value)
    assert PASSWORD not in str(error.value)
    numbers: list[int] = []

    def counted(learning_rate: float, weight_decay: float, trial: int) -> Iterator[Epoch]:
        numbers.append(trial)
        return made_up(learning_rate, weight_decay, trial)

    ledger = DatabaseLedger(server.address(), name, pytest.fail)
    assert list(search(counted, CLASSES, SETTINGS, ledger)) == expected
    assert numbers == list(range(2, SETTINGS.trials))


def test_a_server_killed_between_commit_and_acknowledgement_doubles_nothing(
    server: Server, name: str, expected: list[Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "WAITS", (0.0,) * 5)
    add_trial = optuna.Study.add_trial
    lost: list[int] = []

    def add_and_lose(self: optuna.Study, trial: FrozenTrial) -> None:
        add_trial(self, trial)
        if trial.number == 3 and not lost:
            lost.append(trial.number)
            server.stop()
            server.start()
            raise optuna.exceptions.StorageInternalError from ConnectionError("the connection was closed")

    monkeypatch.setattr(optuna.Study, "add_trial", add_and_lose)
    said: list[str] = []
    ledger = DatabaseLedger(server.address(), name, said.append)
    assert list(search(made_up, CLASSES, SETTINGS, ledger)) == expected
    assert len(said) == len(lost) == 1
    assert [trial.user_attrs["place"] for trial in kept(server, name)] == list(range(SETTINGS.trials))


def test_a_wrong_password_is_told_in_one_line_without_it(
    server: Server, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "WAITS", ())
    with pytest.raises(StageError, match="password authentication failed") as error:
        DatabaseLedger(server.address("wrong-word"), name, pytest.fail).read()
    assert "\n" not in str(error.value)
    assert "wrong-word" not in str(error.value)


def test_searches_that_meet_a_new_database_at_once_all_find_their_place(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of six nets do that start side by side."""
    monkeypatch.setattr(ledger_module, "WAITS", (0.1,) * 20)
    with psycopg.connect(server.address().replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("CREATE DATABASE fresh")
    address = server.address(database="fresh")
    together = Barrier(6)

    def begin(number: int) -> None:
        together.wait()
        ledger = DatabaseLedger(address, f"tune/{number}", lambda _: None)
        assert ledger.read() == []
        trial = create_trial(value=float(number), user_attrs={"outcome": ""})
        trial.number = 0
        ledger.append(trial)

    with ThreadPoolExecutor(6) as searches:
        list(searches.map(begin, range(6)))
    found = [DatabaseLedger(address, f"tune/{number}", pytest.fail).read() for number in range(6)]
    assert [[trial.value for trial in trials] for trials in found] == [[float(number)] for number in range(6)]
