import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from vgg_ablation.errors import StageError
from vgg_ablation.evaluate.arrays import reading, writing

KINDS = [np.int16, np.int32, np.int64, np.float32]
NAMED = st.dictionaries(
    st.from_regex(r"[A-E]\+?[a-z0-9_/]{0,9}", fullmatch=True),
    st.sampled_from(KINDS).flatmap(lambda kind: arrays(kind, array_shapes(max_dims=2, min_side=0))),
    max_size=4,
)
TWO = {"D+E/fixed/0/dense/class": np.arange(5, dtype=np.int16), "split/0/images": np.arange(3, dtype=np.int32)}


def write(path: Path, named: dict[str, np.ndarray]) -> None:
    with writing(path) as add:
        for name, array in named.items():
            add(name, array)


def read(path: Path) -> dict[str, np.ndarray]:
    with reading(path) as found:
        return {name: found[name] for name in found.names}


@pytest.fixture(scope="session")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("arrays") / "some.npz"


@given(NAMED)
def test_numpy_reads_what_was_written(path: Path, named: dict[str, np.ndarray]) -> None:
    write(path, named)
    with np.load(path, allow_pickle=False) as found:
        assert found.files == list(named)
        for name, array in named.items():
            np.testing.assert_array_equal(found[name], array, strict=True)


@given(NAMED)
def test_what_numpy_wrote_is_read(path: Path, named: dict[str, np.ndarray]) -> None:
    np.savez(path, allow_pickle=False, **named)  # pyright: ignore[reportArgumentType]
    found = read(path)
    assert list(found) == list(named)
    for name, array in named.items():
        np.testing.assert_array_equal(found[name], array, strict=True)


def test_the_same_arrays_give_the_same_bytes_at_any_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "now.npz", TWO)
    monkeypatch.setattr("time.time", lambda: 2e9)
    write(tmp_path / "later.npz", TWO)
    assert (tmp_path / "now.npz").read_bytes() == (tmp_path / "later.npz").read_bytes()


def test_the_file_is_not_there_before_all_arrays_are(tmp_path: Path) -> None:
    with writing(tmp_path / "some.npz") as add:
        add("one", np.zeros(3))
        assert not (tmp_path / "some.npz").exists()
    assert [entry.name for entry in tmp_path.iterdir()] == ["some.npz"]


def test_a_failure_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    write(tmp_path / "some.npz", TWO)

    def fail() -> None:
        with writing(tmp_path / "some.npz") as add:
            add("one", np.zeros(3))
            raise InterruptedError

    with pytest.raises(InterruptedError):
        fail()
    assert list(read(tmp_path / "some.npz")) == list(TWO)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
def test_a_changed_byte_is_refused_or_changes_nothing(tmp_path: Path, flip: int) -> None:
    """All bytes in turn; what changes nothing is in dates and the like."""
    write(tmp_path / "whole.npz", TWO)
    content = (tmp_path / "whole.npz").read_bytes()
    damaged = tmp_path / "damaged.npz"
    said: list[str] = []
    for place in range(len(content)):
        damaged.write_bytes(content[:place] + bytes([content[place] ^ flip]) + content[place + 1 :])
        try:
            found = read(damaged)
        except StageError as error:
            said.append(str(error))
            continue
        for name in found.keys() & TWO.keys():  # a changed name is that of no array which anyone asks for
            np.testing.assert_array_equal(found[name], TWO[name], strict=True)
    assert len(said) > len(content) / 2
    assert all(line.startswith(f"{damaged} ") and len(line.splitlines()) == 1 for line in said)


def test_a_file_cut_short_anywhere_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "whole.npz", TWO)
    content = (tmp_path / "whole.npz").read_bytes()
    for length in range(len(content)):
        (tmp_path / "cut.npz").write_bytes(content[:length])
        with pytest.raises(StageError, match=r"cut\.npz is damaged"):
            read(tmp_path / "cut.npz")


def test_an_array_that_is_not_there_is_told_by_its_name(tmp_path: Path) -> None:
    write(tmp_path / "some.npz", TWO)
    with reading(tmp_path / "some.npz") as found, pytest.raises(StageError, match=r"some\.npz has no run_7_images;"):
        found["run_7_images"]


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple:
            return (pytest.fail, ("unpickled",))

    np.savez(tmp_path / "trap.npz", trap=np.array([Trap()], dtype=object))
    with pytest.raises(StageError, match=r"trap\.npz is damaged \(Object arrays cannot be loaded"):
        read(tmp_path / "trap.npz")


def test_an_array_larger_than_all_memory_is_refused(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (2**58,)})
    with zipfile.ZipFile(tmp_path / "huge.npz", "w") as archive:
        archive.writestr("huge.npy", header.getvalue())
    with pytest.raises(StageError, match=r"huge\.npz is damaged"):
        read(tmp_path / "huge.npz")


def test_arrays_are_read_when_they_are_asked_for(tmp_path: Path) -> None:
    """A damaged one does no harm to the others."""
    write(tmp_path / "some.npz", TWO)
    content = (tmp_path / "some.npz").read_bytes()
    values = TWO["split/0/images"].tobytes()
    (tmp_path / "some.npz").write_bytes(content.replace(values, b"\xff" * len(values)))
    with reading(tmp_path / "some.npz") as found:
        np.testing.assert_array_equal(found["D+E/fixed/0/dense/class"], TWO["D+E/fixed/0/dense/class"], strict=True)
        with pytest.raises(StageError, match="Bad CRC-32"):
            found["split/0/images"]
