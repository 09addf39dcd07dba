"""Experiments of DVC: what one leaves in params.yaml, when DVC would lose one, and how to undo one.

`python -m vgg_ablation.runtime.experiment` undoes one: settings, lock files, reports and results are again those of the
last commit, also after `dvc` was killed.
"""

import json
import os
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
from ruamel.yaml import YAML

from vgg_ablation.errors import StageError
from vgg_ablation.files import write_bytes
from vgg_ablation.runtime.console import Console, stage
from vgg_ablation.runtime.git import git
from vgg_ablation.runtime.params import PARAMS_FILE, SettingsError
from vgg_ablation.runtime.paths import REPORTS

COPY = Path(".state/params-before-undo.yaml")
"""Copy of the params.yaml that `undo` replaces."""
_CHANGED = (str(PARAMS_FILE), "dvc.lock", "stages/dvc.lock", str(REPORTS))  # tracked files that an experiment changes
_RUNNING = Path(".dvc/tmp/rwlock")  # where dvc says which of its processes use which files
_BASELINE = "refs/exps/exec/EXEC_BASELINE"  # commit that dvc detached HEAD at; deleted when the experiment ends
_MOST = 5  # changed settings that are named


def require_kept() -> None:
    """Check that DVC will keep the experiment that this stage is part of, if it is one.

    In a shallow clone, DVC drops the results of `--temp` and of queued experiments without a word.

    Raises:
        StageError: it would be lost.
    """
    if not in_temporary_folder():
        return
    if git("rev-parse", "--is-shallow-repository", folder=Path(os.environ["DVC_ROOT"])).strip() == "true":
        raise StageError(
            "this is a shallow clone, in which DVC would lose the results of --temp and queued experiments; "
            "first run: git fetch --unshallow"
        )


def in_temporary_folder() -> bool:
    """Return whether this stage is part of an experiment with `--temp` or in the queue: the user's folder stays."""
    return "DVC_EXP_NAME" in os.environ and Path(os.environ["DVC_ROOT"]).resolve() != Path.cwd()


def changes() -> str:
    """Return the settings of params.yaml that differ from the last commit, with both values; empty without git."""
    try:
        committed = git("show", f"HEAD:./{PARAMS_FILE}")
    except StageError:
        return ""
    reader = YAML(typ="safe")
    before, now = _leaves(reader.load(committed)), _leaves(reader.load(PARAMS_FILE.read_text(encoding="utf-8")))
    differ = [key for key in {**now, **before} if now.get(key) != before.get(key)]
    named = [f"{key} {now.get(key, 'none')} (committed: {before.get(key, 'none')})" for key in differ[:_MOST]]
    return ", ".join([*named, *([f"{len(differ) - _MOST} more"] if len(differ) > _MOST else [])])


@contextmanager
def restoring_refused_settings() -> Iterator[None]:
    """Put params.yaml back if the body refuses settings that `dvc exp run -S` has just written into it.

    It stays as it is if it has other changes too, which would be lost.
    """
    try:
        yield
    except StageError as error:
        overrides = _overrides()
        if not overrides:
            raise
        if _nothing_but(overrides):
            _restore(str(PARAMS_FILE))
            raise SettingsError(f"{error}\nrefused; params.yaml is again that of the last commit") from None
        raise SettingsError(f"{error}\nparams.yaml still holds this and your own changes: {changes()}") from None


def undo(console: Console) -> None:
    """Restore what an experiment changes from the last commit, and the branch that a killed `dvc` has left.

    Raises:
        StageError: git refuses, or `dvc` is running.
    """
    if running := _running():
        raise StageError(f"process {running} is running here; stop it first")
    # A second `undo` leaves the copy that the first has made.
    if PARAMS_FILE.exists() and PARAMS_FILE.read_text(encoding="utf-8") != git("show", f"HEAD:./{PARAMS_FILE}"):
        write_bytes(COPY, PARAMS_FILE.read_bytes())
    head = git("rev-parse", "HEAD")
    detached = not git("rev-parse", "--symbolic-full-name", "HEAD").startswith("refs/")
    if detached and git("for-each-ref", "--format=%(objectname)", _BASELINE) == head:
        branch = git("rev-parse", "--symbolic-full-name", "@{-1}").strip()
        git("symbolic-ref", "HEAD", branch)
        console.say(f"HEAD is {branch.removeprefix('refs/heads/')} again")
    committed = git("ls-tree", "--name-only", "HEAD", "--", *_CHANGED).splitlines()
    _restore(*committed)
    # Never-run stages and results that are not in the cache are no reason to fail.
    command = ["checkout", "--quiet", "--force", "--allow-missing", "--with-deps", "report"]
    if subprocess.run([sys.executable, "-m", "dvc", *command], check=False).returncode:  # noqa: S603
        raise StageError("the files of the last commit are back, but not all results: dvc repro makes them")
    console.made(
        f"settings, lock files, reports and results of the last commit are back; {COPY} is the params.yaml before"
    )


def _restore(*paths: str) -> None:
    """Restore tracked files and folders from the last commit, in the index too.

    Files are deleted first: git treats a file with the date and size in its index as unchanged, and DVC records there
    those of its own edits, such as `arch: C` in place of `arch: A`.
    """
    for path in map(Path, paths):
        if path.is_file():
            path.unlink()
    git("restore", "--source=HEAD", "--staged", "--worktree", "--", *paths)


def _running() -> str:
    """Return a process of `dvc` that uses this repository, or nothing."""
    try:
        entries = json.loads(_RUNNING.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # no dvc has run here, or one was killed while it wrote the file
        return ""
    readers = [reader for users in entries.get("read", {}).values() for reader in users]
    users = {user["pid"]: user["cmd"] for user in [*readers, *entries.get("write", {}).values()]}
    # Another process may have the number of a dvc that was killed.
    alive = (f"{pid} ({command})" for pid, command in users.items() if "dvc" in " ".join(_command_line(pid)))
    return next(alive, "")


def _command_line(pid: int) -> list[str]:
    """Return the command line of a process; empty if it has ended, or the system hides it."""
    try:
        return psutil.Process(pid).cmdline()
    except psutil.Error:
        return []


def _overrides() -> list[str]:
    """Return what follows `-S` in the `dvc exp run` in this folder that this stage is part of."""
    if "DVC_EXP_NAME" not in os.environ or in_temporary_folder():
        return []
    commands = [_command_line(parent.pid) for parent in psutil.Process().parents()]
    command = next((each for each in commands if {"exp", "experiments"} & {*each} and "run" in each), [])
    parser = ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("-S", "--set-param", action="append", default=[])
    return parser.parse_known_args(command)[0].set_param


def _nothing_but(overrides: list[str]) -> bool:
    """Return whether params.yaml is that of the last commit with `overrides` alone."""
    from dvc.utils.cli_parse import to_path_overrides
    from dvc.utils.hydra import apply_overrides

    with TemporaryDirectory() as folder:
        copy = Path(folder, PARAMS_FILE.name)
        copy.write_text(git("show", f"HEAD:./{PARAMS_FILE}"), encoding="utf-8")
        apply_overrides(copy, to_path_overrides(overrides).get(str(PARAMS_FILE), []))
        return copy.read_bytes() == PARAMS_FILE.read_bytes()


def _leaves(values: Any, key: str = "") -> dict[str, Any]:
    if not isinstance(values, dict):
        return {key: values}
    return {
        name: leaf
        for inner, value in values.items()
        for name, leaf in _leaves(value, f"{key}.{inner}".removeprefix(".")).items()
    }


def main() -> None:
    """Undo the experiment in the current folder."""
    ArgumentParser(prog="make undo", description=__doc__).parse_args()
    with stage("undo", saved="") as console:
        undo(console)


if __name__ == "__main__":
    main()
