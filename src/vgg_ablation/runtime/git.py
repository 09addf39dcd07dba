"""Run git commands; a failure is reported in git's own words."""

import subprocess
from pathlib import Path

from vgg_ablation.errors import StageError


def git(*arguments: str, folder: Path | None = None) -> str:
    """Return what a git command prints, run in `folder` or in the current one.

    Raises:
        StageError: git refuses, with its lines; or it is not installed.
    """
    command = ["git", *arguments]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, check=False)  # noqa: S603
    except (FileNotFoundError, PermissionError):
        raise StageError("git is not installed") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").splitlines()
        raise StageError("\n".join(line.strip() for line in said if line.strip()) or f"git {arguments[0]} failed")
    return done.stdout.decode(errors="replace")
