"""Named arrays in one .npz file, written and read one at a time: those of all nets together may not fit in memory."""

import errno
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from vgg_ablation.errors import StageError
from vgg_ablation.files import replacing

_SUFFIX = ".npy"

Write = Callable[[str, np.ndarray], None]
"""Takes the name of an array, and the array."""


@contextmanager
def writing(path: Path) -> Iterator[Write]:
    """Yield what adds an array to the file `path`, which is there, whole, when the body ends, and not before.

    numpy.load reads it. The same arrays in the same order give the same bytes. `numpy.savez` would need all at once.

    Raises:
        OSError: the file cannot be written.
        StageError: the disk is full.
    """
    with replacing(path) as beside, zipfile.ZipFile(beside, "w") as archive:

        def write(name: str, array: np.ndarray) -> None:
            with archive.open(zipfile.ZipInfo(name + _SUFFIX), "w", force_zip64=True) as file:
                npy.write_array(file, array, allow_pickle=False)

        yield write


class Arrays:
    """A file of arrays, open for reading: the names of the arrays, and each array when it is asked for."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path = path
        self._archive = archive

    @property
    def names(self) -> list[str]:
        """The arrays' names, in the order in which they were written."""
        return [name.removesuffix(_SUFFIX) for name in self._archive.namelist() if name.endswith(_SUFFIX)]

    def __getitem__(self, name: str) -> np.ndarray:
        """Read one array.

        Raises:
            StageError: there is none of that name, or it is damaged, or to be unpickled.
        """
        try:
            entry = self._archive.getinfo(name + _SUFFIX)
        except KeyError:
            raise StageError(f"{self.path} has no {name}; run the stage that writes it again") from None
        with _damage_told(self.path), self._archive.open(entry) as file:
            return npy.read_array(file, allow_pickle=False)


@contextmanager
def reading(path: Path) -> Iterator[Arrays]:
    """Open a file of arrays; none is read before it is asked for.

    Raises:
        OSError: the file cannot be read.
        StageError: it is damaged.
    """
    with _damage_told(path):
        archive = zipfile.ZipFile(path)
    with archive:
        yield Arrays(path, archive)


@contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    """Turn what zipfile and numpy raise for bytes that make no sense into a StageError."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.EINVAL:  # of a place before the file's beginning
            raise
        raise _damaged(path, error) from None
    # A size beyond all memory is such bytes too.
    except (
        zipfile.BadZipFile,
        zlib.error,
        ValueError,
        EOFError,
        NotImplementedError,
        RuntimeError,
        MemoryError,
    ) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> StageError:
    said = " ".join(str(error).split()) or type(error).__name__
    return StageError(f"{path} is damaged ({said}); run the stage that writes it again")
