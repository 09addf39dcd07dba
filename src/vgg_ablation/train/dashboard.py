"""Show the searches in optuna-dashboard: `python -m vgg_ablation.train.dashboard` (make search-live).

Searches that run show the trials that are finished. They are copied: nothing here changes a trial. In a database that
`OPTUNA_STORAGE` names, a search without trials gets its empty study.
"""

import os
import time
import warnings
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import InMemoryStorage

from vgg_ablation.errors import StageError
from vgg_ablation.files import read_json
from vgg_ablation.runtime.console import stage
from vgg_ablation.runtime.state import repository_root
from vgg_ablation.train.trials import Trials

PORT = 8080
METRIC = "validation accuracy, %"
_PAUSE = 5.0  # seconds between two looks for new trials


class Searches:
    """Copies of the searches in `.state/tune` or `OPTUNA_STORAGE`, by names such as `C_BN 0123abcd`.

    Args:
        say: receives a line before each further attempt to reach a database.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.storage = InMemoryStorage()
        self._say = say
        self._copied: dict[str, set[int]] = {}
        self._looked = -_PAUSE

    def refresh(self) -> None:
        """Copy the trials that are new, if the last look was a while ago.

        Raises:
            StageError: stored trials are damaged, or the database cannot be reached.
        """
        if time.monotonic() - self._looked < _PAUSE:
            return
        optuna.logging.set_verbosity(optuna.logging.ERROR)  # else it logs that a study was created
        for path in sorted((repository_root() / ".state" / "tune").glob("*/determinants.json")):
            if "OPTUNA_STORAGE" not in os.environ and not (path.parent / "trials.db").exists():
                continue  # reading would create it
            work = read_json(path)
            found = Trials(path.parent, work["tune"]["round_size"], self._say).read()
            name = f"{work['arch']} {path.parent.name[:8]}"
            study = optuna.create_study(
                storage=self.storage, study_name=name, direction="maximize", load_if_exists=True
            )
            with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
                study.set_metric_names([METRIC])
            # By number: trials of a round do not end in the order of their numbers.
            copied = self._copied.setdefault(name, set())
            new = sorted(found.keys() - copied)
            study.add_trials([found[number] for number in new])
            copied.update(new)
        self._looked = time.monotonic()


class _Quiet(WSGIRequestHandler):
    """Does not print each request."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - named by the library
        pass


def application(searches: Searches) -> Callable[..., Iterable[bytes]]:
    """Return the dashboard as a WSGI application that looks for new trials when it is asked for something.

    Raises:
        StageError: optuna-dashboard is not installed.
    """
    try:
        from optuna_dashboard import wsgi  # pyright: ignore[reportMissingImports] - installed by make search-live
    except ModuleNotFoundError as error:
        if error.name != "optuna_dashboard":
            raise
        raise StageError("optuna-dashboard is not installed; install and start it: make search-live") from None
    shown = wsgi(searches.storage)

    def respond(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        searches.refresh()
        return shown(environ, start)

    return respond


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve the dashboard on this machine until Ctrl-C."""
    parser = ArgumentParser(prog="python -m vgg_ablation.train.dashboard", description=__doc__)
    parser.add_argument("--port", type=int, default=PORT, help=f"of the page (default: {PORT}; 0: any free one)")
    port = parser.parse_args(arguments).port
    with stage("search-live", saved="") as console:
        searches = Searches(console.say)
        searches.refresh()
        with make_server("localhost", port, application(searches), handler_class=_Quiet) as server:
            console.say(f"open http://localhost:{server.server_port} in a browser; end with Ctrl-C")
            server.serve_forever()


if __name__ == "__main__":
    main()
