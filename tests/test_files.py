import hashlib
import json
import os
import subprocess
from contextlib import suppress
from pathlib import Path
from unittest.mock import Mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vgg_ablation.errors import StageError
from vgg_ablation.files import (
    file_digest,
    read_json,
    read_table,
    replacing,
    require_space,
    write_json,
    write_table,
    write_text,
)


def fail_after_writing(path: Path, error: BaseException) -> None:
    with replacing(path) as beside:
        beside.write_text("half of it")
        assert not path.exists() or path.read_text() == "before"
        raise error


@pytest.mark.parametrize("error", [ValueError(), KeyboardInterrupt(), SystemExit()])
def test_a_file_is_whole_or_absent(tmp_path: Path, error: BaseException) -> None:
    file = tmp_path / "a" / "file"
    with pytest.raises(type(error)):
        fail_after_writing(file, error)
    assert list(file.parent.iterdir()) == []
    write_text(file, "whole")
    assert file.read_text() == "whole"


def test_a_failure_leaves_the_previous_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("before")
    with pytest.raises(ValueError, match="broken"):
        fail_after_writing(tmp_path / "file", ValueError("broken"))
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before"]


def test_a_read_only_file_is_replaced_and_its_links_keep_their_bytes(tmp_path: Path) -> None:
    """DVC's outputs may be read-only hard links into its cache: writing in place would change the cache."""
    cached = tmp_path / "cached"
    cached.write_text("before")
    cached.chmod(0o444)
    (tmp_path / "file").hardlink_to(cached)
    write_text(tmp_path / "file", "after")
    assert (cached.read_text(), (tmp_path / "file").read_text()) == ("before", "after")


def test_temporary_files_of_killed_processes_are_deleted(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as gone:
        pass
    stay = [f".file.{os.getppid()}.partial", f".other.{gone.pid}.partial", f".file.{10**20}.partial"]
    for name in (f".file.{gone.pid}.partial", *stay):
        (tmp_path / name).write_text("half")
    write_text(tmp_path / "file", "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["file", *stay])


def test_text_has_unix_line_ends_and_is_utf_8(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "naïve\nN(0, 0.01²)\n")
    assert (tmp_path / "file").read_bytes() == b"na\xc3\xafve\nN(0, 0.01\xc2\xb2)\n"


def test_a_files_digest_is_its_sha256(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    assert file_digest(tmp_path / "file") == hashlib.sha256(b"content").hexdigest()


# JSON and tables.


@settings(max_examples=20)  # each is flushed to the disk
@given(st.dictionaries(st.text(), st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text()))
def test_a_json_object_is_read_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, value: dict) -> None:
    path = tmp_path_factory.getbasetemp() / "value.json"
    write_json(path, value)
    assert read_json(path) == json.loads(path.read_bytes()) == value


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_table(tmp_path / "t.csv", ["a", "b"], [{"b": 0.1, "a": 'x,"y"'}, {"a": 1, "b": ""}])
    assert (tmp_path / "t.csv").read_bytes() == b'a,b\n"x,""y""",0.1\n1,\n'
    assert read_table(tmp_path / "t.csv") == {"a": ['x,"y"', "1"], "b": ["0.1", ""]}


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_json_lacks_are_refused(tmp_path: Path, number: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "file", {"loss": number})


NO_OBJECT = {
    "nothing": b"",
    "half of it": b'{"loss": 0.',
    "a list": b"[1, 2]",
    "no UTF-8": '{"loss": 1}'.encode("utf-16"),
    "nested without end": b"[" * 100_000,
    "a number of 5,000 digits": b'{"loss": ' + b"9" * 5000 + b"}",
}


@pytest.mark.parametrize("content", NO_OBJECT.values(), ids=NO_OBJECT)
def test_a_file_that_holds_no_json_object_is_refused_by_its_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "metrics.json").write_bytes(content)
    with pytest.raises(StageError, match=r"metrics\.json: not a JSON object; rerun the stage that writes it$"):
        read_json(tmp_path / "metrics.json")


@given(st.binary() | st.text().map(str.encode) | st.lists(st.sampled_from('{}[]",:0e-n')).map("".join).map(str.encode))
def test_any_file_holds_a_json_object_or_is_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "anything.json"
    path.write_bytes(content)
    with suppress(StageError):
        assert isinstance(read_json(path), dict)


NO_TABLE = {
    "nothing": b"",
    "no UTF-8": b"a,b\n1,\xff\n",
    "a cell beyond the reader's limit": b"a\n" + b"x" * 140_000 + b"\n",
    "a carriage return within a line": b"a,b\n1,2\rx\n",
    "a line cut short": b"a,b\n1\n",
    "two columns of one name": b"a,b,a\n1,2,3\n",
}


@pytest.mark.parametrize("content", NO_TABLE.values(), ids=NO_TABLE)
def test_a_file_that_holds_no_table_is_refused_by_its_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "curves.csv").write_bytes(content)
    with pytest.raises(StageError, match=r"curves\.csv: not a table; rerun the stage that writes it$"):
        read_table(tmp_path / "curves.csv")


# Full disks.


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Report 1,000,000 free bytes, and none when a file is flushed."""

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    monkeypatch.setattr("shutil.disk_usage", lambda path: Mock(free=1_000_000))


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_is_one_line_that_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(StageError) as error, replacing(tmp_path / "file", needed=3_500_000) as beside:
        beside.write_bytes(b"half of it")
    assert str(error.value) == (
        f"{tmp_path}/file: the disk is full: 2.5 MB more would be needed, 1.0 MB are free; make room and run it again"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_leaves_the_previous_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("before")
    with pytest.raises(StageError, match=r"more than 1\.0 MB would be needed"):
        write_text(tmp_path / "file", "after")
    assert (tmp_path / "file").read_text() == "before"


@pytest.mark.usefixtures("full_disk")
def test_space_is_checked_before_long_work(tmp_path: Path) -> None:
    require_space(tmp_path / "new", 1_000_000)
    with pytest.raises(StageError, match=r"new: the disk is full: 1 byte more would be needed, 1\.0 MB are free"):
        require_space(tmp_path / "new", 1_000_001)
