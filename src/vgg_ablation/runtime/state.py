"""State for resuming, outside DVC's outputs (which DVC deletes before a stage runs).

Each piece of work has a folder under `.state/` in the repository's root, named by a hash of everything that determines
its result: settings, seeds, the images' digest, the source code, the libraries' versions, the device. A folder found is
therefore always the same work begun earlier, and may be deleted at any time at the price of that work.
"""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock, Timeout

from vgg_ablation.files import write_text

_LONGEST_COMMAND = 80  # characters of it that others are told

PACKAGE = Path(__file__).parent.parent


def source_digest(*names: str) -> str:
    """Return the SHA-256 of package files and of all Python files of package folders."""
    digest = hashlib.sha256()
    for name in names:
        place = PACKAGE / name
        for path in [place] if place.is_file() else sorted(place.rglob("*.py")):
            digest.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def repository_root() -> Path:
    """Return the repository's root, also where DVC runs an experiment in a temporary copy of it (`--temp`, queue)."""
    return Path(os.environ.get("DVC_ROOT", Path.cwd()))


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that results depend on."""
    return {name: version(name) for name in ("torch", "optuna", "numpy", "scipy", "pillow")}


def state_folder(kind: str, determinants: Mapping[str, object]) -> Path:
    """Return (and make) the folder for work of `kind` ("tune", "train") that `determinants` determine.

    The determinants must be JSON values; they are written into the folder too, for people who look.
    """
    text = json.dumps({**determinants, "versions": library_versions()}, indent=2, sort_keys=True)
    key = hashlib.sha256(text.encode()).hexdigest()[:24]
    folder = repository_root() / ".state" / kind / key
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "determinants.json").exists():
        write_text(folder / "determinants.json", text + "\n")
    return folder


@contextmanager
def locked(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold `folder`, which is made, while the body runs; wait, and say for whom, while another process holds it.

    Killing `dvc` leaves its stage running: the next `dvc repro` then waits here, and takes over what that one made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    holder = folder / "holder.txt"
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"{_read_holder(holder)} is at this very work ({folder}); waiting for it to end")
        lock.acquire()
    try:
        command = " ".join(" ".join(sys.argv).split())[:_LONGEST_COMMAND]
        write_text(holder, f"process {os.getpid()} ({command})\n")
        yield
    finally:
        lock.release()


def _read_holder(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:  # it has the lock, and has not yet said who it is
        return "another process"
