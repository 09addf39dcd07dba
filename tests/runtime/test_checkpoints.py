from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vgg_ablation import files
from vgg_ablation.errors import StageError
from vgg_ablation.runtime.checkpoints import Slots


@pytest.fixture
def stem(tmp_path: Path) -> Path:
    return tmp_path / "state" / "checkpoint"


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def three(stem: Path, said: list[str]) -> Slots:
    """Hold three states, the third the latest."""
    slots = Slots(stem, said.append)
    for number in (1, 2, 3):
        slots.write(number, b"state %d" % number)
    return slots


def test_nothing_kept_is_nothing_read(stem: Path) -> None:
    assert Slots(stem, pytest.fail).read() is None


def test_the_latest_is_read(three: Slots, said: list[str]) -> None:
    assert three.read() == b"state 3"
    assert said == []


def test_the_one_before_is_kept_and_none_else(three: Slots, stem: Path) -> None:
    assert sorted(path.name for path in stem.parent.iterdir()) == ["checkpoint.0", "checkpoint.1"]
    (stem.parent / "checkpoint.1").unlink()
    assert three.read() == b"state 2"


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(), number=st.integers(0, 10**6))
def test_what_was_written_is_read(stem: Path, content: bytes, number: int) -> None:
    slots = Slots(stem, pytest.fail)
    slots.remove()
    slots.write(number, content)
    assert slots.read() == content


def cut(whole: bytes, place: int) -> bytes:
    return whole[: place % len(whole)]


def flip(whole: bytes, place: int) -> bytes:
    byte, bit = divmod(place % (8 * len(whole)), 8)
    return whole[:byte] + bytes([whole[byte] ^ 1 << bit]) + whole[byte + 1 :]


def prolong(whole: bytes, place: int) -> bytes:
    return whole + bytes([place % 256])


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damage=st.sampled_from([cut, flip, prolong]), place=st.integers(0, 10**6))
def test_a_damaged_file_is_named_and_the_one_before_is_read(
    stem: Path, damage: Callable[[bytes, int], bytes], place: int
) -> None:
    said: list[str] = []
    slots = Slots(stem, said.append)
    slots.write(2, b"state 2")
    slots.write(3, b"state 3")
    latest = stem.parent / "checkpoint.1"
    latest.write_bytes(damage(latest.read_bytes(), place))
    assert slots.read() == b"state 2"
    (line,) = said
    assert line.startswith(f"{latest}: damaged, ")
    assert "the one before" in line


@pytest.mark.parametrize("place", range(8 * len("3")))
def test_a_damaged_number_does_not_put_the_latest_behind_the_one_before(
    three: Slots, stem: Path, said: list[str], place: int
) -> None:
    latest = stem.parent / "checkpoint.1"
    latest.write_bytes(flip(latest.read_bytes(), place))
    assert three.read() == b"state 2"
    assert said == [f"{latest}: damaged, the checksum does not match; going on from the one before"]


def test_where_both_are_damaged_nothing_is_read_and_both_are_named(three: Slots, stem: Path, said: list[str]) -> None:
    for path in stem.parent.iterdir():
        path.write_bytes(b"x")
    assert three.read() is None
    assert said == [f"{stem}.0 and {stem}.1: damaged, the checksum does not match; nothing whole is left: begun anew"]


def test_work_done_again_replaces_what_was_damaged(three: Slots, stem: Path, said: list[str]) -> None:
    (stem.parent / "checkpoint.1").write_bytes(b"x")
    three.write(3, b"state 3 again")
    assert three.read() == b"state 3 again"
    assert said == []


def test_a_full_disk_keeps_both_states(three: Slots, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(StageError, match="disk is full"):
        three.write(4, b"state 4")
    monkeypatch.undo()
    assert three.read() == b"state 3"


def test_removed_states_are_gone(three: Slots, stem: Path) -> None:
    three.remove()
    three.remove()
    assert list(stem.parent.iterdir()) == []
