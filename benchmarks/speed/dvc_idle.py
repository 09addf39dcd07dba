"""`dvc repro` with nothing to do, in a clone of this repository whose outputs are placeholders."""

import os
import subprocess
import sys
import time
from pathlib import Path

from dvc.repo import Repo

from benchmarks.speed.results import Timing
from vgg_ablation.errors import StageError

_UP_TO_DATE = "Data and pipelines are up to date."
_FILES_IN_A_FOLDER = 3  # the weights of as many runs


class IdleRepository:
    """A clone in `folder` of the repository at `root`, its last commit, with a placeholder for each stage's output.

    Raises:
        StageError: `root` is no git repository, or `dvc commit` fails.
    """

    def __init__(self, root: Path, folder: Path) -> None:
        self.folder = folder
        _run("git", "clone", "--quiet", "--depth=1", root.absolute().as_uri(), str(folder), cwd=Path())
        # By default DVC keeps some state outside the repository, forever.
        self._dvc("config", "--local", "core.site_cache_dir", str(folder / ".dvc/site"))
        with Repo(str(folder)) as repository:
            places = {Path(place.fs_path) for place in (*repository.index.outs, *repository.index.deps)}
            for place in sorted(places, reverse=True):  # files before the folders that hold them
                if not place.exists():
                    _write_placeholder(place)
        self._dvc("commit", "--force")
        self.repro()

    def repro(self) -> Timing:
        """Time `dvc repro`.

        Raises:
            StageError: it did not find everything up to date.
        """
        return self._timed("repro", _UP_TO_DATE)

    def version(self) -> Timing:
        """Time `dvc version`, which starts and does hardly anything."""
        return self._timed("version", "")

    def _timed(self, command: str, ending: str) -> Timing:
        start = time.perf_counter()
        output = self._dvc(command)
        seconds = time.perf_counter() - start
        if not output.rstrip().endswith(ending):
            raise StageError(f"dvc {command}: expected nothing to do, but it ran a stage")
        return Timing(seconds)

    def _dvc(self, *arguments: str) -> str:
        return _run(sys.executable, "-m", "dvc", *arguments, cwd=self.folder)


def _write_placeholder(place: Path) -> None:
    """Write a file, or a folder of files where the name has no suffix."""
    for file in [place] if place.suffix else [place / f"{number}" for number in range(_FILES_IN_A_FOLDER)]:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(str(file))


def _run(*command: str, cwd: Path) -> str:
    """Run a command and return what it prints.

    Raises:
        StageError: it fails.
    """
    environment = {name: value for name, value in os.environ.items() if name != "DVC_ROOT"}
    try:
        run = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=True)  # noqa: S603 - no user input
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip() or error.stdout.strip()).splitlines()[-1:]
        raise StageError(f"{' '.join(command)}: {' '.join(last) or f'status {error.returncode}'}") from None
    return run.stdout
