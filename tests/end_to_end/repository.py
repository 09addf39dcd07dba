"""A git and DVC repository in a temporary folder, and what commands in it print."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Finished:
    """What a command printed, and how it ended."""

    status: int
    output: str
    errors: str

    @property
    def stages(self) -> list[str]:
        """The stages that DVC ran, in order, without the name of their file."""
        return re.findall(r"^Running stage '(?:stages/dvc\.yaml:)?([^']+)'", self.output, re.MULTILINE)


def holds_times(name: str) -> bool:
    """Whether a file of a study tells how long something took, which differs between two equal runs."""
    return name.endswith(("cost.csv", "cost.md", "index.html", "dvc.lock"))


@dataclass(frozen=True)
class Repository:
    """A git and DVC repository in a temporary folder."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """Of commands in it: its own copy of the package, and the programs of the environment that the tests run in."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        changes = {"PATH": path, "PYTHONPATH": str(self.folder / "src"), "COLUMNS": "200"}
        return {**os.environ, **changes}

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start a command in it."""
        return subprocess.Popen(
            command, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def run(self, *command: str) -> Finished:
        """Run a command in it to its end."""
        with self.start(*command) as process:
            output, errors = process.communicate()
        return Finished(process.returncode, output, errors)

    def succeed(self, *command: str) -> Finished:
        """Run a command that must end with status 0."""
        done = self.run(*command)
        assert done.status == 0, f"{' '.join(command)}\n{done.output}\n{done.errors}"
        return done

    def clone(self, folder: Path) -> "Repository":
        """Return a fresh clone of what is committed: no results, no cache, no state."""
        subprocess.run(["git", "clone", "--quiet", str(self.folder), str(folder)], check=True)
        return Repository(folder)

    def snapshot(self) -> dict[str, bytes]:
        """The bytes of params, locks, results and reports."""
        files = [self.folder / "params.yaml", *self.folder.glob("**/dvc.lock")]
        files += [path for name in ("data", "results", "reports") for path in (self.folder / name).rglob("*")]
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in files if path.is_file()}
