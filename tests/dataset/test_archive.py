import bz2
import gzip
import io
import lzma
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from vgg_ablation.dataset import archive
from vgg_ablation.dataset.archive import Member, members, obtain
from vgg_ablation.errors import StageError
from vgg_ablation.runtime.console import Stage

WriteTar = Callable[..., Path]

ROOT = "256_ObjectCategories"
FILES = {
    f"{ROOT}/003.backpack/003_0001.jpg": b"first" * 200,
    f"{ROOT}/003.backpack/003_0002.jpg": b"second",
    f"{ROOT}/257.clutter/257_0001.jpg": b"third" * 300,
}
PATHS = ["003.backpack/003_0001.jpg", "003.backpack/003_0002.jpg", "257.clutter/257_0001.jpg"]
BLOCK = 512


def contents(path: Path) -> dict[str, bytes]:
    """Return the bytes at the place in the tar that each member names."""
    whole = path.read_bytes()
    return {member.path: whole[member.offset : member.offset + member.size] for member in members(path)}


def refusal(source: str, destination: Path, stage: Stage) -> str:
    """Return why `source` is refused."""
    with pytest.raises(StageError) as error:
        obtain(source, destination, stage)
    return str(error.value)


def folder_of(tmp_path: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


# Reading.


def test_members_are_the_files_in_category_folders_by_path(tar: WriteTar) -> None:
    strays = {
        "README": b"x",
        f"{ROOT}/list.txt": b"x",
        f"{ROOT}/notes/a.jpg": b"x",
        f"{ROOT}/003.backpack/deep/a.jpg": b"x",
    }
    path = tar(strays | dict(reversed(FILES.items())))
    assert [member.path for member in members(path)] == PATHS


def test_a_member_knows_its_official_category(tar: WriteTar) -> None:
    assert [member.category for member in members(tar(FILES))] == ["003.backpack", "003.backpack", "257.clutter"]


@pytest.mark.parametrize("prefix", ["", "./", f"{ROOT}/", f"./{ROOT}/", f"downloads/of/mine/{ROOT}/"])
def test_the_layout_is_found_at_any_depth(tar: WriteTar, prefix: str) -> None:
    path = tar({name.replace(f"{ROOT}/", prefix): content for name, content in FILES.items()})
    assert [member.path for member in members(path)] == PATHS


@given(st.lists(st.binary(max_size=3 * BLOCK), min_size=1, max_size=5))
def test_a_members_bytes_lie_where_it_says(tmp_path_factory: pytest.TempPathFactory, files: list[bytes]) -> None:
    path = tmp_path_factory.getbasetemp() / "placed.tar"
    with tarfile.open(path, "w") as written:
        for number, content in enumerate(files):
            entry = tarfile.TarInfo(f"{ROOT}/001.{'long' * 20}/{number}{'name' * 20}")  # GNU's or pax's long names
            entry.size = len(content)
            written.addfile(entry, io.BytesIO(content))
    assert list(contents(path).values()) == files


def whole_and_end() -> tuple[bytes, int]:
    """Return a tar's bytes, and where its last member's bytes end, after which come blocks of zeros."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as written:
        for name, content in FILES.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            written.addfile(entry, io.BytesIO(content))
        end = written.offset
    return buffer.getvalue(), end


WHOLE, END = whole_and_end()


@given(st.integers(0, END + BLOCK - 1) | st.sampled_from(range(0, END + 1, BLOCK)))
@example(0)
@example(100)
@example(BLOCK)
@example(3 * BLOCK)  # between the first member and the second
@example(3 * BLOCK + 100)
@example(END)
def test_a_tar_cut_short_is_refused(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.tar"
    path.write_bytes(WHOLE[:cut])
    with pytest.raises(StageError):
        members(path)


@pytest.mark.parametrize("tenth", range(10))
def test_a_tar_cut_at_every_tenth_is_refused(tmp_path: Path, tenth: int) -> None:
    (tmp_path / "cut.tar").write_bytes(WHOLE[: END * tenth // 10])
    with pytest.raises(StageError):
        members(tmp_path / "cut.tar")


def test_a_tar_without_the_padding_after_its_end_is_whole(tmp_path: Path) -> None:
    (tmp_path / "whole.tar").write_bytes(WHOLE[: END + 2 * BLOCK])
    assert [member.path for member in members(tmp_path / "whole.tar")] == PATHS


@pytest.mark.parametrize("header", [0, 3 * BLOCK], ids=["first", "second"])
def test_a_tar_with_a_damaged_header_is_refused(tmp_path: Path, header: int) -> None:
    damaged = bytearray(WHOLE)
    damaged[header + 20] ^= 1
    (tmp_path / "damaged.tar").write_bytes(damaged)
    with pytest.raises(StageError):
        members(tmp_path / "damaged.tar")


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_a_compressed_tar_is_refused(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    (tmp_path / "images.tar").write_bytes(compress(WHOLE))
    with pytest.raises(StageError, match="uncompressed"):
        members(tmp_path / "images.tar")


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE]
)
def test_links_devices_and_folders_are_no_members(tar: WriteTar, kind: bytes) -> None:
    entry = tarfile.TarInfo(f"{ROOT}/003.backpack/003_0000.jpg")
    entry.type, entry.linkname = kind, "/etc/passwd"
    assert [member.path for member in members(tar(FILES, entry))] == PATHS


@pytest.mark.parametrize("prefix", ["/", "/etc/", "../../", f"{ROOT}/../../"])
def test_a_name_that_leaves_the_folder_is_a_label_for_bytes_of_the_tar(tar: WriteTar, prefix: str) -> None:
    path = tar({f"{prefix}003.backpack/003_0001.jpg": b"in the tar"})
    assert contents(path) == {"003.backpack/003_0001.jpg": b"in the tar"}


def test_nothing_of_a_tar_is_extracted(tar: WriteTar, tmp_path: Path, stage: Stage) -> None:
    source = tar({"../003.backpack/003_0001.jpg": b"x", f"{tmp_path}/003.backpack/003_0002.jpg": b"x"})
    obtain(str(source), tmp_path / "raw" / "images.tar", stage)
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == {source, tmp_path / "raw" / "images.tar"}


@pytest.mark.parametrize("again", [f"{ROOT}/003.backpack/003_0001.jpg", "copy/003.backpack/003_0001.jpg"])
def test_a_file_named_twice_is_refused(tar: WriteTar, again: str) -> None:
    path = tar({f"{ROOT}/003.backpack/003_0001.jpg": b"one"})
    with tarfile.open(path, "a") as appended:
        appended.addfile(tarfile.TarInfo(again))
    with pytest.raises(StageError, match=r"003\.backpack/003_0001\.jpg twice"):
        members(path)


@pytest.mark.timeout(5)
def test_a_member_of_negative_size_is_refused(tmp_path: Path) -> None:
    """Its header would be read again and again: CVE-2025-8194."""
    entry = tarfile.TarInfo("x")
    entry.size = -BLOCK
    (tmp_path / "images.tar").write_bytes(WHOLE[: 3 * BLOCK] + entry.tobuf(tarfile.GNU_FORMAT) + WHOLE[3 * BLOCK :])
    with pytest.raises(StageError):
        members(tmp_path / "images.tar")


# Obtaining from the disk.


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    return tmp_path / "raw" / "images.tar"


def test_a_tar_is_copied_as_it_is(tar: WriteTar, destination: Path, stage: Stage) -> None:
    obtain(str(tar(FILES)), destination, stage)
    assert destination.read_bytes() == WHOLE


def test_the_copy_is_not_a_link_to_the_original(tar: WriteTar, destination: Path, stage: Stage) -> None:
    """DVC makes its outputs read-only."""
    source = tar(FILES)
    obtain(str(source), destination, stage)
    assert not destination.samefile(source)


@pytest.mark.parametrize("source", [f"{ROOT}/", ROOT, "", "."])
def test_a_folder_gives_the_files_in_its_category_folders(
    tmp_path: Path, destination: Path, stage: Stage, source: str
) -> None:
    folder = folder_of(tmp_path / "mine", {**FILES, f"{ROOT}/list.txt": b"stray"})
    obtain(str(folder / source), destination, stage)
    assert contents(destination) == dict(zip(PATHS, FILES.values(), strict=True))


@pytest.mark.parametrize("source", ["mine", f"mine/{ROOT}", f"./mine/../mine/{ROOT}", "images.tar", "./images.tar"])
def test_a_relative_path_is_seen_from_the_working_folder(
    tar: WriteTar, tmp_path: Path, destination: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    folder_of(tmp_path / "mine", FILES)
    tar(FILES)
    monkeypatch.chdir(tmp_path)
    obtain(source, destination, stage)
    assert [member.path for member in members(destination)] == PATHS


def test_under_dvc_a_relative_path_is_seen_from_the_repository(
    tar: WriteTar, tmp_path: Path, destination: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`dvc exp run --temp` and the queue work in a copy, which has no files that git does not know."""
    tar(FILES)
    (tmp_path / "copy").mkdir()
    monkeypatch.chdir(tmp_path / "copy")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    obtain("images.tar", destination, stage)
    assert destination.read_bytes() == WHOLE


def test_the_working_folder_itself_can_be_the_source(
    tmp_path: Path, destination: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder_of(tmp_path / "mine", FILES))
    obtain(".", destination, stage)
    assert [member.path for member in members(destination)] == PATHS


def test_a_folders_tar_is_the_same_bytes_whatever_the_files_dates_and_rights(
    tmp_path: Path, destination: Path, stage: Stage
) -> None:
    obtain(str(folder_of(tmp_path / "one", FILES)), destination, stage)
    first = destination.read_bytes()
    other = folder_of(tmp_path / "two", dict(reversed(FILES.items())))
    for name in FILES:
        os.utime(other / name, (1e9, 1e9))
        (other / name).chmod(0o600)
    obtain(str(other), destination, stage)
    assert destination.read_bytes() == first


def test_symbolic_links_in_a_folder_are_not_followed(tmp_path: Path, destination: Path, stage: Stage) -> None:
    folder = folder_of(tmp_path / "mine", FILES)
    elsewhere = folder_of(tmp_path / "elsewhere", {"001.secret/key": b"secret"})
    (folder / ROOT / "001.secret").symlink_to(elsewhere / "001.secret")
    (folder / ROOT / "003.backpack" / "key").symlink_to(elsewhere / "001.secret" / "key")
    obtain(str(folder), destination, stage)
    assert [member.path for member in members(destination)] == PATHS


def test_a_folder_with_a_long_file_name_is_gathered(tmp_path: Path, destination: Path, stage: Stage) -> None:
    name = f"003.backpack/{'n' * 200}.jpg"
    obtain(str(folder_of(tmp_path / "mine", {f"{ROOT}/{name}": b"x"})), destination, stage)
    assert contents(destination) == {name: b"x"}


def test_two_copies_of_the_layout_in_a_folder_are_refused(tmp_path: Path, destination: Path, stage: Stage) -> None:
    folder = folder_of(tmp_path / "mine", {f"{copy}/003.backpack/003_0001.jpg": b"x" for copy in ("a", "b")})
    assert "twice" in refusal(str(folder), destination, stage)


def test_a_missing_path_is_told_the_key_and_what_is_allowed(tmp_path: Path, destination: Path, stage: Stage) -> None:
    said = refusal(str(tmp_path / "missing.tar"), destination, stage)
    assert said.startswith(f"data.source = '{tmp_path}/missing.tar'")
    assert "allowed: sample, caltech256, or the path or address" in said


@pytest.mark.parametrize("files", [{}, {"README": b"x"}, {f"{ROOT}/backpack/1.jpg": b"x"}])
def test_a_tar_in_another_layout_is_refused(
    tar: WriteTar, destination: Path, stage: Stage, files: dict[str, bytes]
) -> None:
    assert "NNN.category" in refusal(str(tar(files)), destination, stage)


def test_a_refused_source_leaves_no_file(tmp_path: Path, destination: Path, stage: Stage) -> None:
    (tmp_path / "cut.tar").write_bytes(WHOLE[:1000])
    refusal(str(tmp_path / "cut.tar"), destination, stage)
    assert list(destination.parent.iterdir()) == []


def test_a_refused_tar_is_called_by_the_name_that_the_user_gave(
    tmp_path: Path, destination: Path, stage: Stage
) -> None:
    (tmp_path / "cut.tar").write_bytes(WHOLE[:1000])
    assert refusal(str(tmp_path / "cut.tar"), destination, stage).startswith(f"{tmp_path}/cut.tar: ")


def test_the_sample_is_an_archive_of_pictures(destination: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "SAMPLE_PER_CATEGORY", 1)
    obtain("sample", destination, stage)
    for content in contents(destination).values():
        Image.open(io.BytesIO(content)).load()
    assert len({member.category for member in members(destination)}) == len(members(destination)) == 10


def test_the_official_layout_is_read(photographs: Path) -> None:
    found = members(photographs)
    assert (len(found), len({member.category for member in found})) == (1546, 14)
    assert found[0] == Member("003.backpack/003_0001.jpg", "003.backpack", found[0].offset, found[0].size)
