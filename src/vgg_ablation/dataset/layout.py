"""Which folders of a tree are categories, which files their images, and which folders a ready-made split.

A category is a folder that directly holds images, at any depth, and more of them than the folders within it do. So
`256_ObjectCategories/003.backpack/003_0001.jpg`, `101_ObjectCategories/camera/image_0001.jpg` and `train/dog/1.jpg` are
understood alike. Nothing vanishes: whatever is no member is a stray with a reason.
"""

import posixpath
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vgg_ablation.dataset.decode import suffixes
from vgg_ablation.dataset.signatures import image_format
from vgg_ablation.images.index import TEST, TRAIN, VALIDATION
from vgg_ablation.text import printable

FOLDER = "a folder"
"""In place of the reason why an entry is no file: it is a folder."""

_PART_FOLDERS = {
    "train": TRAIN, "training": TRAIN,
    "val": VALIDATION, "valid": VALIDATION, "validation": VALIDATION,
    "test": TEST, "testing": TEST,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or folder of the source."""

    name: str
    """Folders and file name, separated by `/`."""
    size: int
    """Bytes."""
    position: int
    """First byte in the tar; of a folder or zip, the number of the entry."""
    reason: str = ""
    """Why it is no regular file: `a link`, or `FOLDER`; empty for a regular file."""
    image: bool = False
    """True if its name or its first bytes are those of an image."""


@dataclass(frozen=True, slots=True)
class Member:
    """One file in a category's folder."""

    path: str
    """From the folder on that holds all categories: `003.backpack/003_0001.jpg`, `train/dog/1.jpg`."""
    category: str
    """Name of the category's folder: `003.backpack`."""
    offset: int
    """Position of its first byte in the tar."""
    size: int
    """Bytes."""
    part: str = ""
    """Part of the ready-made split (`PARTS`); empty where the source has none."""


@dataclass(frozen=True, slots=True)
class Stray:
    """An entry that is no member."""

    path: str
    """As of a member; the whole name outside the folder that holds all categories."""
    category: str
    """Name of the category's folder that holds it, at any depth; empty outside of them."""
    reason: str
    """Why it is no member: `a link`, `an empty category`."""


@dataclass(frozen=True, slots=True)
class Listing:
    """All that a source holds but its folders, each part sorted by path."""

    members: tuple[Member, ...]
    strays: tuple[Stray, ...]


def hidden(name: str) -> bool:
    """Return whether a file is hidden, or in a hidden folder: `.git`, `.ipynb_checkpoints`, `__MACOSX`."""
    return any((part.startswith(".") and part.strip(".")) or part == "__MACOSX" for part in name.split("/"))


def named_as_image(name: str) -> bool:
    """Return whether a file's name ends as that of an image does."""
    return f".{name.rpartition('.')[2].lower()}" in suffixes()


def is_image(name: str, head: bytes) -> bool:
    """Return whether a file's name or its first bytes are those of an image, by which a folder becomes a category."""
    return named_as_image(name) or image_format(head) is not None


def clean(name: str) -> str:
    """Return an entry's name as one line that prints, without empty and `.` folders."""
    return "/".join(part for part in printable(name).split("/") if part not in ("", "."))


class _Tree:
    """The folders of a source that are categories, and the folder that holds all of them."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        direct = Counter(_folder(e.name) for e in entries if e.image and not e.reason and not hidden(e.name))
        del direct[""]
        below: Counter[str] = Counter()
        for folder, number in direct.items():
            below.update(dict.fromkeys(_above(folder), number))
        enough = {folder for folder, number in direct.items() if number >= below[folder]}
        self._categories = {folder for folder in enough if not any(outer in enough for outer in _above(folder))}
        self.holders = {_folder(folder) for folder in self._categories}
        self.root = _common(self.holders)
        found = {folder: self._part_folder(folder) for folder in self._categories}
        self._parts = {folder: _PART_FOLDERS[name.lower()] for folder, name in found.items() if name}
        if TRAIN in self._parts.values():
            # Images without a category, such as those of a contest's test, lie in `test` itself.
            self._loose = {
                folder for folder in self._categories - self._parts.keys() if _last(folder).lower() in _PART_FOLDERS
            }
        else:
            self._loose = set()
        self.split = TRAIN in self._parts.values() and len(set(self._parts.values())) > 1

    def category(self, name: str) -> str:
        """Return the category's folder that holds the entry `name` at any depth; empty if none does."""
        return next((folder for folder in _above(name) if folder in self._categories), "")

    def part(self, folder: str) -> str:
        return self._parts.get(folder, "") if self.split else ""

    def why_stray(self, entry: Entry, folder: str) -> str:
        """Return why an entry in the category's folder `folder`, or in none, is no member; empty for a member."""
        if entry.reason:
            return entry.reason
        if hidden(entry.name):
            return "a hidden file"
        if not folder:
            return "not in a category's folder"
        if _folder(entry.name) != folder or _last(entry.name) == "..":
            return "not directly in its category's folder"
        if folder in self._loose:
            return f"in the folder {_last(folder)}, and in no category"
        if self.split and folder not in self._parts:
            return "in none of the folders train, val, test, which other images are in"
        return ""

    def _part_folder(self, category: str) -> str:
        """Return the first folder between the root and a category that is named as a part of a split."""
        outer = self.path(_folder(category)).split("/")
        return next((name for name in outer if name.lower() in _PART_FOLDERS), "")

    def path(self, name: str) -> str:
        """Return a name from the root on; the whole name outside of the root."""
        if not self.root:
            return name
        return "" if name == self.root else name.removeprefix(f"{self.root}/")


def arrange(entries: Sequence[Entry]) -> Listing:
    """Return which of the entries are images of which category, and why the others are not."""
    tree = _Tree(entries)
    members: list[Member] = []
    strays: list[Stray] = []
    filled: set[str] = set()
    for entry in entries:
        if entry.reason == FOLDER:
            filled.add(_folder(entry.name))
            continue
        filled.add(_folder(entry.name))
        folder, path = tree.category(entry.name), tree.path(entry.name)
        if reason := tree.why_stray(entry, folder):
            strays.append(Stray(path, _last(folder), reason))
        else:
            members.append(Member(path, _last(folder), entry.position, entry.size, tree.part(folder)))
    for name in {entry.name for entry in entries if entry.reason == FOLDER} - filled - {""}:
        folder = tree.category(name)
        category = _last(folder) if folder else _last(name) if _folder(name) in tree.holders else ""
        reason = "an empty category" if category and not folder else "an empty folder"
        strays.append(Stray(f"{tree.path(name)}/", category, reason))
    return Listing(
        tuple(sorted(members, key=lambda member: member.path)),
        tuple(sorted(strays, key=lambda stray: (stray.path, stray.reason))),
    )


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def _above(name: str) -> list[str]:
    """Return the folders around `name`, the outermost first."""
    parts = name.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts))]


def _common(folders: Iterable[str]) -> str:
    """Return the innermost folder that holds, or is, each of `folders`."""
    return posixpath.commonpath(list(folders) or [""])
