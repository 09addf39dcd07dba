import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vgg_ablation.pipeline.files import read_json, replacing, write_json, write_text


def fail_after_writing(path: Path, error: BaseException) -> None:
    with replacing(path) as beside:
        beside.write_text("half of it")
        raise error


def test_what_is_written_appears_under_its_name(tmp_path: Path) -> None:
    with replacing(tmp_path / "file") as beside:
        beside.write_bytes(b"whole")
    assert (tmp_path / "file").read_bytes() == b"whole"


def test_folders_on_the_way_are_made(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b" / "file", "text")
    assert (tmp_path / "a" / "b" / "file").exists()


@pytest.mark.parametrize("error", [ValueError(), KeyboardInterrupt(), SystemExit()])
def test_a_failure_leaves_no_file(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)):
        fail_after_writing(tmp_path / "file", error)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("before")
    with pytest.raises(ValueError, match="broken"):
        fail_after_writing(tmp_path / "file", ValueError("broken"))
    assert (tmp_path / "file").read_text() == "before"


def test_while_it_is_written_the_file_is_absent_under_its_name(tmp_path: Path) -> None:
    with replacing(tmp_path / "file") as beside:
        beside.write_bytes(b"half")
        assert not (tmp_path / "file").exists()


def test_a_read_only_file_is_replaced_and_its_links_keep_their_bytes(tmp_path: Path) -> None:
    """DVC's outputs may be read-only hard links into its cache: writing in place would spoil the cache."""
    cached = tmp_path / "cached"
    cached.write_text("before")
    cached.chmod(0o444)
    (tmp_path / "file").hardlink_to(cached)
    write_text(tmp_path / "file", "after")
    assert (cached.read_text(), (tmp_path / "file").read_text()) == ("before", "after")


def test_a_body_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "file"):
        pass


def test_text_has_unix_line_ends_and_is_utf_8(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "naïve\nN(0, 0.01²)\n")
    assert (tmp_path / "file").read_bytes() == b"na\xc3\xafve\nN(0, 0.01\xc2\xb2)\n"


@settings(max_examples=20)  # each is written down to the disk
@given(st.dictionaries(st.text(), st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text()))
def test_a_json_object_is_read_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, value: dict) -> None:
    path = tmp_path_factory.getbasetemp() / "value.json"
    write_json(path, value)
    assert read_json(path) == json.loads(path.read_bytes()) == value


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_json_lacks_are_refused(tmp_path: Path, number: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "file", {"loss": number})


def test_a_full_disk_is_an_os_error_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_text(tmp_path / "file", "text")
    assert list(tmp_path.iterdir()) == []
