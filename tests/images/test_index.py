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
from hypothesis import example, given
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


def test_checksums_are_those_of_the_files(processed: Path) -> None:
    write_checksums(processed)
    expected = [f"{hashlib.sha256((processed / name).read_bytes()).hexdigest()}  {name}\n" for name in CHECKED]
    assert (processed / CHECKSUMS_FILE).read_text() == "".join(expected)


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="no sha256sum")
def test_sha256sum_checks_the_files(processed: Path) -> None:
    write_checksums(processed)
    command = ["sha256sum", "--check", "--strict", CHECKSUMS_FILE]
    done = subprocess.run(command, cwd=processed, capture_output=True, text=True, check=True)
    assert done.stdout == "".join(f"{name}: OK\n" for name in CHECKED)


def test_files_as_they_were_written_are_verified(processed: Path) -> None:
    write_checksums(processed)
    verify(processed)


@pytest.mark.parametrize("name", CHECKED)
@given(data=st.data())
def test_one_bit_lost_is_told_by_the_files_name(rewritten: Path, name: str, data: st.DataObject) -> None:
    write_checksums(write_processed(rewritten))
    content = bytearray((rewritten / name).read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    (rewritten / name).write_bytes(content)
    with pytest.raises(StageError, match=rf"{name} is damaged: its SHA-256 is not that in SHA256SUMS; make it again"):
        verify(rewritten)


@pytest.mark.parametrize("name", CHECKED)
def test_a_file_cut_short_is_told_by_its_name(processed: Path, name: str) -> None:
    write_checksums(processed)
    os.truncate(processed / name, 7)
    with pytest.raises(StageError, match=f"{name} is damaged"):
        verify(processed)


@pytest.mark.parametrize("name", [CHECKSUMS_FILE, *CHECKED])
def test_a_missing_file_is_told_by_its_name(processed: Path, name: str) -> None:
    write_checksums(processed)
    (processed / name).unlink()
    with pytest.raises(StageError, match=f"{name} is missing; make it again: dvc repro"):
        verify(processed)


@pytest.mark.parametrize("name", CHECKED)
def test_a_file_without_a_checksum_is_not_verified(processed: Path, name: str) -> None:
    write_checksums(processed)
    lines = (processed / CHECKSUMS_FILE).read_text().splitlines(keepends=True)
    (processed / CHECKSUMS_FILE).write_text("".join(line for line in lines if name not in line))
    with pytest.raises(StageError, match=f"{CHECKSUMS_FILE} is damaged: it has no SHA-256 of {name}"):
        verify(processed)


@given(content=st.binary())
def test_any_other_bytes_for_checksums_are_refused(rewritten: Path, content: bytes) -> None:
    (rewritten / CHECKSUMS_FILE).write_bytes(content)
    with pytest.raises(StageError, match=f"{CHECKSUMS_FILE} is damaged"):
        verify(rewritten)


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
def test_the_commands_in_the_message_mend_a_file_that_dvc_takes_to_be_whole(tmp_path: Path) -> None:
    """A disk spoils bytes and leaves the time; the cache holds the same bytes by a hard link, where it can."""

    def run(command: str) -> None:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["sh", "-ec", command], cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr

    processed = tmp_path / "data" / "processed"
    outputs = [f"data/processed/{name}" for name in (*CHECKED, CHECKSUMS_FILE)]
    stage = {"cmd": f"{shlex.quote(sys.executable)} preprocess.py", "outs": outputs}
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


# The index.


def test_a_whole_index_is_read(processed: Path) -> None:
    index = Index.read(processed)
    assert list(zip(index.heights.tolist(), index.widths.tolist(), strict=True)) == SIZES
    assert index.labels.tolist() == LABELS
    assert index.categories == ("001.thing", "002.thing", "003.thing")
    assert index.offsets.tolist() == [0, 18, 36, 48, 63]
    assert index.size == BYTES


def test_an_image_is_its_bytes_in_the_file(processed: Path) -> None:
    pixels = np.fromfile(processed / PIXELS_FILE, np.uint8)
    expected = np.arange(36, 48, dtype=np.uint8).reshape(4, 1, 3)
    np.testing.assert_array_equal(Index.read(processed).image(pixels, 2), expected)


@pytest.mark.parametrize("value", ["", "x", "-1", "0", "+2", " 2", "2.0", "2_0", "٢", "1e3", "9" * 19, "9" * 5000])
@pytest.mark.parametrize("column", ["height", "width"])
def test_a_size_that_is_no_whole_number_from_one_is_told_by_its_line(processed: Path, column: str, value: str) -> None:
    table = index_table()
    table[3][INDEX_COLUMNS.index(column)] = value
    (processed / INDEX_FILE).write_text(as_text(table))
    with pytest.raises(StageError, match=rf"index\.csv is damaged: line 4: {column} is '.{{,40}}, not a whole number"):
        Index.read(processed)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("image", "7", "line 4: image is '7', not 2"),
        ("label", "-1", "line 4: label is '-1', not a whole number of 0 or more"),
        ("label", "0", "line 4: label 0 is '002.thing', and '001.thing' before"),
        ("label", "3", "a category has two labels"),
        ("category", "x", "line 5: label 1 is '002.thing', and 'x' before"),
        ("height", "3", "line 5: offset is '48', not 45"),
        ("height", str(2**40), f"line 5: offset is '48', not {36 + 3 * 2**40}"),
        ("offset", "35", "line 4: offset is '35', not 36"),
    ],
)
def test_a_wrong_cell_of_the_index_is_told(processed: Path, column: str, value: str, message: str) -> None:
    table = index_table()
    table[3][INDEX_COLUMNS.index(column)] = value
    (processed / INDEX_FILE).write_text(as_text(table))
    with pytest.raises(StageError, match=rf"index\.csv is damaged: {message}; run preprocess again$"):
        Index.read(processed)


def test_labels_with_a_gap_are_refused(processed: Path) -> None:
    table = index_table()
    table[5][3] = "7"
    (processed / INDEX_FILE).write_text(as_text(table))
    with pytest.raises(StageError, match="no image has label 2, and one has label 7"):
        Index.read(processed)


@pytest.mark.parametrize("column", INDEX_COLUMNS)
def test_an_index_without_one_of_its_columns_is_refused(processed: Path, column: str) -> None:
    place = INDEX_COLUMNS.index(column)
    (processed / INDEX_FILE).write_text(as_text([line[:place] + line[place + 1 :] for line in index_table()]))
    with pytest.raises(StageError, match="its columns are not image, path, category"):
        Index.read(processed)


def test_an_index_of_no_images_is_refused(processed: Path) -> None:
    (processed / INDEX_FILE).write_text(as_text(index_table()[:1]))
    with pytest.raises(StageError, match="it has no images"):
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
    message = rf"pixels\.uint8 is damaged: it has {size} bytes, and index\.csv describes {BYTES}; run preprocess again"
    with pytest.raises(StageError, match=message):
        Index.read(processed)


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


ONE_CLEAR_LINE = re.compile(r"|.{1,400} again")


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
