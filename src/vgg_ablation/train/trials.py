"""Storage of a search's finished trials: an Optuna study in an SQLite file, or in the database of OPTUNA_STORAGE.

Only finished trials are stored. A trial that was cut off is run again under its number: it gets the same point, and
resumes from its checkpoint.
"""

import copy
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import optuna
from filelock import FileLock
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from vgg_ablation.errors import StageError
from vgg_ablation.files import disk_full
from vgg_ablation.runtime import messages

WAITS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0)
"""Seconds before each further attempt to reach a database; three minutes in all outlast its restart."""
_NUMBER = "number"

_T = TypeVar("_T")


class Trials:
    """The finished trials of one search.

    Each trial has its number as a user attribute: if the acknowledgement of a commit is lost, it is not stored twice.

    Args:
        folder: state folder of the search. Its last two parts name the study; without OPTUNA_STORAGE
            (`postgresql+psycopg://user:password@host/name`) it holds the SQLite file `trials.db`.
        round_size: trials of a round, see `search.run_trial`.
        say: receives a line before each further attempt to reach a database.

    Raises:
        StageError: OPTUNA_STORAGE is not the address of a database.
    """

    def __init__(self, folder: Path, round_size: int, say: Callable[[str], None]) -> None:
        self._round_size = round_size
        self._file = folder / "trials.db"
        self._name = "/".join(folder.parts[-2:])
        self._say = say
        address = os.environ.get("OPTUNA_STORAGE")
        self._url = _parse(address) if address else URL.create("sqlite", database=str(self._file))
        self._waits = WAITS if address else ()
        # Without the password, and without the query, which may hold one too.
        shown = self._url.set(query={}).render_as_string(hide_password=True)
        self._shown = f"OPTUNA_STORAGE {shown}" if address else str(self._file)

    def read(self) -> dict[int, FrozenTrial]:
        """Return the finished trials by number; those of the latest round may have gaps.

        Raises:
            StageError: the storage is damaged or cannot be reached, has a trial without a number, or lacks a trial of
                an earlier round.
        """
        found = self._try(_finished)
        trials = {number: trial for number, trial in found.items() if isinstance(number, int) and number >= 0}
        last_round = max(trials, default=0) // self._round_size * self._round_size
        if len(trials) < len(found) or not trials.keys() >= set(range(last_round)):
            raise StageError(
                f'{self._shown}: study "{self._name}" has trials {", ".join(map(str, found))}: some were deleted, or '
                "added by hand; delete the study and run it again"
            )
        return trials

    def add(self, trial: FrozenTrial) -> None:
        """Store a finished trial, unless one with its number is stored already. Raises StageError as `read`."""
        numbered = copy.deepcopy(trial)
        numbered.set_user_attr(_NUMBER, trial.number)
        self._try(lambda study: None if trial.number in _finished(study) else study.add_trial(numbered))

    def _try(self, operation: Callable[[optuna.Study], _T]) -> _T:
        """Apply `operation` to the stored study, again after a while if the database cannot be reached."""
        sqlite = self._url.get_backend_name() == "sqlite"
        reason = ""
        for wait in (*self._waits, None):
            try:
                # Two processes that create the tables of one file at the same time would fail.
                with FileLock(self._file.with_suffix(".lock")):
                    return operation(self._open())
            except (SQLAlchemyError, StorageInternalError) as error:
                cause = error.__cause__ if isinstance(error, StorageInternalError) else error
                reason = _first_line(cause or error)
                if sqlite and type(cause) is DatabaseError:  # of none of its subclasses: no database, or a damaged one
                    raise StageError(f"{self._shown}: {reason}; delete it to start this search over") from None
                if sqlite and "disk is full" in reason:
                    raise disk_full(self._file, None) from None
            if wait is not None:
                self._say(messages.retrying(self._shown, reason, wait))
                time.sleep(wait)
        raise StageError(f"{self._shown}: {reason}; progress saved; run `dvc repro` to resume when it can be reached")

    def _open(self) -> optuna.Study:
        """Open the study with new connections: none is held while a trial runs."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)  # else it logs that the study was created
        # Optuna formats the address as a template.
        address = self._url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")
        try:
            storage = RDBStorage(address, engine_kwargs={"poolclass": NullPool})
        except (ArgumentError, ImportError) as error:
            reason = _first_line(error).rstrip(".")
            raise StageError(
                f"{self._shown}: no driver ({reason}); name one in the address (postgresql+psycopg://) and install it"
            ) from None
        except RuntimeError as error:  # tables of another version of Optuna
            raise StageError(f"{self._shown}: {_first_line(error)}") from None
        return optuna.create_study(storage=storage, study_name=self._name, direction="maximize", load_if_exists=True)


def _parse(address: str) -> URL:
    try:
        url = make_url(address)
    except (ArgumentError, ValueError):
        url = None
    # An @ in a password would make its end part of the host, which is shown.
    if url is None or "@" in (url.host or ""):
        raise StageError(
            "OPTUNA_STORAGE is not the address of a database; write postgresql+psycopg://user:password@host/name, with "
            "%40 for an @ in the password"
        )
    return url


def _finished(study: optuna.Study) -> dict[object, FrozenTrial]:
    """Return a study's finished trials by number; of several with one number the first."""
    trials: dict[object, FrozenTrial] = {}
    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)):
        number = trial.user_attrs.get(_NUMBER)
        if number not in trials:
            trials[number] = trial
            if number is not None:
                trial.number = number  # Optuna's own is the order in which trials ended
    return trials


def _first_line(error: BaseException) -> str:
    cause = getattr(error, "orig", None) or error  # of the database's driver
    return (str(cause).strip() or type(cause).__name__).splitlines()[0]
