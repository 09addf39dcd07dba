"""The images' archive, obtained from any source as one uncompressed tar in Caltech-256's official layout."""

import io
import os
import shutil
import stat
import tarfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from vgg_ablation.dataset.archive import CATEGORY, ROOT_FOLDER, members, place
from vgg_ablation.dataset.download import fetch, fetch_official
from vgg_ablation.dataset.sample import CATEGORIES, SAMPLE_PER_CATEGORY, render_sample
from vgg_ablation.errors import StageError
from vgg_ablation.files import replacing, require_space
from vgg_ablation.runtime import messages
from vgg_ablation.runtime.console import Console
from vgg_ablation.runtime.state import repository_root
from vgg_ablation.text import printable, without_credentials


def obtain(source: str, destination: Path, console: Console) -> int:
    """Write the archive that `source` names to `destination`, complete or not at all; return its number of files.

    `source` is `sample`, `caltech256`, the http(s) address or path of a tar, or the path of a folder, in the official
    layout; relative paths are from the repository's root.

    Raises:
        StageError: there is nothing, the network does not answer, or it is no complete tar in that layout.
    """
    with replacing(destination) as beside:
        if source == "sample":
            _render(beside, console)
        elif source == "caltech256":
            fetch_official(beside, console)
        elif source.startswith(("http://", "https://")):
            fetch(source, beside, console)
        elif (path := repository_root() / source).is_dir():
            _gather(path, beside, console)
        elif path.is_file():
            require_space(destination.parent, path.stat().st_size)
            shutil.copyfile(path, beside)  # no link: DVC makes its outputs read-only, and the original is not ours
        else:
            raise StageError(
                f"data.source = {source!r}: no such file or folder (relative paths are from {repository_root()}); "
                "allowed: sample, caltech256, or the path or address of a tar or folder in the official layout"
            )
        shown = without_credentials(source)
        count = len(members(beside, named=shown))
        if not count:
            raise StageError(
                f"{shown}: contains no file {ROOT_FOLDER}/NNN.category/NAME, the layout of the official archive"
            )
    return count


def _render(destination: Path, console: Console) -> None:
    with console.task(messages.RENDERING, len(CATEGORIES) * SAMPLE_PER_CATEGORY, quiet=5.0) as task:
        files = ((name, io.BytesIO(content)) for name, content in render_sample(SAMPLE_PER_CATEGORY))
        _write_tar(destination, files, task.advance)


def _gather(folder: Path, destination: Path, console: Console) -> None:
    """Write the files in the category folders of `folder`, itself `256_ObjectCategories` or above it, as a tar."""
    inside: list[tuple[Path, str]] = []
    empty: set[str] = set()
    filled: set[str] = set()
    size = special = outside = 0
    for path, status in _walk(folder):
        category, rest = place(path.relative_to(folder.parent).as_posix())
        if stat.S_ISDIR(status.st_mode):
            if CATEGORY.fullmatch(path.name):
                empty.add(f"{ROOT_FOLDER}/{path.name}")
        elif not stat.S_ISREG(status.st_mode):
            special += 1
        elif category:
            inside.append((path, f"{ROOT_FOLDER}/{category}/{rest}"))
            filled.add(f"{ROOT_FOLDER}/{category}")
            size += status.st_size
        else:
            outside += 1
    if special or outside:
        console.say(messages.left_out_of_folder(printable(str(folder)), special, outside))
    require_space(destination.parent, size)

    def files() -> Iterator[tuple[str, BinaryIO]]:
        for path, name in sorted(inside):
            try:
                file = path.open("rb")
            except OSError as error:
                raise _unreadable(error) from None
            with file:
                yield name, file

    with console.task(messages.GATHERING, len(inside), quiet=5.0) as task:
        _write_tar(destination, files(), task.advance, folders=sorted(empty - filled))


def _walk(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield all files and folders below `folder` with their status; links are not followed."""
    folders = [folder]
    try:
        while folders:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(Path(entry))
                    yield Path(entry), entry.stat(follow_symlinks=False)
    except OSError as error:
        raise _unreadable(error) from None


def _unreadable(error: OSError) -> StageError:
    return StageError(
        f"{printable(str(error.filename))}: cannot be read ({error.strerror}); make it readable or remove it"
    )


def _write_tar(
    destination: Path, files: Iterable[tuple[str, BinaryIO]], wrote: Callable[[], None], folders: Iterable[str] = ()
) -> None:
    """Write `files` and empty `folders` as a tar whose bytes depend on names and contents alone."""
    with tarfile.open(destination, "w", format=tarfile.PAX_FORMAT, encoding="utf-8") as tar:
        for name, file in files:
            info = tarfile.TarInfo(name)
            info.size = file.seek(0, os.SEEK_END)
            file.seek(0)
            tar.addfile(info, file)
            wrote()
        for name in folders:
            info = tarfile.TarInfo(name)
            info.type = tarfile.DIRTYPE
            tar.addfile(info)
