"""The archive: one uncompressed tar in Caltech-256's official layout, whatever the images come from.

The layout is `256_ObjectCategories/003.backpack/003_0001.jpg`. Members are read straight from the tar and nothing is
extracted, so that no member can leave a folder; links, devices and oversized members are never followed or read.
"""

import io
import re
import shutil
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vgg_ablation.data.download import fetch, fetch_official
from vgg_ablation.data.sample import CATEGORIES, render_sample
from vgg_ablation.pipeline.console import Stage
from vgg_ablation.pipeline.errors import StageError
from vgg_ablation.pipeline.files import replacing
from vgg_ablation.pipeline.state import repository_root

SAMPLE_PER_CATEGORY = 100  # images

ROOT_FOLDER = "256_ObjectCategories"
CLUTTER = "257.clutter"
_PLACE = re.compile(r"(?:^|/)(?P<category>\d{3}\.[^/]+)/(?P<name>[^/]+)$")

LARGEST_MEMBER = 64 * 2**20  # bytes; the largest photograph of Caltech-256 has about 7 MB
"""Members above this size are no photographs of this data set, and are left out."""


@dataclass(frozen=True)
class Member:
    """One file of the archive."""

    path: str
    """Category folder and file name: `003.backpack/003_0001.jpg`."""
    category: str
    """The official folder name: `003.backpack`."""
    offset: int
    """Where its bytes begin in the tar."""
    size: int
    """Its length in bytes."""


def obtain(source: str, destination: Path, stage: Stage) -> int:
    """Bring the archive that `source` names to `destination`, whole or not at all, and return how many files it holds.

    `source` is `sample`, `caltech256`, or the path or http(s) address of a tar, or the path of a folder, in the
    official layout; relative paths are from the repository's root.

    Raises:
        StageError: nothing is there, the network does not answer, or what is there is no whole tar in that layout.
    """
    with replacing(destination) as beside:
        if source == "sample":
            _render(beside, stage)
        elif source == "caltech256":
            fetch_official(beside, stage)
        elif source.startswith(("http://", "https://")):
            fetch(source, beside, stage)
        elif (path := repository_root() / source).is_dir():
            _gather(path, beside, stage)
        elif path.is_file():
            # A copy, not a link: DVC makes its outputs read-only, and the original is not ours.
            shutil.copyfile(path, beside)
        else:
            raise StageError(
                f"data.source = {source!r}: no such file or folder (relative paths are from {repository_root()}); "
                "allowed: sample, caltech256, or the path or address of a tar or folder in the official layout"
            )
        if not (found := members(beside, named=source)):
            raise StageError(f"{source}: holds no {ROOT_FOLDER}/NNN.category/file as the official archive does")
        return len(found)


def members(archive: Path, *, named: str | None = None) -> list[Member]:
    """Return the archive's regular files that lie in a category folder, sorted by path; read to its end to be sure.

    Raises:
        StageError: it is no uncompressed tar, is cut short, or names one file twice; the line calls it `named`.
    """
    label = named or str(archive)
    found: dict[str, Member] = {}
    try:
        with tarfile.open(archive, "r:") as tar:
            for info in tar:
                if info.size < 0:  # its header would be read again and again (CVE-2025-8194)
                    raise StageError(f"{label}: names a file of {info.size} bytes; fetch it again")
                place = _PLACE.search(info.name)
                if not info.isreg() or place is None:
                    continue
                path = f"{place['category']}/{place['name']}"
                if path in found:
                    raise StageError(f"{label}: names {path} twice")
                found[path] = Member(path, place["category"], info.offset_data, info.size)
            end = tar.offset
        with archive.open("rb") as file:
            file.seek(end)
            # tarfile takes a cut between two files, and a damaged header, for the end; a block of zeros is the end.
            whole = file.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE)
    except tarfile.TarError as error:
        raise StageError(f"{label}: not a whole, uncompressed tar ({error}); fetch it again") from None
    if not whole:
        raise StageError(f"{label}: cut short or damaged at byte {end:,}; fetch it again")
    return [found[path] for path in sorted(found)]


def _render(destination: Path, stage: Stage) -> None:
    with stage.task("rendering", len(CATEGORIES) * SAMPLE_PER_CATEGORY, quiet=5.0) as task:
        _write_tar(destination, render_sample(SAMPLE_PER_CATEGORY), task.advance)


def _gather(folder: Path, destination: Path, stage: Stage) -> None:
    # The folder may be 256_ObjectCategories itself or hold it; symbolic links are not followed.
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    inside = [(place, path) for path in paths if (place := _PLACE.search(path.relative_to(folder.parent).as_posix()))]
    with stage.task("gathering", len(inside), quiet=5.0) as task:
        files = ((f"{ROOT_FOLDER}/{place['category']}/{place['name']}", path.read_bytes()) for place, path in inside)
        _write_tar(destination, files, task.advance)


def _write_tar(destination: Path, files: Iterator[tuple[str, bytes]], wrote: Callable[[], None]) -> None:
    """Write `files` as a tar whose bytes depend on their names and contents alone: no owners, no times."""
    with tarfile.open(destination, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
            wrote()
