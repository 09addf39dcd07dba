"""Work on the nodes of a Ray cluster: one unit, in the driver's folder or in a copy of it.

A node that shares the repository's folder works in it. Any other node gets the packed images once, works in a folder of
its own, and sends the state folders of its unit back as they change. The `Hub` reads and writes those of the driver.
"""

import asyncio
import os
import platform
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psutil
import ray  # pyright: ignore[reportMissingImports] - installed by make cluster
from filelock import FileLock
from optuna.trial import FrozenTrial
from ray.exceptions import RayTaskError  # pyright: ignore[reportMissingImports]

from vgg_ablation.device import choose_compute
from vgg_ablation.errors import StageError
from vgg_ablation.files import file_digest, replacing, write_bytes
from vgg_ablation.images.index import CHECKSUMS_FILE
from vgg_ablation.parallel.computing import compute_unit
from vgg_ablation.parallel.units import Unit, Work
from vgg_ablation.parallel.worker import Message, run_to_message
from vgg_ablation.runtime import paths
from vgg_ablation.runtime.state import library_versions, source_digest
from vgg_ablation.text import printable
from vgg_ablation.train.execution import has_compiler
from vgg_ablation.train.trials import Trials

STORAGE = "OPTUNA_STORAGE"
_CHUNK = 64 * 2**20  # bytes of an object: Ray moves objects to the disk one by one when its memory is full
_LOCAL = ("lock", "holder.txt", "trials.db", "trials.db-journal")  # files of a state folder that stay on their machine
_OFTEN = 600.0  # seconds between two times that unfinished work is sent


@dataclass(frozen=True)
class Site:
    """The driver's folders and what its nodes need to know."""

    folder: Path
    """Working folder of the driver."""
    root: Path
    """Root of the repository."""
    token: str
    """Content of `.state/cluster.txt` in the root: a node that reads it there shares the folder."""
    images: str
    """Digest of the packed images."""
    round_size: int
    """Trials of a round."""
    storage: str | None
    """`OPTUNA_STORAGE`."""

    @property
    def mark(self) -> Path:
        """File of the token."""
        return self.root / ".state" / "cluster.txt"

    def trials(self, name: str) -> Trials:
        """Return the trials in the state folder `name` of a search, which is created."""
        folder = self.root / ".state" / "tune" / name
        folder.mkdir(parents=True, exist_ok=True)
        return Trials(folder, self.round_size, lambda _: None)

    def enter(self, folder: Path, root: Path, storage: str | None) -> None:
        """Let this process work in a folder."""
        os.chdir(folder)
        os.environ["DVC_ROOT"] = str(root)
        os.environ.pop(STORAGE, None)
        if storage:
            os.environ[STORAGE] = storage


class Hub:
    """Ray actor beside the driver, in its folders, that all nodes call. It may repeat every call, if it was lost.

    Args:
        site: the driver's folders.
        same: what all nodes must have in common, by name, as far as it is known.
    """

    def __init__(self, site: Site, same: Mapping[str, str]) -> None:
        site.enter(site.folder, site.root, site.storage)
        self._site = site
        self._same = dict(same)
        self._messages: list[tuple[int, Message]] = []
        self._arrived = asyncio.Event()
        self._packed: dict[str, list[ray.ObjectRef]] = {}

    async def agree(self, own: Mapping[str, str]) -> dict[str, str]:
        """Return what all nodes must have in common: of each name, the value that came first."""
        self._same = {**own, **self._same}
        return self._same

    async def tell(self, number: int, message: Message) -> None:
        """Receive a message of task `number`."""
        self._messages.append((number, message))
        self._arrived.set()

    async def take(self) -> list[tuple[int, Message]]:
        """Wait for messages, and return them."""
        await self._arrived.wait()
        self._arrived.clear()
        taken, self._messages = self._messages, []
        return taken

    async def packed(self) -> dict[str, list[ray.ObjectRef]]:
        """Return the files of packed images, in pieces, by path; the checksums come last."""
        folder = self._site.folder
        files = (path.relative_to(folder) for path in (folder / paths.PROCESSED).rglob("*") if path.is_file())
        for name in sorted(files, key=_checksums_last)[len(self._packed) :]:  # none if another node has asked
            starts = range(0, (folder / name).stat().st_size, _CHUNK)
            pieces = [ray.put(np.fromfile(folder / name, np.uint8, _CHUNK, offset=start)) for start in starts]
            self._packed[name.as_posix()] = pieces
        return self._packed

    async def files(self, folder: str) -> dict[str, str]:
        """Return the files in a state folder that may be sent: SHA-256 by name."""
        return {path.name: file_digest(path) for path in _files(self._site.root / ".state" / folder)}

    async def read(self, file: str) -> bytes:
        """Return the content of a file below `.state`."""
        return (self._site.root / ".state" / file).read_bytes()

    async def write(self, file: str, content: bytes) -> None:
        """Write a file below `.state`."""
        write_bytes(self._site.root / ".state" / file, content)

    async def remove(self, file: str) -> None:
        """Delete a file below `.state`."""
        (self._site.root / ".state" / file).unlink(missing_ok=True)

    async def trials(self, search: str) -> list[FrozenTrial]:
        """Return the finished trials of a search."""
        return list(self._site.trials(search).read().values())

    async def add(self, search: str, trial: FrozenTrial) -> None:
        """Store a finished trial, unless it is stored already."""
        self._site.trials(search).add(trial)


def code_in_use() -> dict[str, str]:
    """Return what decides results besides the device; the keys of state folders hold it."""
    return {"vgg_ablation": source_digest("")[:12], **library_versions()}


def run_on_node(unit: Unit, work: Work, number: int, hub: Any, site: Site) -> Message:
    """Compute a unit on a node, in the driver's folder if the node shares it."""

    def tell(kind: Literal["say", "step", "found"]) -> Callable[[str], None]:
        return lambda text: hub.tell.remote(number, Message(kind, printable(text)))

    def compute() -> str:
        device = choose_compute(work.study.compute.threads)
        compiler = "yes" if has_compiler(device.device) else "no"
        require_same(hub, {"device": str(device), "C compiler": compiler, **code_in_use()})
        if site.mark.is_file() and site.mark.read_text() == site.token:
            site.enter(site.folder, site.root, site.storage)
            return compute_unit(unit, work, device, tell("say"), tell("step"), found=tell("found"))
        copies = _Copies(hub, site, unit)

        def step(text: str) -> None:
            tell("step")(text)
            copies.send_if_due()

        text = compute_unit(unit, work, device, tell("say"), step, copies.use, tell("found"))
        copies.finish()
        return text

    return run_to_message(compute)


def require_same(hub: Any, own: Mapping[str, str]) -> None:
    """Raise StageError if this node differs from the others in what decides results."""
    first = _ask(hub.agree.remote(own))
    for name, value in own.items():
        if value != first[name]:
            raise StageError(
                f"node {platform.node()} has {name} {value}, the study's other units {first[name]}: results would "
                "differ; use nodes of one kind"
            )


class _Copies:
    """State folders of a unit on a node of its own: each comes from the driver before its use, and goes back.

    Args:
        hub: has the driver's.
        site: the driver's folders.
        unit: uses them.
    """

    def __init__(self, hub: Any, site: Site, unit: Unit) -> None:
        self._hub = hub
        self._unit = unit
        self._folders: list[Path] = []
        self._sent: dict[Path, int] = {}
        self._sent_at = time.monotonic()
        root = Path(tempfile.gettempdir(), f"vgg-ablation-{psutil.Process().username()}", site.images[:16])
        root.mkdir(parents=True, exist_ok=True)
        site.enter(root, root, None)
        self._site = site
        self._state = root / ".state"
        with FileLock(root / "lock"):
            if not (paths.PROCESSED / CHECKSUMS_FILE).exists():
                self._receive_images()

    def _receive_images(self) -> None:
        for name, pieces in _ask(self._hub.packed.remote()).items():
            with replacing(Path(name)) as beside, beside.open("wb") as file:
                for piece in pieces:
                    file.write(ray.get(piece))

    def use(self, folder: Path) -> None:
        """Make a folder's files those of the driver, where it has them; send what was done until now."""
        self.send()
        self._folders.append(folder)
        folder.mkdir(parents=True, exist_ok=True)  # nothing here has made the parent of published weights
        for name, digest in _ask(self._hub.files.remote(self._name(folder))).items():
            path = folder / name
            # The driver's is the latest that was sent; what an earlier attempt left here may be older.
            if not path.exists() or file_digest(path) != digest:
                write_bytes(path, _ask(self._hub.read.remote(self._name(path))))
            self._sent[path] = path.stat().st_mtime_ns
        if folder.parent.name == "tune":
            for trial in _ask(self._hub.trials.remote(folder.name)):
                self._trials(folder).add(trial)

    def send(self) -> None:
        """Send files that are new or have changed since the last time."""
        for path in [path for folder in self._folders for path in _files(folder)]:
            changed = path.stat().st_mtime_ns
            if self._sent.get(path) != changed:
                _ask(self._hub.write.remote(self._name(path), path.read_bytes()))
                self._sent[path] = changed
        self._sent_at = time.monotonic()

    def send_if_due(self) -> None:
        """Send unfinished work that would take long to repeat."""
        if time.monotonic() - self._sent_at >= _OFTEN:
            self.send()

    def finish(self) -> None:
        """Send the result."""
        if self._unit.kind == "trial":
            search = self._folders[0]
            _ask(self._hub.add.remote(search.name, self._trials(search).read()[self._unit.number]))
            # Its checkpoints were removed here: full-size nets would fill the driver's disk with theirs.
            for path in [path for path in self._sent if not path.exists()]:
                _ask(self._hub.remove.remote(self._name(path)))
        self.send()

    def _trials(self, search: Path) -> Trials:
        return Trials(search, self._site.round_size, lambda _: None)

    def _name(self, path: Path) -> str:
        return path.relative_to(self._state).as_posix()


def _files(folder: Path) -> list[Path]:
    """Return the files of a state folder that mean something on another machine."""
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    own = [path for path in found if path.is_file() and path.name not in _LOCAL]
    return [path for path in own if path.suffix not in (".lock", ".partial")]


def _checksums_last(path: Path) -> tuple[bool, bool, str]:
    return path.name == CHECKSUMS_FILE, path.parent == paths.PROCESSED, path.as_posix()


def _ask(reference: Any) -> Any:
    """Return the hub's answer. Raises what the hub raised."""
    try:
        return ray.get(reference)
    except RayTaskError as error:
        raise error.cause from None
