"""What became of every test image, net by net: the report's statistics are made from these."""

import io
import re
import zipfile
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vgg_ablation.errors import StageError

_OF_SPLIT = re.compile(r"split/\d+/(images|labels)")
_OF_NET = re.compile(r"[\w+]+/\w+/\d+/\w+/(class|confidence|true)")
_ABOVE_ONE = 1e-4  # of a sum of 32-bit posteriors


@dataclass(frozen=True)
class Outcome:
    """What one run of a net, or of a fusion of nets, made of its N test images under one protocol."""

    images: np.ndarray
    """(N,) int, image numbers: rows of `index.csv`."""
    labels: np.ndarray
    """(N,) int, the true classes."""
    predicted: np.ndarray
    """(N,) int, the classes with the largest posteriors."""
    confidence: np.ndarray
    """(N,) float, the largest posteriors."""
    true: np.ndarray
    """(N,) float, the posteriors of the true classes."""

    @property
    def wrong(self) -> np.ndarray:
        """(N,) bool, whether the prediction is not the true class."""
        return self.predicted != self.labels


@dataclass(frozen=True)
class Outcomes:
    """The outcomes of all nets and fusions; `name` is a net's, or those of a fusion's members joined by `+`."""

    arrays: Mapping[str, np.ndarray]
    """As they stand in `outcomes.npz`."""

    def has(self, name: str, scale: str, run: int, protocol: str) -> bool:
        """Tell whether there is such an outcome."""
        return f"{name}/{scale}/{run}/{protocol}/class" in self.arrays

    def only(self, names: Collection[str]) -> "Outcomes":
        """Return the outcomes of these nets and fusions, with all splits."""
        kept = {"split", *names}
        return Outcomes({key: array for key, array in self.arrays.items() if key.split("/")[0] in kept})

    def of(self, name: str, scale: str, run: int, protocol: str) -> Outcome:
        """Return an outcome. Raises KeyError where there is none."""
        key = f"{name}/{scale}/{run}/{protocol}"
        return Outcome(
            self.arrays[f"split/{run}/images"],
            self.arrays[f"split/{run}/labels"],
            self.arrays[f"{key}/class"],
            self.arrays[f"{key}/confidence"],
            self.arrays[f"{key}/true"],
        )


def read_outcomes(path: Path) -> Outcomes:
    """Read `outcomes.npz` as the evaluation writes it; nothing in it is unpickled.

    Raises:
        OSError: the file cannot be read.
        StageError: it is damaged, or holds what cannot be outcomes; the message names the array.
    """
    # Out of memory: a damaged archive may send a reader to where a file has nothing, which on disk is an OSError.
    content = io.BytesIO(path.read_bytes())
    try:
        with zipfile.ZipFile(content) as archive:
            # Each member whole, and so held to its checksum, before anything in it is believed.
            arrays = {
                name.removesuffix(".npy"): np.lib.format.read_array(io.BytesIO(archive.read(name)), allow_pickle=False)
                for name in archive.namelist()
            }
    except (ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error):
        raise StageError(f"{path} is damaged; run the stage that writes it again") from None
    for name, array in arrays.items():
        if wrong := _wrong(name, array, arrays):
            raise StageError(f"{path}: {name} {wrong}; run the stage that writes it again")
    return Outcomes(arrays)


def joined(parts: Mapping[Path, Outcomes]) -> Outcomes:
    """Return the outcomes of several files, by the path of each, as those of one.

    Raises:
        StageError: two files have other test images, or other classes of them, in the same run.
    """
    arrays: dict[str, np.ndarray] = {}
    source: dict[str, Path] = {}
    for path, part in parts.items():
        for name, array in part.arrays.items():
            if name in arrays and not np.array_equal(arrays[name], array):
                raise StageError(f"{path}: {name} differs from that in {source[name]}: they are not of one study")
            arrays[name] = array
            source[name] = path
    return Outcomes(arrays)


def _wrong(name: str, array: np.ndarray, arrays: Mapping[str, np.ndarray]) -> str:
    """Return what is wrong with an array; nothing if it is as it should be."""
    if not (_OF_SPLIT.fullmatch(name) or _OF_NET.fullmatch(name)):
        return "is no name of an outcome"
    of_split = name.startswith("split/")
    images = arrays.get(f"split/{name.split('/')[1 if of_split else 2]}/images")
    if images is None or array.shape != images.shape or array.ndim != 1 or not len(array):
        return "is not as long as the list of its test images"
    if name.endswith(("/confidence", "/true")):
        if array.dtype.kind != "f" or not ((array >= 0) & (array <= 1 + _ABOVE_ONE)).all():
            return "holds what is no probability"
    elif array.dtype.kind not in "iu" or array.min() < 0:
        return "holds what is no number of a class or an image"
    if name.endswith("/images") and len(np.unique(array)) < len(array):
        return "names an image twice"
    if any(f"{name.rpartition('/')[0]}/{part}" not in arrays for part in _parts(of_split)):
        return "lacks its counterparts"
    return ""


def _parts(of_split: bool) -> tuple[str, ...]:
    return ("images", "labels") if of_split else ("class", "confidence", "true")
