"""Trials in a real PostgreSQL that is stopped and started during a search; skipped where it is not installed."""

import math
import os
import pwd
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Timer

import optuna
import pytest
from optuna.trial import FrozenTrial
from sqlalchemy.pool import NullPool

from vgg_ablation.errors import StageError
from vgg_ablation.runtime.settings import SearchRange, TuneSettings
from vgg_ablation.train import trials as trials_module
from vgg_ablation.train.epoch import Epoch
from vgg_ablation.train.run import Point
from vgg_ablation.train.search import Objective, Trial, finish, run_trial
from vgg_ablation.train.trials import Trials

FOLDERS = [Path(shutil.which("initdb") or "nowhere").resolve().parent, *Path("/usr/lib/postgresql").glob("*/bin")]
PROGRAMS = next(
    (folder for folder in FOLDERS if {"initdb", "pg_ctl"} <= {path.name for path in folder.glob("*")}), None
)
pytestmark = pytest.mark.skipif(PROGRAMS is None, reason="PostgreSQL's initdb and pg_ctl are not installed")
pytest.importorskip("psycopg", reason="psycopg, the driver, is not installed")

PASSWORD = "open-sesame"  # noqa: S105 - of a server that exists during these tests
EPOCHS, CLASSES = 3, 10
SETTINGS = TuneSettings(
    trials=3, epochs=EPOCHS, learning_rate=SearchRange(low=1e-4, high=1e-1),
    weight_decay=SearchRange(low=1e-5, high=1e-2), batch_size=(16, 32), sampler="tpe", random_trials=2, round_size=1,
    pruner="median", prune_after=1, seed=0,
)  # fmt: skip


class Server:
    """A PostgreSQL server on a Unix socket in its folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._user: str | None = None
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            self._user = "postgres" if any(entry.pw_name == "postgres" for entry in pwd.getpwall()) else "nobody"
            shutil.chown(folder, self._user)
        password = folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        self._run("initdb", "--username=search", f"--pwfile={password}", "--auth=scram-sha-256", "--no-sync")
        self.start()

    def address(self, password: str = PASSWORD) -> str:
        return f"postgresql+psycopg://search:{password}@/postgres?host={self._folder}"

    def start(self) -> None:
        options = f"-c listen_addresses='' -c unix_socket_directories='{self._folder}' -c shared_buffers=1MB"
        self._run("pg_ctl", "start", "--wait", f"--log={self._folder / 'log'}", f"--options={options}")

    def stop(self) -> None:
        """Stop it as a power cut does."""
        self._run("pg_ctl", "stop", "--wait", "--mode=immediate")

    def _run(self, program: str, *arguments: str) -> None:
        assert PROGRAMS is not None
        command = [PROGRAMS / program, *arguments, f"--pgdata={self._folder / 'data'}"]
        subprocess.run(command, check=True, cwd=self._folder, stdout=subprocess.DEVNULL, user=self._user)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    # pytest's own folders are closed to other users, and their paths too long for a socket.
    with TemporaryDirectory() as folder:
        server = Server(Path(folder))
        yield server
        server.stop()


@pytest.fixture
def folder(server: Server, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Name the server as the database; return a state folder whose name is that of the test."""
    monkeypatch.setenv("OPTUNA_STORAGE", server.address())
    return tmp_path / "tune" / request.node.name


def made_up(point: Point) -> Iterator[Epoch]:
    """Train a made-up net, best at a rate of 0.02."""
    for epoch in range(1, EPOCHS + 1):
        accuracy = epoch * 80 / EPOCHS * math.exp(-(math.log10(point.learning_rate / 0.02) ** 2)) - point.weight_decay
        yield Epoch(epoch, point.learning_rate, 0.1, 50.0, 0.1, max(0.0, accuracy), 0.1 * epoch)


def with_event_in(trial: int, event: Callable[[], object]) -> Objective:
    """Return `made_up`, with an event before the last epoch of a trial of a search that starts at trial 0."""
    numbers = count()

    def run(point: Point) -> Iterator[Epoch]:
        number = next(numbers)
        for epoch in made_up(point):
            if (number, epoch.epoch) == (trial, EPOCHS):
                event()
            yield epoch

    return run


@cache
def expected() -> list[Trial]:
    """Return the trials of a search without storage."""
    trials: list[FrozenTrial] = []
    for number in range(SETTINGS.trials):
        trials.append(run_trial(made_up, CLASSES, SETTINGS, trials, number))
    return list(map(Trial.of, trials))


def run(folder: Path, objective: Objective = made_up, say: Callable[[str], None] = pytest.fail) -> list[Trial]:
    trials = Trials(folder, SETTINGS.round_size, say)
    return [finish(objective, CLASSES, SETTINGS, trials, number) for number in range(SETTINGS.trials)]


def assert_each_trial_is_stored_once(server: Server, folder: Path) -> None:
    storage = optuna.storages.RDBStorage(server.address(), engine_kwargs={"poolclass": NullPool})
    stored = optuna.load_study(study_name=f"tune/{folder.name}", storage=storage).trials
    assert [trial.user_attrs["number"] for trial in stored] == list(range(SETTINGS.trials))


def test_a_search_in_postgresql_comes_back_to_the_last_bit(folder: Path) -> None:
    assert run(folder) == expected()
    again = run(folder, lambda *_: pytest.fail("a trial ran again"))
    assert [(trial, trial.seconds) for trial in again] == [(trial, trial.seconds) for trial in expected()]


def test_a_server_that_restarts_during_a_trial_loses_and_doubles_nothing(server: Server, folder: Path) -> None:
    back = Timer(0.5, server.start)

    def restart() -> None:
        server.stop()
        back.start()

    said: list[str] = []
    assert run(folder, with_event_in(1, restart), said.append) == expected()
    back.join()
    assert_each_trial_is_stored_once(server, folder)
    assert said
    assert not any(PASSWORD in line for line in said)


def test_a_server_that_stays_away_is_an_error_of_one_line_and_the_next_search_resumes(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials_module, "WAITS", (0.0, 0.0))
    try:
        with pytest.raises(StageError, match=r"search:\*\*\*@/postgres: .*progress saved") as error:
            run(folder, with_event_in(1, server.stop), lambda _: None)
    finally:
        server.start()
    assert "\n" not in str(error.value)
    assert run(folder) == expected()


def test_a_server_killed_between_commit_and_acknowledgement_doubles_nothing(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials_module, "WAITS", (0.0,) * 5)
    add_trial = optuna.Study.add_trial
    lost: list[int] = []

    def add_and_lose(self: optuna.Study, trial: FrozenTrial) -> None:
        add_trial(self, trial)
        if "number" in trial.user_attrs and trial.number == 1 and not lost:
            lost.append(trial.number)
            server.stop()
            server.start()
            raise optuna.exceptions.StorageInternalError from ConnectionError("the connection was closed")

    monkeypatch.setattr(optuna.Study, "add_trial", add_and_lose)
    assert run(folder, say=lambda _: None) == expected()
    assert lost
    assert_each_trial_is_stored_once(server, folder)


def test_a_wrong_password_is_not_shown(server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials_module, "WAITS", ())
    monkeypatch.setenv("OPTUNA_STORAGE", server.address("wrong-word"))
    with pytest.raises(StageError, match="password authentication failed") as error:
        run(folder)
    assert "wrong-word" not in str(error.value)
