from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from vgg_ablation.errors import StageError
from vgg_ablation.evaluate.arrays import read_arrays, reading, writing

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


@pytest.fixture(scope="session")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("arrays") / "some.npz"


@settings(max_examples=30)
@given(NAMED)
def test_numpy_reads_what_was_written_and_a_file_written_by_numpy_is_read(
    path: Path, named: dict[str, np.ndarray]
) -> None:
    write(path, named)
    with np.load(path, allow_pickle=False) as file:
        ours = {name: file[name] for name in file.files}
    np.savez(path, allow_pickle=False, **named)  # pyright: ignore[reportArgumentType]
    for found in (ours, read_arrays(path)):
        assert list(found) == list(named)
        for name, array in named.items():
            np.testing.assert_array_equal(found[name], array, strict=True)


def test_the_same_arrays_give_the_same_bytes_at_any_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "now.npz", TWO)
    monkeypatch.setattr("time.time", lambda: 2e9)
    write(tmp_path / "later.npz", TWO)
    assert (tmp_path / "now.npz").read_bytes() == (tmp_path / "later.npz").read_bytes()


def test_the_file_is_absent_until_all_arrays_are_written(tmp_path: Path) -> None:
    with writing(tmp_path / "some.npz") as add:
        add("one", np.zeros(3))
        assert not (tmp_path / "some.npz").exists()
    assert [entry.name for entry in tmp_path.iterdir()] == ["some.npz"]


@pytest.mark.parametrize("flip", [0x01, 0xFF])
def test_a_changed_byte_is_refused_or_changes_nothing(tmp_path: Path, flip: int) -> None:
    """Each byte in turn; dates and the like change nothing."""
    write(tmp_path / "whole.npz", TWO)
    content = (tmp_path / "whole.npz").read_bytes()
    damaged = tmp_path / "damaged.npz"
    said: list[str] = []
    for place in range(len(content)):
        damaged.write_bytes(content[:place] + bytes([content[place] ^ flip]) + content[place + 1 :])
        try:
            found = read_arrays(damaged)
        except StageError as error:
            said.append(str(error))
            continue
        for name in found.keys() & TWO.keys():  # nobody asks for an array with a changed name
            np.testing.assert_array_equal(found[name], TWO[name], strict=True)
    assert len(said) > len(content) / 2
    assert all(line.startswith(f"{damaged} ") and len(line.splitlines()) == 1 for line in said)


def test_a_file_cut_short_anywhere_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "whole.npz", TWO)
    content = (tmp_path / "whole.npz").read_bytes()
    for length in range(len(content)):
        (tmp_path / "cut.npz").write_bytes(content[:length])
        with pytest.raises(StageError, match=r"cut\.npz is damaged"):
            read_arrays(tmp_path / "cut.npz")


def test_a_missing_array_is_named(tmp_path: Path) -> None:
    write(tmp_path / "some.npz", TWO)
    with reading(tmp_path / "some.npz") as found, pytest.raises(StageError, match=r"some\.npz has no run_7_images;"):
        found["run_7_images"]


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple:
            return (pytest.fail, ("unpickled",))

    np.savez(tmp_path / "trap.npz", trap=np.array([Trap()], dtype=object))
    with pytest.raises(StageError, match=r"trap\.npz is damaged \(Object arrays cannot be loaded"):
        read_arrays(tmp_path / "trap.npz")


def test_a_damaged_header_is_refused_though_numpy_reads_the_array(tmp_path: Path) -> None:
    """Numpy stops where the header says, before it has the bytes that the checksum is of."""
    write(tmp_path / "some.npz", {"long": np.arange(9000)})
    content = (tmp_path / "some.npz").read_bytes()
    (tmp_path / "some.npz").write_bytes(content.replace(b"(9000,)", b"(1000,)"))
    with np.load(tmp_path / "some.npz") as found:
        assert len(found["long"]) == 1000
    with pytest.raises(StageError, match="Bad CRC-32"):
        read_arrays(tmp_path / "some.npz")
