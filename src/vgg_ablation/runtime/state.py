"""State for resuming, outside DVC's outputs (which DVC deletes before a stage runs).

Each unit of work has a folder under `.state/` in the repository's root. The folder's name is a hash of everything that
determines the result: settings, seeds, the images' digest, source code, library versions, device. An existing folder
therefore belongs to the same work, started earlier. It may be deleted at any time; the work is then repeated.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock

from vgg_ablation.files import write_text

PACKAGE = Path(__file__).parent.parent

FORMAT = 1
"""Version of the files in the folders. Increase it when they change, so that files of the old format are not read."""


def source_digest(*names: str) -> str:
    """Return the SHA-256 of package files and of all Python files of package folders."""
    digest = hashlib.sha256()
    for name in names:
        place = PACKAGE / name
        for path in [place] if place.is_file() else sorted(place.rglob("*.py")):
            digest.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def repository_root() -> Path:
    """Return the repository's root, also where DVC runs an experiment in a temporary copy of it (`--temp`, queue)."""
    return Path(os.environ.get("DVC_ROOT", Path.cwd()))


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that results depend on."""
    return {name: version(name) for name in ("torch", "optuna", "numpy", "scipy", "pillow")}


def state_folder(kind: str, determinants: Mapping[str, object]) -> Path:
    """Return the folder, created if necessary, for work of `kind` ("tune", "train") with these determinants.

    The determinants must be JSON values. They are also written to `determinants.json` in the folder, for people.
    """
    key = {**determinants, "format": FORMAT, "versions": library_versions()}
    text = json.dumps(key, indent=2, sort_keys=True)
    folder = repository_root() / ".state" / kind / hashlib.sha256(text.encode()).hexdigest()[:24]
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "determinants.json").exists():
        # Machines that share the folder take each other's temporary files for those of processes that have ended.
        with FileLock(folder / "determinants.lock"):
            write_text(folder / "determinants.json", text + "\n")
    return folder
