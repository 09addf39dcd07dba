"""The record of a search: its finished trials, and no others, in a file or in a database.

A trial that was cut off is in no record. It is run again under its number, which gives it the same point, and goes on
from its checkpoint.
"""

import copy
import json
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Protocol, TypeVar

import optuna
from optuna.distributions import distribution_to_json, json_to_distribution
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, TrialState, create_trial

from vgg_ablation.errors import StageError
from vgg_ablation.runtime.checkpoints import Slots

WAITS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0)
"""Seconds before each further attempt to reach a database; three minutes in all outlast its restart."""
_PLACE = "place"

_T = TypeVar("_T")


class Ledger(Protocol):
    """What keeps the finished trials of one search."""

    def read(self) -> list[FrozenTrial]:
        """Return the trials in the order of the search."""
        ...

    def append(self, trial: FrozenTrial) -> None:
        """Keep a trial; its number is its place, from 0. One whose place is taken is kept already."""
        ...


class FileLedger:
    """A ledger in two files written in turn, each under a checksum; see `Slots`.

    Args:
        stem: of the files' names.
        say: tells people of a damaged file.
    """

    def __init__(self, stem: Path, say: Callable[[str], None]) -> None:
        self._slots = Slots(stem, say)

    @cached_property
    def _trials(self) -> list[FrozenTrial]:
        content = self._slots.read()
        return [] if content is None else [_unpack(values) for values in json.loads(content)]

    def read(self) -> list[FrozenTrial]:
        """Return the trials in the order of the search.

        Raises:
            OSError: a file cannot be read.
        """
        return list(self._trials)

    def append(self, trial: FrozenTrial) -> None:
        """Keep a trial; its number is its place, from 0. One whose place is taken is kept already.

        Raises:
            StageError: the disk is full; what was kept still is.
            OSError: the file cannot be written for another reason.
        """
        if trial.number < len(self._trials):
            return
        trials = [*self._trials, trial]
        self._slots.write(len(trials), json.dumps([_pack(each) for each in trials], indent=1).encode())
        self._trials.append(trial)


class DatabaseLedger:
    """A ledger as an Optuna study in a database that many machines reach.

    A database that goes away is waited for, three minutes; what a trial came to is written in one transaction. Each
    trial carries its place as a user attribute: a commit whose acknowledgement was lost is found, not repeated.

    Args:
        address: of the database as SQLAlchemy has it, `postgresql+psycopg://user:password@host/name`; the password and
            what follows a question mark are never shown.
        name: of the study.
        say: tells people that the database is waited for.
    """

    def __init__(self, address: str, name: str, say: Callable[[str], None]) -> None:
        self._address = address
        self._name = name
        self._say = say

    def read(self) -> list[FrozenTrial]:
        """Return the trials in the order of the search; of several in one place, the one that was there first.

        Raises:
            StageError: the address is wrong, the database cannot be reached, or the places are not 0, 1, and so on.
        """
        trials = self._patiently(_finished)
        if set(trials) != set(range(len(trials))):
            raise StageError(
                f'{self._shown}: study "{self._name}" has trials in the places {", ".join(map(str, trials))} and not '
                f"in 0 to {len(trials) - 1}: some were deleted, or added by hand; delete the study "
                "(optuna delete-study) and run it again"
            )
        return [trials[place] for place in range(len(trials))]

    def append(self, trial: FrozenTrial) -> None:
        """Keep a trial; its number is its place, from 0. One whose place is taken is kept already.

        Raises:
            StageError: the database cannot be reached.
        """
        placed = copy.deepcopy(trial)
        placed.set_user_attr(_PLACE, trial.number)

        def add(study: optuna.Study) -> None:
            if trial.number not in _finished(study):
                study.add_trial(placed)

        self._patiently(add)

    def _patiently(self, operation: Callable[[optuna.Study], _T]) -> _T:
        """Return what `operation` makes of the study, after as many attempts as it takes."""
        # These take a second to import, which only those who name a database should wait for.
        from sqlalchemy.exc import SQLAlchemyError

        reason = ""
        for wait in (*WAITS, None):
            try:
                return operation(self._study())
            except (SQLAlchemyError, StorageInternalError) as error:
                reason = _reason(error)
            if wait is not None:
                self._say(f"{self._shown}: {reason}; trying again in {wait:g} s")
                time.sleep(wait)
        raise StageError(
            f"{self._shown}: {reason}; given up after {len(WAITS) + 1} attempts; what was done is kept: run it again "
            "when the database can be reached"
        )

    @cached_property
    def _shown(self) -> str:
        """The address without its password, and without its query, which may hold one too."""
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import ArgumentError

        try:
            address = make_url(self._address)
        except (ArgumentError, ValueError):
            address = None
        # A password with an @ in it would in part be taken, and shown, for the host.
        if address is None or "@" in (address.host or ""):
            raise StageError(
                "OPTUNA_STORAGE: no address of a database; write postgresql+psycopg://user:password@host/name, "
                "with %40 for an @ in the password"
            )
        return f"OPTUNA_STORAGE {address.set(query={}).render_as_string(hide_password=True)}"

    def _study(self) -> optuna.Study:
        """Return the study over new connections: none is held while a trial runs, and so none goes stale."""
        from optuna.storages import RDBStorage
        from sqlalchemy.exc import ArgumentError
        from sqlalchemy.pool import NullPool

        shown = self._shown
        try:
            # The address would be taken for a template.
            address = self._address.replace("{", "{{").replace("}", "}}")
            storage = RDBStorage(address, engine_kwargs={"poolclass": NullPool})
        except (ArgumentError, ImportError) as error:
            raise StageError(
                f"{shown}: no driver ({_reason(error).rstrip('.')}); name one in the address (postgresql+psycopg://) "
                "and install it (psycopg)"
            ) from None
        except RuntimeError as error:  # the tables are those of another version of Optuna
            raise StageError(f"{shown}: {_reason(error)}") from None
        return optuna.create_study(storage=storage, study_name=self._name, direction="maximize", load_if_exists=True)


def _finished(study: optuna.Study) -> dict[object, FrozenTrial]:
    """Return a study's finished trials by place."""
    trials: dict[object, FrozenTrial] = {}
    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)):
        trials.setdefault(trial.user_attrs.get(_PLACE), trial)
    return trials


def _reason(error: Exception) -> str:
    """Return the first line of what the database's driver has to say."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    cause = getattr(cause, "orig", None) or cause
    return (str(cause).strip() or type(cause).__name__).splitlines()[0]


def _pack(trial: FrozenTrial) -> dict[str, object]:
    return {
        "state": trial.state.name,
        "value": trial.value,
        "params": trial.params,
        "distributions": {name: distribution_to_json(each) for name, each in trial.distributions.items()},
        "intermediate_values": trial.intermediate_values,
        "user_attrs": trial.user_attrs,
        "system_attrs": trial.system_attrs,
    }


def _unpack(values: dict) -> FrozenTrial:
    return create_trial(
        state=TrialState[values["state"]],
        value=values["value"],
        params=values["params"],
        distributions={name: json_to_distribution(each) for name, each in values["distributions"].items()},
        intermediate_values={int(step): value for step, value in values["intermediate_values"].items()},
        user_attrs=values["user_attrs"],
        system_attrs=values["system_attrs"],
    )
