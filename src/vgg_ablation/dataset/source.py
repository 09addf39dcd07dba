"""The images' archive, obtained from any source as one uncompressed tar.

A tar keeps its bytes, a compressed one is decompressed, and folders and zips are written as a tar: their images, and
names alone of all that is left out, so that every source gives the same list as a tar of it would.
"""

import bz2
import gzip
import io
import lzma
import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, closing, suppress
from pathlib import Path
from typing import IO, BinaryIO

from vgg_ablation.dataset.archive import list_archive
from vgg_ablation.dataset.download import fetch, fetch_official
from vgg_ablation.dataset.layout import FOLDER, Entry, Listing, arrange, clean, hidden, is_image, named_as_image
from vgg_ablation.dataset.sample import CATEGORIES, SAMPLE_PER_CATEGORY, render_sample
from vgg_ablation.dataset.signatures import HEAD, recognise
from vgg_ablation.errors import StageError
from vgg_ablation.files import replacing, require_space
from vgg_ablation.runtime import messages
from vgg_ablation.runtime.console import Console
from vgg_ablation.runtime.state import repository_root
from vgg_ablation.text import printable, without_credentials

_MOST_EXPANDED = 100
"""Bytes that one byte of a zip or compressed tar may become, beyond `_ALWAYS_EXPANDED`; more is made to do harm."""
_ALWAYS_EXPANDED = 2**30
_CHUNK = 2**20
_Opened = Callable[[], AbstractContextManager[IO[bytes]]]
_EXPANDED = {"gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open}


def obtain(source: str, destination: Path, console: Console) -> Listing:
    """Write the archive that `source` names to `destination`, complete or not at all; return what it holds.

    `source` is `sample`, `caltech256`, or the path or http(s) address of images in folders: the path of a folder, or a
    tar, compressed or not, or a zip. Relative paths are from the repository's root. What was found and left out is said
    before anything is copied, except of a compressed tar.

    Raises:
        StageError: there is nothing, the network does not answer, or it holds no images in folders.
    """
    shown = without_credentials(source)
    announced = source == "sample"
    with replacing(destination) as beside:
        if source == "sample":
            _render(beside, console)
        elif source == "caltech256":
            fetch_official(beside, console)
        elif source.startswith(("http://", "https://")):
            fetch(source, beside, console)
            if _kind(beside, shown) != "tar":
                fetched = beside.with_name(f".{destination.name}.source.{os.getpid()}.partial")
                beside.replace(fetched)
                try:
                    announced = _convert(fetched, beside, shown, console)
                finally:
                    fetched.unlink(missing_ok=True)
        elif (path := native(source)).is_dir():
            _write(_Folder(path), beside, shown, console)
            announced = True
        elif not path.is_file():
            raise StageError(
                f"data.source = {source!r}: no such file or folder (relative paths are from {repository_root()}); "
                "allowed: sample, caltech256, or the path or address of a folder, tar or zip of images in folders"
            )
        elif _kind(path, shown) != "tar":
            announced = _convert(path, beside, shown, console)
        else:
            listing = list_archive(path, named=shown)
            _announce(listing, shown, console)
            require_space(destination.parent, path.stat().st_size)
            shutil.copyfile(path, beside)  # no link: DVC makes its outputs read-only, and the original is not ours
            return listing
        listing = list_archive(beside, named=shown)
        if not announced:
            _announce(listing, shown, console)
    return listing


def look(source: str, console: Console) -> Listing:
    """Return what a source holds; a folder and an uncompressed tar are not copied for it.

    Raises:
        StageError: as `obtain`.
    """
    path, shown = native(source), without_credentials(source)
    if path.is_dir():
        listing = arrange(_Folder(path).entries)
    elif path.is_file() and _kind(path, shown) == "tar":
        listing = list_archive(path, named=shown)
    else:
        state = repository_root() / ".state"
        state.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=state, prefix="look-") as folder:
            return obtain(source, Path(folder) / "images.tar", console)
    _announce(listing, shown, console)
    return listing


def native(source: str) -> Path:
    """Return the path that `source` names: a file's name is UTF-8 whatever the locale says."""
    return repository_root() / os.fsdecode(source.encode("utf-8", "surrogateescape"))


def _announce(listing: Listing, shown: str, console: Console) -> None:
    """Say what was found and what was left out, once.

    Raises:
        StageError: there is no image in a folder.
    """
    left_out = Counter(stray.reason for stray in listing.strays)
    first = {stray.reason: stray.path for stray in reversed(listing.strays)}
    said = messages.left_out(left_out, first) if left_out else ""
    if not listing.members:
        raise StageError(f"{shown}: contains no folder of images, such as CATEGORY/IMAGE.jpg; {said}".rstrip("; "))
    categories = Counter(member.category for member in listing.members)
    parts = Counter(member.part for member in listing.members if member.part)
    console.say(messages.images_found(shown, categories, parts))
    if said:
        console.say(f"{shown}: {said}")


def _kind(path: Path, shown: str) -> str:
    """Return `zip`, the compression of a tar, or `tar` for a tar or what is unknown.

    Raises:
        StageError: it is something else, which has a name.
    """
    with path.open("rb") as file:
        found = recognise(file.read(HEAD))
    if not found:
        return "tar"
    if found[0] in ("image", "other"):
        advice = "; unpack it and name the folder" if "archive" in found[1] and "page" not in found[1] else ""
        raise StageError(f"{shown}: neither tar nor zip, but {found[1]}{advice}")
    return found[0] if found[0] == "zip" else found[1]


def _convert(path: Path, destination: Path, shown: str, console: Console) -> bool:
    """Write the zip or compressed tar at `path` as a tar; return whether its content was announced.

    Raises:
        StageError: it is damaged, encrypted, or expands beyond all measure.
    """
    kind = _kind(path, shown)
    try:
        if kind == "zip":
            with zipfile.ZipFile(path) as opened:
                _write(_Zip(opened, shown), destination, shown, console)
        else:
            _decompress(path, kind, destination, shown, console)
    except (StageError, MemoryError):
        raise
    except Exception as error:  # hostile bytes make these libraries raise errors of many kinds
        if isinstance(error, OSError) and error.errno:
            raise
        said = printable(str(error) or type(error).__name__, 200)
        raise StageError(f"{shown}: damaged or unsupported archive ({said})") from None
    return kind == "zip"


def _most(size: int) -> int:
    return _ALWAYS_EXPANDED + _MOST_EXPANDED * size


def _expands(shown: str) -> StageError:
    return StageError(
        f"{shown}: expands to more than {_MOST_EXPANDED} times its size, as no photographs do; "
        "unpack it and name the folder if you trust it"
    )


def _decompress(path: Path, kind: str, destination: Path, shown: str, console: Console) -> None:
    size = path.stat().st_size
    console.say(messages.decompressing(shown, size))
    require_space(destination.parent, size)
    with closing(_EXPANDED[kind](path, "rb")) as content, destination.open("wb") as file:
        while chunk := content.read(_CHUNK):
            file.write(chunk)
            if file.tell() > _most(size):
                raise _expands(shown)


class _Folder:
    """The files below a folder, in the order of their names."""

    def __init__(self, folder: Path) -> None:
        found = sorted(
            (os.fsencode(path.relative_to(folder)).decode("utf-8", "surrogateescape"), path, status)
            for path, status in _walk(folder)
        )
        self.names = [name for name, _, _ in found]
        self._paths = [path for _, path, _ in found]
        self.entries = [
            _entry(number, name, status.st_mode, status.st_size, lambda path=path: self._open(path))
            for number, (name, path, status) in enumerate(found)
        ]

    def open(self, number: int) -> AbstractContextManager[IO[bytes]]:
        return self._open(self._paths[number])

    def _open(self, path: Path) -> BinaryIO:
        try:
            return path.open("rb")
        except OSError as error:
            raise _unreadable(error) from None


class _Zip:
    """The files in a zip, in its order."""

    def __init__(self, opened: zipfile.ZipFile, shown: str) -> None:
        self._zip, self._infos = opened, opened.infolist()
        size = Path(str(opened.filename)).stat().st_size
        if sum(info.file_size for info in self._infos) > _most(size):
            raise _expands(shown)
        if any(info.flag_bits & 1 for info in self._infos):
            raise StageError(f"{shown}: encrypted; unpack it and name the folder")
        self.names = [_zip_name(info) for info in self._infos]
        self.entries = [
            _entry(number, name, _zip_mode(info), info.file_size, lambda info=info: self._zip.open(info))
            for number, (name, info) in enumerate(zip(self.names, self._infos, strict=True))
        ]

    def open(self, number: int) -> AbstractContextManager[IO[bytes]]:
        return self._zip.open(self._infos[number])


def _zip_name(info: zipfile.ZipInfo) -> str:
    """Return a name in a zip: UTF-8 where it is, also without the flag that says so, else the DOS encoding."""
    name = info.filename
    if not info.flag_bits & 0x800:
        with suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return name if "/" in name else name.replace("\\", "/")


def _zip_mode(info: zipfile.ZipInfo) -> int:
    """Return a file's mode as systems of the Unix kind write it; else that of a folder or a regular file."""
    return (info.external_attr >> 16 if info.create_system == 3 else 0) or (
        stat.S_IFDIR if info.is_dir() else stat.S_IFREG
    )


def _entry(
    number: int, name: str, mode: int, size: int, opened: Callable[[], AbstractContextManager[IO[bytes]]]
) -> Entry:
    kind, name = stat.S_IFMT(mode), clean(name)
    reasons = {stat.S_IFDIR: FOLDER, stat.S_IFLNK: "a link", stat.S_IFREG: "", 0: ""}
    reason, image = reasons.get(kind, "a device or pipe"), False
    if not reason and not hidden(name) and not (image := named_as_image(name)):
        with opened() as file:
            image = is_image(name, file.read(HEAD))
    return Entry(name, size, number, reason, image)


def _write(content: "_Folder | _Zip", destination: Path, shown: str, console: Console) -> None:
    """Write the images of a folder or zip as a tar, and names without bytes of what is left out."""
    listing = arrange(content.entries)
    _announce(listing, shown, console)
    require_space(destination.parent, sum(member.size for member in listing.members))
    chosen = {member.offset for member in listing.members}
    types = {FOLDER: tarfile.DIRTYPE, "a link": tarfile.SYMTYPE, "a device or pipe": tarfile.FIFOTYPE}

    def files() -> Iterator[tuple[str, bytes, IO[bytes]]]:
        for entry in content.entries:
            name, kind = content.names[entry.position], types.get(entry.reason, tarfile.REGTYPE)
            if entry.position in chosen:
                with content.open(entry.position) as file:
                    yield name, kind, file
                advance()
            else:
                yield name, kind, io.BytesIO()

    with console.task(messages.GATHERING, len(chosen), quiet=5.0) as task:
        advance = task.advance
        _write_tar(destination, files())


def _render(destination: Path, console: Console) -> None:
    with console.task(messages.RENDERING, len(CATEGORIES) * SAMPLE_PER_CATEGORY, quiet=5.0) as task:

        def files() -> Iterator[tuple[str, bytes, IO[bytes]]]:
            for name, content in render_sample(SAMPLE_PER_CATEGORY):
                yield name, tarfile.REGTYPE, io.BytesIO(content)
                task.advance()

        _write_tar(destination, files())


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


def _write_tar(destination: Path, entries: Iterable[tuple[str, bytes, IO[bytes]]]) -> None:
    """Write entries of a name, a type and content as a tar whose bytes depend on these alone."""
    with tarfile.open(destination, "w", format=tarfile.PAX_FORMAT, encoding="utf-8") as tar:
        for name, kind, file in entries:
            info = tarfile.TarInfo(name)
            info.type = kind
            info.size = file.seek(0, os.SEEK_END)
            file.seek(0)
            tar.addfile(info, file)
