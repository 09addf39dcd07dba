"""`dvc repro` with nothing to do, in a copy of this repository whose outputs are stand-ins."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from dvc.repo import Repo

from benchmarks.speed.repetition import Repetition
from vgg_ablation.errors import StageError

_UP_TO_DATE = "Data and pipelines are up to date."
_FILES_IN_A_FOLDER = 3  # the weights of as many runs


class IdleRepository:
    """A copy of the tracked files at `root` in `folder`, with an output of each stage that nobody has computed.

    Raises:
        StageError: `root` is no git repository, or its pipeline cannot be committed.
    """

    def __init__(self, root: Path, folder: Path) -> None:
        self._folder = folder
        _copy(root, folder)
        _run("git", "init", "--quiet", cwd=folder)
        # DVC keeps some state outside of the repository, by default for ever.
        self._dvc("config", "--local", "core.site_cache_dir", str(folder / ".dvc/site"))
        with Repo(str(folder)) as repository:
            for output in repository.index.outs:
                _stand_in(Path(output.fs_path))
        self._dvc("commit", "--quiet", "--force")
        if not self._dvc("repro").endswith(f"{_UP_TO_DATE}\n"):
            raise StageError("dvc repro: has something to do right after dvc commit; do the stages' outputs overlap?")

    def repro(self) -> Repetition:
        """Time `dvc repro`.

        Raises:
            StageError: it did not find everything up to date.
        """
        return self._timed("repro", ending=f"{_UP_TO_DATE}\n")

    def version(self) -> Repetition:
        """Time `dvc version`, which does next to nothing but start."""
        return self._timed("version", ending="")

    def _timed(self, command: str, *, ending: str) -> Repetition:
        began = time.perf_counter()
        output = self._dvc(command)
        seconds = time.perf_counter() - began
        if not output.endswith(ending):
            raise StageError(f"dvc {command}: did something")
        return Repetition(seconds)

    def _dvc(self, *arguments: str) -> str:
        return _run(sys.executable, "-m", "dvc", *arguments, cwd=self._folder)


def _copy(root: Path, folder: Path) -> None:
    for name in _run("git", "ls-files", "-z", cwd=root).split("\0"):
        if name and (root / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, folder / name)


def _stand_in(output: Path) -> None:
    """Write a file, or a folder of files where the name says so."""
    files = [output] if output.suffix else [output / f"{number}" for number in range(_FILES_IN_A_FOLDER)]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(str(file))


def _run(*command: str, cwd: Path) -> str:
    """Run a command; return what it prints.

    Raises:
        StageError: it fails.
    """
    environment = {name: value for name, value in os.environ.items() if name != "DVC_ROOT"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - all from here
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise StageError(f"{' '.join(command)}: {' '.join(last) or f'status {done.returncode}'}")
    return done.stdout
