"""Named arrays in one .npz file, the project's only reader and writer of them. Imports no torch.

Arrays are written and read one at a time, because those of all nets together may not fit in memory: `numpy.savez` takes
all arrays at once. `numpy.load` stops reading where an array's header says, so that a damaged header passes the
checksum unnoticed.
"""

import errno
import io
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
    """Yield a function that adds an array to the file `path`, which appears, complete, when the body ends.

    `numpy.load` can read the file. The same arrays in the same order give the same bytes.

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
    """An open file of arrays; each array is read when it is asked for."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path = path
        self.names = [name.removesuffix(_SUFFIX) for name in archive.namelist() if name.endswith(_SUFFIX)]
        """Names of the arrays in the order in which they were written."""
        self._archive = archive

    def __getitem__(self, name: str) -> np.ndarray:
        """Read one array, compare its bytes with their checksum (CRC-32), and unpickle nothing.

        Raises:
            StageError: the file has no such array, or it is damaged or pickled.
        """
        try:
            entry = self._archive.getinfo(name + _SUFFIX)
        except KeyError:
            raise StageError(f"{self.path} has no {name}; rerun the stage that writes it") from None
        with _damage_as_stage_error(self.path):
            return npy.read_array(io.BytesIO(self._archive.read(entry)), allow_pickle=False)


@contextmanager
def reading(path: Path) -> Iterator[Arrays]:
    """Open a file of arrays.

    Raises:
        OSError: the file cannot be read.
        StageError: it is damaged.
    """
    with _damage_as_stage_error(path):
        archive = zipfile.ZipFile(path)
    with archive:
        yield Arrays(path, archive)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read all arrays of a file, in the order in which they were written. Raises as `reading` and `Arrays`."""
    with reading(path) as arrays:
        return {name: arrays[name] for name in arrays.names}


@contextmanager
def _damage_as_stage_error(path: Path) -> Iterator[None]:
    """Turn what zipfile and numpy raise for damaged bytes into a StageError."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.EINVAL:  # a position before the file's beginning
            raise
        raise _damaged(path, error) from None
    # MemoryError: a size beyond all memory.
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, RuntimeError, MemoryError) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> StageError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return StageError(f"{path} is damaged ({reason}); rerun the stage that writes it")
