"""The archive obtained from each kind of source; links and special files of a folder are counted, never followed."""

import bz2
import gzip
import hashlib
import io
import lzma
import os
import socket
import stat
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from unittest.mock import Mock

import pytest
from PIL import Image

from vgg_ablation.dataset import download
from vgg_ablation.dataset import source as source_module
from vgg_ablation.dataset.archive import list_archive, members
from vgg_ablation.dataset.source import obtain
from vgg_ablation.errors import StageError
from vgg_ablation.runtime.console import Console

WriteTar = Callable[..., Path]

ROOT = "256_ObjectCategories"
FILES = {f"{ROOT}/003.backpack/1.jpg": b"first", f"{ROOT}/004.bat/1.jpg": b"second"}
PATHS = ["003.backpack/1.jpg", "004.bat/1.jpg"]


def holding(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder of two categories with a file each."""
    return holding(tmp_path / "mine", FILES)


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    return tmp_path / "raw" / "images.tar"


def paths(archive: Path) -> list[str]:
    return [member.path for member in members(archive)]


def refusal(source: str | Path, destination: Path, console: Console) -> str:
    with pytest.raises(StageError) as error:
        obtain(str(source), destination, console)
    assert not destination.parent.exists() or not list(destination.parent.iterdir())
    return str(error.value)


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return each path below a folder with its kind and rights, and a regular file's bytes."""
    return {
        path.as_posix(): (path.lstat().st_mode, path.read_bytes() if path.is_file() else b"")
        for path in folder.rglob("*")
    }


# Sample, tar, address.


def test_the_sample_is_an_archive_of_pictures(
    destination: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_module, "SAMPLE_PER_CATEGORY", 1)
    assert len(obtain("sample", destination, console).members) == 10
    whole, found = destination.read_bytes(), members(destination)
    for member in found:
        Image.open(io.BytesIO(whole[member.offset : member.offset + member.size])).load()
    assert len({member.category for member in found}) == 10


@pytest.mark.parametrize("name", ["images.tar", "./images.tar", "{tmp_path}/images.tar"])
def test_a_tar_is_copied_as_it_is(
    tar: WriteTar, tmp_path: Path, destination: Path, console: Console, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Relative paths are from the repository: `dvc exp run --temp` works in a copy without files unknown to git."""
    original = tar(FILES)
    (tmp_path / "copy").mkdir()
    monkeypatch.chdir(tmp_path / "copy")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert len(obtain(name.format(tmp_path=tmp_path), destination, console).members) == 2
    assert destination.read_bytes() == original.read_bytes()
    assert not destination.samefile(original)  # DVC makes its outputs read-only


def test_nothing_of_a_tar_is_extracted(tar: WriteTar, tmp_path: Path, destination: Path, console: Console) -> None:
    source = tar({"../003.backpack/003_0001.jpg": b"x", f"{tmp_path}/003.backpack/003_0002.jpg": b"x"})
    obtain(str(source), destination, console)
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == {source, destination}


@pytest.mark.parametrize("source", ["caltech256", "http://me:secret@host/a.tar?key=secret"])
def test_an_archive_is_downloaded_and_read(
    tar: WriteTar, destination: Path, console: Console, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: str
) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    answers = [tar(FILES).read_bytes(), b"<html>Please log in</html>" * 100]
    for content in answers:
        monkeypatch.setattr(download, "OFFICIAL_SIZE", len(content))
        monkeypatch.setattr(download, "OFFICIAL_SHA256", hashlib.sha256(content).hexdigest())
        monkeypatch.setattr(download, "_attempt", lambda address, path, *_, sent=content: path.write_bytes(sent))
        if content is answers[0]:
            assert len(obtain(source, destination, console).members) == 2
            assert destination.read_bytes() == content
            destination.unlink()
        else:
            said = refusal(source, destination, console)
            assert "a web page" in said
            assert "secret" not in said


@pytest.mark.parametrize("files", [{}, {"README": b"x"}, {"1.jpg": b"x"}, {f"{ROOT}/003.backpack/list.txt": b"x"}])
def test_a_tar_without_a_folder_of_images_is_refused(
    tar: WriteTar, destination: Path, console: Console, files: dict[str, bytes]
) -> None:
    assert "no folder of images" in refusal(tar(files), destination, console)


def test_a_tar_cut_short_is_refused_by_the_name_that_the_user_gave(
    tar: WriteTar, tmp_path: Path, destination: Path, console: Console
) -> None:
    (tmp_path / "cut.tar").write_bytes(tar(FILES).read_bytes()[:1000])
    assert refusal(tmp_path / "cut.tar", destination, console).startswith(f"{tmp_path}/cut.tar: not a complete")


@pytest.mark.parametrize("kind", ["missing", "pipe", "socket", "/dev/zero"])
@pytest.mark.timeout(10)
def test_a_source_that_is_neither_file_nor_folder_is_refused(
    tmp_path: Path, destination: Path, console: Console, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket may have some hundred bytes
    os.mkfifo("pipe")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket")
    said = refusal(tmp_path / kind, destination, console)
    assert said.startswith(f"data.source = '{tmp_path / kind}': no such file or folder")
    assert "allowed: sample, caltech256, or the path or address" in said


# Folders.


@pytest.mark.parametrize("folder", ["mine", f"mine/{ROOT}", f"./mine/../mine/{ROOT}", "."])
def test_a_folder_gives_the_files_in_its_category_folders(
    source: Path, tmp_path: Path, destination: Path, console: Console, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    holding(source, {f"{ROOT}/003.backpack/{'n' * 200}.jpg": b"long"})
    monkeypatch.chdir(source if folder == "." else tmp_path)
    before = tree(tmp_path)
    obtain(folder, destination, console)
    assert paths(destination) == [PATHS[0], f"003.backpack/{'n' * 200}.jpg", PATHS[1]]
    after = tree(tmp_path)
    assert after.items() >= before.items()
    assert after.keys() - before.keys() == {destination.as_posix(), destination.parent.as_posix()}


def test_a_folders_tar_is_the_same_bytes_whatever_the_files_dates_and_rights(
    source: Path, tmp_path: Path, destination: Path, console: Console
) -> None:
    obtain(str(source), destination, console)
    first = destination.read_bytes()
    other = holding(tmp_path / "two", dict(reversed(FILES.items())))
    for name in FILES:
        os.utime(other / name, (1e9, 1e9))
        (other / name).chmod(0o600)
    obtain(str(other), destination, console)
    assert destination.read_bytes() == first


def test_strays_and_empty_categories_of_a_folder_are_listed(
    source: Path, destination: Path, console: Console, capsys: pytest.CaptureFixture[str]
) -> None:
    """Deeper files as in the official 056.dog/greg, and a desktop's own files."""
    holding(source, {f"{ROOT}/004.bat/greg/more/3.jpg": b"x", f"{ROOT}/003.backpack/.DS_Store": b"x"})
    holding(source, {f"{ROOT}/.DS_Store": b"x"})
    (source / ROOT / "005.empty").mkdir()
    obtain(str(source), destination, console)
    listing = list_archive(destination)
    assert [member.path for member in listing.members] == PATHS
    assert [(stray.path, stray.reason) for stray in listing.strays] == [
        (".DS_Store", "a hidden file"),
        ("003.backpack/.DS_Store", "a hidden file"),
        ("004.bat/greg/more/3.jpg", "not directly in its category's folder"),
        ("005.empty/", "an empty category"),
    ]
    assert "a hidden file: 2 (.DS_Store)" in capsys.readouterr().out


@pytest.mark.timeout(10)
def test_links_and_special_files_are_left_out_and_counted(
    source: Path,
    destination: Path,
    console: Console,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    category = source / ROOT / "003.backpack"
    (category / "file").symlink_to(category / "1.jpg")
    (category / "broken").symlink_to("nowhere")
    (category / "up").symlink_to(source)
    (source / ROOT / "005.linked").symlink_to(category)
    os.mkfifo(category / "pipe")  # to open it would wait for ever
    monkeypatch.chdir(category)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket")
        obtain(str(source), destination, console)
    assert paths(destination) == PATHS
    assert "a device or pipe: 2 (003.backpack/pipe), a link: 4 (003.backpack/broken)" in capsys.readouterr().out


@pytest.mark.parametrize("name", [b"caf\xe9.jpg", b"a\nb.jpg", b"\x1b[2J.jpg"])
def test_a_file_of_an_odd_name_is_gathered_under_a_name_that_prints(
    source: Path, destination: Path, console: Console, name: bytes
) -> None:
    try:
        Path(os.fsdecode(os.fsencode(source / ROOT / "003.backpack") + b"/" + name)).write_bytes(b"odd")
    except OSError:
        pytest.skip("this file system has no such names")
    obtain(str(source), destination, console)
    assert len(paths(destination)) == 3
    assert all(path.isprintable() for path in paths(destination))


@pytest.mark.parametrize(("kind", "name"), [("file", "1.jpg"), ("folder", "")])
def test_a_file_or_folder_that_cannot_be_read_is_named(
    source: Path, destination: Path, console: Console, monkeypatch: pytest.MonkeyPatch, kind: str, name: str
) -> None:
    """The rights of a file do not hold for root: the refusal is made up."""
    secret, holder = source / ROOT / "004.bat" / name, Path if kind == "file" else os
    function = "open" if kind == "file" else "scandir"
    original = getattr(holder, function)

    def refuse(path: Path, *arguments: object, **options: object) -> object:
        if Path(path) == secret:
            raise PermissionError(13, "Permission denied", str(path))
        return original(path, *arguments, **options)

    monkeypatch.setattr(holder, function, refuse)
    said = refusal(source, destination, console)
    assert said == f"{secret}: cannot be read (Permission denied); make it readable or remove it"


@pytest.mark.parametrize("kind", ["tar", "folder"])
def test_a_disk_that_cannot_hold_the_copy_is_named_before_it_is_begun(
    source: Path, tar: WriteTar, destination: Path, console: Console, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path = tar(FILES) if kind == "tar" else source
    monkeypatch.setattr("shutil.disk_usage", lambda path: Mock(free=sum(map(len, FILES.values())) - 1))
    monkeypatch.setattr("shutil.copyfile", lambda *_: pytest.fail("the copy was begun"))
    monkeypatch.setattr(source_module, "_write_tar", lambda *_: pytest.fail("the tar was begun"))
    assert "the disk is full" in refusal(path, destination, console)


# The same list from every kind of source.

TREE = {
    "photos/animals/dog/1.jpg": b"1", "photos/animals/dog/._2.jpg": b"2", "photos/things/cup/a.png": b"3",
    "photos/things/cup/more/b.png": b"4", "photos/README.txt": b"5", "photos/cat\u732b/c.jpg": b"6",
}  # fmt: skip


def write_zip(path: Path, files: Mapping[str, bytes], *links: str) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        for name in links:
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, "elsewhere")
    return path


def contents(archive: Path) -> list[tuple[str, str, bytes]]:
    whole = archive.read_bytes()
    return [
        (member.path, member.category, whole[member.offset : member.offset + member.size])
        for member in list_archive(archive).members
    ]


def test_folder_tar_compressed_tars_and_zip_give_the_same_list(
    tar: WriteTar, tmp_path: Path, destination: Path, console: Console
) -> None:
    folder = holding(tmp_path / "tree", TREE)
    (folder / "photos" / "linked").symlink_to("animals/dog")
    link = tarfile.TarInfo("photos/linked")
    link.type, link.linkname = tarfile.SYMTYPE, "animals/dog"
    plain = tar(TREE, link)
    sources = [plain, folder, write_zip(tmp_path / "tree.zip", TREE, "photos/linked")]
    for compress in (gzip, bz2, lzma):
        sources.append(tmp_path / f"tree.{compress.__name__}")
        sources[-1].write_bytes(compress.compress(plain.read_bytes()))
    found = []
    for source in sources:
        obtain(str(source), destination, console)
        found.append((contents(destination), list_archive(destination).strays))
    assert found[0][0] == [
        ("animals/dog/1.jpg", "dog", b"1"), ("cat\u732b/c.jpg", "cat\u732b", b"6"), ("things/cup/a.png", "cup", b"3"),
    ]  # fmt: skip
    assert [(stray.path, stray.reason) for stray in found[0][1]] == [
        ("README.txt", "not in a category's folder"),
        ("animals/dog/._2.jpg", "a hidden file"),
        ("linked", "a link"),
        ("things/cup/more/b.png", "not directly in its category's folder"),
    ]
    assert found[1:] == found[:1] * 5


def test_a_compressed_tar_at_an_address_is_read(
    tar: WriteTar, destination: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = gzip.compress(tar(FILES).read_bytes())
    monkeypatch.setattr(download, "_attempt", lambda address, path, *_: path.write_bytes(sent))
    obtain("http://host/images", destination, console)
    assert (paths(destination), list(destination.parent.iterdir())) == (PATHS, [destination])


def test_names_in_a_zip_are_utf8_also_without_the_flag() -> None:
    """As some packers write them: zipfile reads such names as cp437."""
    info = zipfile.ZipInfo("cat\u732b/c.jpg".encode().decode("cp437"))
    assert source_module._zip_name(info) == "cat\u732b/c.jpg"
    info.flag_bits = 0x800
    assert source_module._zip_name(info) == "cat\u732b/c.jpg".encode().decode("cp437")


@pytest.mark.parametrize("name", ["../../003.backpack/1.jpg", "/etc/003.backpack/1.jpg", "C:\\003.backpack\\1.jpg"])
def test_nothing_of_a_zip_is_extracted(tmp_path: Path, destination: Path, console: Console, name: str) -> None:
    path = write_zip(tmp_path / "a.zip", {name: b"x", "004.bat/1.jpg": b"y"})
    obtain(str(path), destination, console)
    assert {file for file in tmp_path.rglob("*") if file.is_file()} == {path, destination}
    assert {member.category for member in members(destination)} == {"003.backpack", "004.bat"}


@pytest.mark.parametrize("kind", ["zip", "gzip"])
def test_what_expands_beyond_all_measure_is_refused(
    tar: WriteTar, tmp_path: Path, destination: Path, console: Console, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(source_module, "_ALWAYS_EXPANDED", 10**5)
    bomb = {"003.backpack/1.jpg": bytes(3 * 10**6), "004.bat/1.jpg": b"x"}
    path = tmp_path / "bomb"
    if kind == "zip":
        write_zip(path, bomb)
    else:
        path.write_bytes(gzip.compress(tar(bomb).read_bytes()))
    assert "expands to more than 100 times" in refusal(path, destination, console)


@pytest.mark.parametrize("cut", [0.3, 0.9])
@pytest.mark.parametrize("kind", ["zip", "gzip", "bz2", "lzma"])
def test_a_zip_or_compressed_tar_cut_short_is_refused_in_one_line(
    tar: WriteTar, tmp_path: Path, destination: Path, console: Console, kind: str, cut: float
) -> None:
    files = FILES | {"005.cup/1.jpg": os.urandom(10**5)}
    plain = tar(files).read_bytes()
    compress = {"gzip": gzip.compress, "bz2": bz2.compress, "lzma": lzma.compress}
    whole = write_zip(tmp_path / "a", files).read_bytes() if kind == "zip" else compress[kind](plain)
    (tmp_path / "cut").write_bytes(whole[: int(cut * len(whole))])
    assert refusal(tmp_path / "cut", destination, console).startswith(f"{tmp_path}/cut: damaged")


def test_an_encrypted_zip_is_called_so(tmp_path: Path, destination: Path, console: Console) -> None:
    path = write_zip(tmp_path / "a.zip", FILES)
    whole = bytearray(path.read_bytes())
    start = 0
    while (start := whole.find(b"PK\x01\x02", start)) >= 0:
        whole[start + 8] |= 1
        start += 4
    path.write_bytes(bytes(whole))
    assert "encrypted" in refusal(path, destination, console)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"7z\xbc\xaf\x27\x1c" + bytes(100), "a 7z archive; unpack it"),
        (b"Rar!\x1a\x07\x01\0", "a RAR archive; unpack it"),
        (b"\n<!DOCTYPE html><html>Sign in</html>", "a web page"),
        (b"\xff\xd8\xff\xe0" + bytes(100), "a single image (JPEG)"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        (b"", "an empty file"),
    ],
)
def test_a_file_that_is_no_archive_that_is_read_is_named_for_what_it_is(
    tmp_path: Path, destination: Path, console: Console, content: bytes, said: str
) -> None:
    (tmp_path / "images.tar").write_bytes(content)
    assert said in refusal(tmp_path / "images.tar", destination, console)


def test_what_was_found_is_said_before_anything_is_copied(
    source: Path,
    destination: Path,
    console: Console,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(source_module, "_write_tar", lambda *_: pytest.fail(capsys.readouterr().out))
    with pytest.raises(pytest.fail.Exception, match=r"mine: 2 categories of 1 files, 2 in all"):
        obtain(str(source), destination, console)


@pytest.mark.parametrize("locale", ["POSIX", "C.UTF-8"])
def test_names_are_utf8_whatever_the_locale_is(tmp_path: Path, locale: str) -> None:
    """In a process of its own: Python fixes the encoding of file names at its start."""
    holding(tmp_path / "\u56fe", {"001.\u732b/1.jpg": b"x", "dog/1.jpg": b"y"})
    program = (
        "import sys; from pathlib import Path\n"
        "from vgg_ablation.dataset.source import obtain; from vgg_ablation.runtime.console import stage\n"
        "with stage('download') as console: obtain('\\u56fe', Path('out/images.tar'), console)\n"
    )
    environment = {"LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=os.environ | environment, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\u56fe: 2 categories" in done.stdout
    assert paths(tmp_path / "out/images.tar") == ["001.\u732b/1.jpg", "dog/1.jpg"]
