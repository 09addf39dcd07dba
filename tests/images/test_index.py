import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vgg_ablation.errors import StageError
from vgg_ablation.images.index import (
    CHECKSUMS_FILE,
    INDEX_COLUMNS,
    INDEX_FILE,
    PARTS,
    PIXELS_FILE,
    SPLITS_FILE,
    Index,
    images_in,
    read_splits,
    verify,
    write_checksums,
)

Table = list[list[str]]
"""Lines of cells, the header first."""
ROOT = Path(__file__).parents[2]
CHECKED = (PIXELS_FILE, INDEX_FILE, SPLITS_FILE)
SIZES = [(2, 3), (3, 2), (4, 1), (1, 5), (2, 2)]
LABELS = [0, 0, 1, 1, 2]
BYTES = sum(3 * height * width for height, width in SIZES)


def index_table() -> Table:
    rows, offset = [], 0
    for image, ((height, width), label) in enumerate(zip(SIZES, LABELS, strict=True)):
        category = f"{label + 1:03d}.thing"
        cells = (image, f"{category}/{image}.jpg", category, label, height, width, offset, f"{image:064x}")
        rows.append([str(cell) for cell in cells])
        offset += 3 * height * width
    return [INDEX_COLUMNS, *rows]


def splits_table() -> Table:
    parts = [("train", "test"), ("validation", "train"), ("test", "validation"), ("train", "train"), ("test", "test")]
    rows = [[str(image), f"{image}.jpg", *of_image] for image, of_image in enumerate(parts)]
    return [["image", "path", "split_0", "split_1"], *rows]


def as_text(table: Table) -> str:
    return "".join(",".join(line) + "\n" for line in table)


def write_processed(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / PIXELS_FILE).write_bytes(bytes(range(BYTES)))
    (folder / INDEX_FILE).write_text(as_text(index_table()))
    (folder / SPLITS_FILE).write_text(as_text(splits_table()))
    return folder


@pytest.fixture
def processed(tmp_path: Path) -> Path:
    """A folder with five packed images and two splits of them, whole."""
    return write_processed(tmp_path / "processed")


@pytest.fixture(scope="module")
def rewritten(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Such a folder, of which each example writes one file anew."""
    return write_processed(tmp_path_factory.mktemp("packed") / "processed")


# Checksums.


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="no sha256sum")
def test_sha256sum_and_verify_accept_files_as_they_were_written(processed: Path) -> None:
    write_checksums(processed)
    command = ["sha256sum", "--check", "--strict", CHECKSUMS_FILE]
    done = subprocess.run(command, cwd=processed, capture_output=True, text=True, check=True)
    assert done.stdout == "".join(f"{name}: OK\n" for name in CHECKED)
    verify(processed)


@pytest.mark.parametrize("name", CHECKED)
@settings(max_examples=15)
@given(data=st.data())
def test_one_bit_lost_is_reported_with_the_files_name(rewritten: Path, name: str, data: st.DataObject) -> None:
    write_checksums(write_processed(rewritten))
    content = bytearray((rewritten / name).read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    (rewritten / name).write_bytes(content)
    with pytest.raises(StageError, match=rf"{name} is damaged: its SHA-256 is not that in SHA256SUMS; make it again"):
        verify(rewritten)


@pytest.mark.parametrize("name", [CHECKSUMS_FILE, *CHECKED])
def test_a_missing_file_is_reported_with_its_name(processed: Path, name: str) -> None:
    write_checksums(processed)
    (processed / name).unlink()
    with pytest.raises(StageError, match=f"{name} is missing; make it again: dvc repro"):
        verify(processed)


@pytest.mark.parametrize("name", CHECKED)
def test_a_file_without_a_checksum_is_not_verified(processed: Path, name: str) -> None:
    write_checksums(processed)
    lines = (processed / CHECKSUMS_FILE).read_bytes().splitlines(keepends=True)
    (processed / CHECKSUMS_FILE).write_bytes(b"\xff\n" + b"".join(line for line in lines if name.encode() not in line))
    with pytest.raises(StageError, match=f"{CHECKSUMS_FILE} is damaged: it has no SHA-256 of {name}"):
        verify(processed)


PREPROCESS = """
from pathlib import Path
from vgg_ablation.images.index import write_checksums
folder = Path("data/processed")
folder.mkdir(parents=True, exist_ok=True)
for name in ("pixels.uint8", "index.csv", "splits.csv"):
    (folder / name).write_text(name * 100)
write_checksums(folder)
"""


@pytest.mark.end_to_end
def test_the_commands_in_the_message_restore_a_file_that_dvc_takes_to_be_whole(tmp_path: Path) -> None:
    """A disk spoils bytes and leaves the time; the cache holds the same bytes by a hard link, where it can."""

    def run(command: str) -> None:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["sh", "-ec", command], cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr

    processed = tmp_path / "data" / "processed"
    stage = {"cmd": f"{shlex.quote(sys.executable)} preprocess.py", "outs": ["data/processed"]}
    (tmp_path / "preprocess.py").write_text(PREPROCESS)
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"preprocess": stage}}))
    (tmp_path / ".dvc").mkdir()
    shutil.copyfile(ROOT / ".dvc" / "config", tmp_path / ".dvc" / "config")
    (tmp_path / ".dvc" / "config.local").write_text("[core]\n    no_scm = true\n")
    run("dvc repro")
    pixels = processed / PIXELS_FILE
    whole, before = pixels.read_bytes(), pixels.stat()
    pixels.chmod(0o644)
    with pixels.open("r+b") as file:
        file.write(b"\0")
    pixels.chmod(before.st_mode)
    os.utime(pixels, ns=(before.st_atime_ns, before.st_mtime_ns))

    with pytest.raises(StageError, match="make it again: ") as raised:
        verify(processed)
    run(str(raised.value).partition("make it again: ")[2].partition(" (")[0])
    verify(processed)
    assert pixels.read_bytes() == whole


# The index and the splits.


def test_a_whole_index_is_read(processed: Path) -> None:
    index = Index.read(processed)
    assert list(zip(index.heights.tolist(), index.widths.tolist(), strict=True)) == SIZES
    assert index.labels.tolist() == LABELS
    assert index.categories == ("001.thing", "002.thing", "003.thing")
    assert index.offsets.tolist() == [0, 18, 36, 48, 63]
    assert index.digest == hashlib.sha256((processed / INDEX_FILE).read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("image", "7"), ("label", "-1"), ("label", "0"), ("label", "3"), ("label", "7"), ("category", "x"),
        ("height", ""), ("height", "x"), ("height", "0"), ("height", "2.0"), ("height", "9" * 5000), ("height", "3"),
        ("width", "-1"), ("offset", "35"),
    ],
)  # fmt: skip
def test_a_wrong_cell_of_the_index_is_refused(processed: Path, column: str, value: str) -> None:
    table = index_table()
    table[3][INDEX_COLUMNS.index(column)] = value
    (processed / INDEX_FILE).write_text(as_text(table))
    with pytest.raises(StageError, match=r"index\.csv is damaged: .*; run preprocess again$"):
        Index.read(processed)


def test_sizes_whose_product_wraps_to_the_files_in_64_bits_are_refused(processed: Path) -> None:
    table = index_table()
    table[5][4:6] = [str(2**32), str(2**32)]  # 3 * 2**64 bytes more than 63: as int64, none
    (processed / INDEX_FILE).write_text(as_text(table))
    os.truncate(processed / PIXELS_FILE, 63)
    with pytest.raises(StageError, match=r"pixels\.uint8 is damaged: it has 63 bytes"):
        Index.read(processed)


@pytest.mark.parametrize("size", [0, BYTES - 1, BYTES + 1])
def test_a_file_of_pixels_of_another_size_than_the_index_is_refused(processed: Path, size: int) -> None:
    os.truncate(processed / PIXELS_FILE, size)
    message = rf"pixels\.uint8 is damaged: it has {size} bytes, not as many as index\.csv describes; run"
    with pytest.raises(StageError, match=message):
        Index.read(processed)


@pytest.mark.parametrize("images", [0, 4, 6])
def test_splits_of_more_or_fewer_images_than_the_index_are_refused(processed: Path, images: int) -> None:
    with pytest.raises(StageError, match=r"its rows are not the images of index\.csv; run preprocess again$"):
        read_splits(processed, images=images)


# Damage of any kind: one clear line, or tables that lie within the file of pixels.

CELLS = st.one_of(
    st.text(max_size=8),
    st.integers(-3, 70).map(str),
    st.sampled_from(["", '"', '"a\n"', "\r", "\0", "1,1", "test", "split_0", "offset", str(2**64), "9" * 999]),
)


@st.composite
def damaged(draw: st.DrawFn, whole: Table) -> bytes:
    """Draw a table like `whole` with cells, lines, columns or bytes changed."""
    table = [list(line) for line in whole]
    for change in draw(st.lists(st.sampled_from(["cell", "copy", "line", "column", "swap"]), max_size=3)):
        if not table or not table[0]:
            break
        line, other = (draw(st.integers(0, len(table) - 1)) for _ in range(2))
        column = draw(st.integers(0, min(map(len, table)) - 1))
        if change == "cell":
            table[line][column] = draw(CELLS)
        elif change == "copy":
            table.insert(line, list(table[other]))
        elif change == "line":
            del table[line]
        elif change == "column":
            for cells in table:
                del cells[column]
        else:
            table[line][column], table[other][column] = table[other][column], table[line][column]
    content = bytearray(as_text(table).encode())
    for place in draw(st.lists(st.integers(0, max(len(content) - 1, 0)), max_size=2)):
        content[place : place + 1] = draw(st.binary(max_size=2))
    return bytes(content)


ANYTHING = st.binary() | st.text().map(str.encode)


def refusal(read: Callable[[], object]) -> str:
    """What a StageError says; "" where there is none."""
    try:
        read()
    except StageError as error:
        return str(error)
    return ""


ONE_CLEAR_LINE = re.compile("|.{1,400} (again|that writes it)")


@settings(max_examples=60)
@given(content=damaged(index_table()) | ANYTHING)
@example(content=as_text(index_table()).encode("utf-16"))
@example(content=b'"' + b"x" * 140_000)
def test_a_damaged_index_is_refused_or_lies_within_the_pixels(rewritten: Path, content: bytes) -> None:
    (rewritten / INDEX_FILE).write_bytes(content)
    pixels = np.fromfile(rewritten / PIXELS_FILE, np.uint8)

    def read() -> None:
        index = Index.read(rewritten)
        shown = [index.image(pixels, number).ravel() for number in range(len(index.labels))]
        np.testing.assert_array_equal(np.concatenate(shown), pixels)
        assert set(index.labels) == set(range(len(index.categories)))

    assert ONE_CLEAR_LINE.fullmatch(refusal(read))


@settings(max_examples=60)
@given(content=damaged(splits_table()) | ANYTHING)
@example(content=as_text(splits_table()).encode("utf-16"))
def test_damaged_splits_are_refused_or_hold_each_image_once(rewritten: Path, content: bytes) -> None:
    (rewritten / SPLITS_FILE).write_bytes(content)

    def read() -> None:
        table = read_splits(rewritten, images=5)
        for split in range(len(table) - 2):
            numbers = [images_in(table, split, part) for part in PARTS]
            assert all(map(len, numbers))
            assert sorted(np.concatenate(numbers)) == list(range(5))

    assert ONE_CLEAR_LINE.fullmatch(refusal(read))
