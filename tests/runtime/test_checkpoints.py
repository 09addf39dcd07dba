import time
from collections.abc import Callable
from concurrent.futures import wait
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vgg_ablation import files
from vgg_ablation.errors import StageError
from vgg_ablation.runtime.checkpoints import VARIABLE, BackgroundCheckpoints, Checkpoints


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


def full_disk(descriptor: int) -> None:
    raise OSError(28, "No space left on device")


def test_a_full_disk_leaves_both_checkpoints(three: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files.os, "fsync", full_disk)
    with pytest.raises(StageError, match="disk is full"):
        three.write(4, b"content 4")
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
    checkpoints = BackgroundCheckpoints(stem, pytest.fail)
    clock[0] += most / 2 - 0.5  # a first write may take the other half
    assert not checkpoints.due(0.25)
    assert checkpoints.due(1.0)

    def one_second(number: int, *_: bytes) -> None:
        clock[0] += 1.0

    monkeypatch.setattr(checkpoints, "write", one_second)
    with checkpoints:
        checkpoints.keep(1, lambda: [b""])
        checkpoints.write_kept()
        checkpoints.wait()
        took = 1.0 + min(1.0, most / 2)  # a second has passed, and the next write takes one, too
        assert not checkpoints.due(most - took - 0.25)
        assert checkpoints.due(most - took + 0.25)


@pytest.mark.parametrize("text", ["", "-1", "often", "nan", "1e3"])
def test_a_wrong_number_of_seconds_is_refused(stem: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(StageError, match=f"CHECKPOINT_SECONDS='{text}' is not a number of seconds"):
        BackgroundCheckpoints(stem, pytest.fail)


# In the background.


class Slow(BackgroundCheckpoints):
    """Counts the writes at the same time, and takes a while for each."""

    running = most = 0

    def write(self, number: int, *content: bytes | memoryview) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        time.sleep(0.05)
        super().write(number, *content)
        self.running -= 1


def keep(checkpoints: BackgroundCheckpoints, number: int) -> None:
    checkpoints.keep(number, lambda: [b"content ", b"%d" % number])


def test_one_write_runs_at_a_time(stem: Path) -> None:
    with Slow(stem, pytest.fail) as checkpoints:
        for number in (1, 2, 3):
            keep(checkpoints, number)
            checkpoints.write_kept()
        assert checkpoints.most == 1
    assert checkpoints.read() == b"content 3"


@pytest.mark.parametrize(("error", "content"), [(KeyboardInterrupt, b"2"), (StageError, b"2"), (GeneratorExit, b"1")])
def test_what_was_kept_last_is_written_when_the_work_is_interrupted(
    stem: Path, error: type[BaseException], content: bytes
) -> None:
    def work() -> None:
        keep(checkpoints, 1)
        checkpoints.write_kept()
        keep(checkpoints, 2)
        raise error

    with pytest.raises(error), Slow(stem, pytest.fail) as checkpoints:
        work()
    assert checkpoints.read() == b"content " + content


@pytest.mark.parametrize("then", ["keep", "write_kept", "the end"])
def test_a_write_that_failed_is_raised_where_the_work_is_done(
    stem: Path, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    monkeypatch.setattr(files.os, "fsync", full_disk)

    def work() -> None:
        keep(checkpoints, 1)
        checkpoints.write_kept()
        if then == "keep":
            wait([checkpoints._writing])
            keep(checkpoints, 2)
            pytest.fail("no error")
        elif then == "write_kept":
            checkpoints.write_kept()
            pytest.fail("no error")

    with (
        pytest.raises(StageError, match=rf"^{stem}\.0: the disk is full: "),
        BackgroundCheckpoints(stem, pytest.fail) as checkpoints,
    ):
        work()
    assert list(stem.parent.iterdir()) == []


def test_nothing_is_left_by_a_write_that_runs_when_checkpoints_are_removed(stem: Path) -> None:
    with Slow(stem, pytest.fail) as checkpoints:
        keep(checkpoints, 1)
        checkpoints.write_kept()
        keep(checkpoints, 2)
        checkpoints.remove()
    assert list(stem.parent.iterdir()) == []
