import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vgg_ablation import files
from vgg_ablation.errors import StageError
from vgg_ablation.runtime.checkpoints import VARIABLE, Checkpoints


@pytest.fixture
def stem(tmp_path: Path) -> Path:
    return tmp_path / "state" / "checkpoint"


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def three(stem: Path, said: list[str]) -> Checkpoints:
    """Three checkpoints were written."""
    checkpoints = Checkpoints(stem, said.append)
    for number in (1, 2, 3):
        checkpoints.write(number, b"content %d" % number)
    return checkpoints


def test_the_latest_checkpoint_is_read(three: Checkpoints, said: list[str]) -> None:
    assert three.read() == b"content 3"
    assert said == []


def test_the_latest_two_are_kept(three: Checkpoints, stem: Path) -> None:
    assert sorted(path.name for path in stem.parent.iterdir()) == ["checkpoint.0", "checkpoint.1"]
    (stem.parent / "checkpoint.0").unlink()
    assert three.read() == b"content 2"


def cut(whole: bytes, place: int) -> bytes:
    return whole[: place % len(whole)]


def flip(whole: bytes, place: int) -> bytes:
    byte, bit = divmod(place % (8 * len(whole)), 8)
    return whole[:byte] + bytes([whole[byte] ^ 1 << bit]) + whole[byte + 1 :]


def extend(whole: bytes, place: int) -> bytes:
    return whole + bytes([place % 256])


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damage=st.sampled_from([cut, flip, extend]), place=st.integers(0, 10**6), content=st.binary())
def test_a_damaged_file_is_named_and_the_previous_checkpoint_is_read(
    stem: Path, damage: Callable[[bytes, int], bytes], place: int, content: bytes
) -> None:
    said: list[str] = []
    checkpoints = Checkpoints(stem, said.append)
    checkpoints.write(2, content)
    checkpoints.write(5, b"content 5")
    latest = stem.parent / "checkpoint.1"
    latest.write_bytes(damage(latest.read_bytes(), place))
    assert checkpoints.read() == content
    assert said == [f"{latest}: checksum mismatch; using the previous checkpoint"]
    checkpoints.write(7, b"content 7")
    assert checkpoints.read() == b"content 7"
    assert len(said) == 1
    checkpoints.remove()


def test_two_damaged_files_are_named_and_nothing_is_read(three: Checkpoints, stem: Path, said: list[str]) -> None:
    for path in stem.parent.iterdir():
        path.write_bytes(b"x")
    assert three.read() is None
    assert said == [f"{stem}.0, {stem}.1: checksum mismatch; no valid checkpoint, starting over"]


def test_a_full_disk_leaves_both_checkpoints(three: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(StageError, match="disk is full"):
        three.write(4, b"content 4")
    monkeypatch.undo()
    assert three.read() == b"content 3"


def test_removed_checkpoints_are_gone(three: Checkpoints, stem: Path) -> None:
    three.remove()
    three.remove()
    assert list(stem.parent.iterdir()) == []


@pytest.mark.parametrize(("variable", "most"), [(None, 60.0), ("0", 0.0), ("2.5", 2.5)])
def test_one_is_due_before_more_seconds_than_allowed_have_passed(
    stem: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None, most: float
) -> None:
    monkeypatch.delenv(VARIABLE) if variable is None else monkeypatch.setenv(VARIABLE, variable)
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    checkpoints = Checkpoints(stem, pytest.fail)
    clock[0] += most - 0.5
    assert not checkpoints.due(0.25)
    assert checkpoints.due(1.0)
    checkpoints.write(1, b"")
    assert not checkpoints.due(most - 0.25)


@pytest.mark.parametrize("text", ["", "-1", "often", "nan", "1e3"])
def test_a_wrong_number_of_seconds_is_refused(stem: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(StageError, match=f"CHECKPOINT_SECONDS='{text}' is not a number of seconds"):
        Checkpoints(stem, pytest.fail)
