"""Folders named as the source: what is no regular file, lies deep or bears an odd name is said, never lost."""

import csv
import os
import socket
import tarfile
import tracemalloc
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from unittest.mock import Mock

import pytest
from PIL import Image

from vgg_ablation.dataset import archive
from vgg_ablation.dataset.archive import Listing, list_archive, obtain
from vgg_ablation.dataset.preprocess import preprocess
from vgg_ablation.errors import StageError
from vgg_ablation.images.index import EXCLUDED_FILE
from vgg_ablation.runtime.console import Stage
from vgg_ablation.runtime.settings import DataSettings, ScalesSettings

Draw = Callable[..., Image.Image]
Encode = Callable[..., bytes]

SCALES = ScalesSettings.model_validate(
    {
        "fixed": {"train": 32, "test": [32, 33, 34]},
        "large": {"train": 40, "test": [40, 41, 42]},
        "jitter": {"train": [36, 48], "test": [36, 40, 48]},
    }
)
ROOT = "256_ObjectCategories"
PLACES = [f"{category}/{number}.png" for category in ("003.backpack", "004.bat") for number in range(3)]
FILES = {f"{ROOT}/003.backpack/1.jpg": b"first", f"{ROOT}/004.bat/1.jpg": b"second"}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder of two categories with a file each."""
    return holding(tmp_path / "mine", FILES)


def holding(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    return tmp_path / "raw" / "images.tar"


def gathered(source: Path, destination: Path, stage: Stage) -> Listing:
    obtain(str(source), destination, stage)
    return list_archive(destination)


def strays(listing: Listing) -> list[tuple[str, str]]:
    return [(stray.path, stray.reason) for stray in listing.strays]


def refusal(source: Path, destination: Path, stage: Stage) -> str:
    with pytest.raises(StageError) as error:
        obtain(str(source), destination, stage)
    return str(error.value)


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return what lies beneath a folder: each path's kind and rights, and a regular file's bytes."""
    return {
        path.as_posix(): (path.lstat().st_mode, path.read_bytes() if path.is_file() else b"")
        for path in folder.rglob("*")
    }


# What is gathered.


def test_files_deeper_than_their_category_are_listed(source: Path, destination: Path, stage: Stage) -> None:
    """As in the official 056.dog/greg."""
    holding(source, {f"{ROOT}/004.bat/greg/2.jpg": b"x", f"{ROOT}/004.bat/greg/more/3.jpg": b"x"})
    listing = gathered(source, destination, stage)
    assert strays(listing) == [
        (path, "not directly in its category's folder") for path in ("004.bat/greg/2.jpg", "004.bat/greg/more/3.jpg")
    ]
    assert len(listing.members) == 2


def test_an_empty_category_folder_is_listed(source: Path, destination: Path, stage: Stage) -> None:
    (source / ROOT / "005.empty").mkdir()
    assert strays(gathered(source, destination, stage)) == [("005.empty/", "an empty category")]


def test_a_category_with_a_file_is_not_empty(source: Path, destination: Path, stage: Stage) -> None:
    assert strays(gathered(source, destination, stage)) == []


def test_a_desktops_own_files_are_members_that_are_no_images_or_lie_beside(
    source: Path, destination: Path, stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    holding(source, {f"{ROOT}/.DS_Store": b"x", f"{ROOT}/003.backpack/.DS_Store": b"x"})
    paths = [member.path for member in gathered(source, destination, stage).members]
    assert paths == ["003.backpack/.DS_Store", "003.backpack/1.jpg", "004.bat/1.jpg"]
    assert "left out 0 links and special files, and 1 files" in capsys.readouterr().out


@pytest.mark.parametrize("name", [b"caf\xe9.jpg", b"a\nb.jpg", b"\x1b[2J.jpg", "\u202egpj.exe".encode()])
def test_a_file_of_an_odd_name_is_gathered_under_a_name_that_prints(
    source: Path, destination: Path, stage: Stage, name: bytes
) -> None:
    path = os.fsencode(source / ROOT / "003.backpack") + b"/" + name
    try:
        Path(os.fsdecode(path)).write_bytes(b"odd")
    except OSError:
        pytest.skip("this file system has no such names")
    listing = gathered(source, destination, stage)
    assert len(listing.members) == 3
    assert all(member.path.isprintable() for member in listing.members)


def test_a_large_file_is_not_held_in_memory(source: Path, destination: Path, stage: Stage) -> None:
    with (source / ROOT / "003.backpack" / "2.jpg").open("wb") as file:
        file.truncate(32 * 2**20)
    tracemalloc.start()
    try:
        obtain(str(source), destination, stage)
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()


def test_the_summary_counts_what_the_table_of_excluded_files_lists(
    source: Path, destination: Path, stage: Stage, tmp_path: Path, picture: Draw, encoded: Encode
) -> None:
    pictures = {f"{ROOT}/{place}": encoded(picture(40, 36, seed)) for seed, place in enumerate(PLACES)}
    holding(source, pictures | {f"{ROOT}/004.bat/greg/2.jpg": b"x", f"{ROOT}/004.bat/RENAME2": b"mv a b"})
    (source / ROOT / "005.empty").mkdir()
    obtain(str(source), destination, stage)
    settings = DataSettings(
        source=str(source), categories="all", clutter=False, train_per_class=2, validation_fraction=0.5,
        splits=1, seed=0,
    )  # fmt: skip
    summary = preprocess(destination, settings, SCALES, tmp_path / "processed", stage)
    with (tmp_path / "processed" / EXCLUDED_FILE).open(encoding="utf-8", newline="") as file:
        reasons = Counter(row["reason"] for row in csv.DictReader(file))
    assert summary["excluded_reasons"] == reasons
    assert (summary["excluded"], summary["images"]) == (reasons.total(), len(PLACES))
    assert len(reasons) == 3


# What is left out.


def test_links_and_special_files_are_left_out_and_counted(
    source: Path, destination: Path, stage: Stage, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    category = source / ROOT / "003.backpack"
    (category / "file").symlink_to(category / "1.jpg")
    (category / "broken").symlink_to("nowhere")
    (source / ROOT / "005.linked").symlink_to(category)
    os.mkfifo(category / "pipe")  # to open it would wait for ever
    monkeypatch.chdir(category)  # the path of a socket may have some hundred bytes
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket")
        listing = gathered(source, destination, stage)
    assert [member.path for member in listing.members] == ["003.backpack/1.jpg", "004.bat/1.jpg"]
    assert f"{source}: left out 5 links and special files, and 0 files" in capsys.readouterr().out


def test_a_sound_folder_has_nothing_left_out(
    source: Path, destination: Path, stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    obtain(str(source), destination, stage)
    assert "left out" not in capsys.readouterr().out


@pytest.mark.timeout(10)
def test_a_link_that_leads_back_up_is_not_followed(source: Path, destination: Path, stage: Stage) -> None:
    (source / ROOT / "003.backpack" / "up").symlink_to(source)
    assert len(gathered(source, destination, stage).members) == 2


def test_a_folder_of_nothing_but_links_is_refused(
    source: Path, tmp_path: Path, destination: Path, stage: Stage
) -> None:
    (tmp_path / "linked" / ROOT).mkdir(parents=True)
    (tmp_path / "linked" / ROOT / "003.backpack").symlink_to(source / ROOT / "003.backpack")
    assert "holds no" in refusal(tmp_path / "linked", destination, stage)


def test_a_gathered_folder_is_left_as_it_was(source: Path, destination: Path, stage: Stage) -> None:
    (source / ROOT / "003.backpack" / "link").symlink_to("1.jpg")
    before = tree(source)
    obtain(str(source), destination, stage)
    assert tree(source) == before


def test_nothing_but_the_tar_is_written(source: Path, tmp_path: Path, destination: Path, stage: Stage) -> None:
    before = tree(tmp_path)
    obtain(str(source), destination, stage)
    assert tree(tmp_path).keys() - before.keys() == {destination.as_posix(), destination.parent.as_posix()}


# What cannot be read, or written.


def test_a_file_that_cannot_be_read_is_named(
    source: Path, destination: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the rights of a file do not hold for root, the refusal is made up."""
    secret, opened = source / ROOT / "004.bat" / "1.jpg", Path.open

    def refuse(path: Path, *arguments: object, **options: object) -> object:
        if path == secret:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **options)  # pyright: ignore[reportArgumentType, reportCallIssue]

    monkeypatch.setattr(Path, "open", refuse)
    said = refusal(source, destination, stage)
    assert said == f"{secret}: cannot be read (Permission denied); make it readable or take it away"


def test_folders_too_deep_to_walk_are_refused(
    source: Path, destination: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until Python 3.12 a thousand in one another are."""
    monkeypatch.setattr(os, "walk", Mock(side_effect=RecursionError))
    assert refusal(source, destination, stage) == f"{source}: folders lie too deep in one another"


def test_a_folder_that_cannot_be_read_is_named(
    source: Path, destination: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, scanned = source / ROOT / "004.bat", os.scandir

    def refuse(path: str) -> object:
        if Path(path) == secret:
            raise PermissionError(13, "Permission denied", path)
        return scanned(path)

    monkeypatch.setattr(os, "scandir", refuse)
    said = refusal(source, destination, stage)
    assert said == f"{secret}: cannot be read (Permission denied); make it readable or take it away"


def test_a_disk_that_cannot_hold_the_copy_is_told_before_it_is_begun(
    tmp_path: Path, destination: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tarfile.open(tmp_path / "images.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo(f"{ROOT}/003.backpack/1.jpg"))
    monkeypatch.setattr("shutil.disk_usage", lambda path: Mock(free=1000))
    monkeypatch.setattr("shutil.copyfile", lambda *_: pytest.fail("the copy was begun"))
    assert "the disk is full" in refusal(tmp_path / "images.tar", destination, stage)


def test_a_disk_that_cannot_hold_the_folders_files_is_told_before_the_first(
    source: Path, destination: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: Mock(free=len(b"first") + len(b"second") - 1))
    monkeypatch.setattr(archive, "_write_tar", lambda *_, **__: pytest.fail("the tar was begun"))
    assert "the disk is full" in refusal(source, destination, stage)


@pytest.mark.parametrize("kind", ["pipe", "device", "socket"])
@pytest.mark.timeout(10)
def test_a_source_that_is_neither_file_nor_folder_is_refused(
    tmp_path: Path, destination: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket")
    path = Path("/dev/zero") if kind == "device" else tmp_path / kind
    assert "no such file or folder" in refusal(path, destination, stage)
