import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vgg_ablation.analysis.decisions import joined, read_outcomes
from vgg_ablation.errors import StageError

KEY = "D+E/jitter/0/dense_scales"


def arrays() -> dict[str, np.ndarray]:
    return {
        "split/0/images": np.array([4, 7, 9], dtype=np.int32),
        "split/0/labels": np.array([0, 1, 1], dtype=np.int16),
        f"{KEY}/class": np.array([0, 0, 1], dtype=np.int16),
        f"{KEY}/confidence": np.array([0.9, 0.6, 1.0], dtype=np.float32),
        f"{KEY}/true": np.array([0.9, 0.4, 1.0], dtype=np.float32),
    }


def write(path: Path, **changed: np.ndarray | None) -> Path:
    """Write the arrays, some of them changed or left out; a name's slashes may be given as three underscores."""
    content = arrays() | {name.replace("___", "/"): array for name, array in changed.items()}
    np.savez(path, **{name: array for name, array in content.items() if array is not None})  # pyright: ignore[reportArgumentType]
    return path


def test_an_outcome_holds_what_was_written(tmp_path: Path):
    outcomes = read_outcomes(write(tmp_path / "outcomes.npz"))
    outcome = outcomes.of("D+E", "jitter", 0, "dense_scales")
    assert outcomes.has("D+E", "jitter", 0, "dense_scales")
    assert not outcomes.has("D", "jitter", 0, "dense_scales")
    assert list(outcome.images) == [4, 7, 9]
    assert list(outcome.wrong) == [False, True, False]
    assert list(outcome.true) == pytest.approx([0.9, 0.4, 1.0])


@pytest.mark.parametrize(
    ("name", "array"),
    [
        (f"{KEY}/class", np.array([0, -1, 1], dtype=np.int16)),
        (f"{KEY}/class", np.array([0, 1], dtype=np.int16)),
        (f"{KEY}/class", np.array([0.0, 1.0, 1.0])),
        (f"{KEY}/class", None),
        (f"{KEY}/confidence", np.array([0.5, np.nan, 1.0])),
        (f"{KEY}/confidence", np.array([0.5, 1.2, 1.0])),
        (f"{KEY}/true", np.array([[0.5, 0.5, 1.0]])),
        (f"{KEY}/true", None),
        ("split/0/images", np.array([4, 4, 9])),
        ("split/0/images", None),
        ("split/0/labels", None),
        ("split/0/colours", np.array([1, 2, 3])),
        ("../../etc/passwd", np.array([1, 2, 3])),
    ],
)
def test_what_is_no_outcome_is_refused_by_name(tmp_path: Path, name: str, array: np.ndarray | None):
    path = write(tmp_path / "outcomes.npz", **{name: array})
    with pytest.raises(StageError, match=r"outcomes.npz: .*run the stage that writes it again"):
        read_outcomes(path)


class Bomb:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_nothing_is_unpickled(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "outcomes.npz", "w") as archive:
        archive.writestr("split/0/images.npy", pickle.dumps(Bomb(tmp_path / "exploded")))
    path = tmp_path / "objects.npz"
    np.savez(path, allow_pickle=True, **{"split/0/images": np.array([Bomb(tmp_path / "exploded")])})  # pyright: ignore[reportArgumentType]
    for file in (tmp_path / "outcomes.npz", path):
        with pytest.raises(StageError, match="is damaged"):
            read_outcomes(file)
    assert not (tmp_path / "exploded").exists()


@given(place=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255), cut=st.booleans())
@example(place=0.998046875, value=1, cut=False)  # an offset before the file's beginning
def test_a_damaged_file_is_refused_or_read_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, place: float, value: int, cut: bool
):
    path = write(tmp_path_factory.mktemp("damaged") / "outcomes.npz")
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] = value
    path.write_bytes(content[: int(place * len(content))] if cut else content)
    try:
        found = read_outcomes(path)
    except StageError:
        return
    assert all(np.array_equal(found.arrays[name], array) for name, array in arrays().items())


def test_the_outcomes_of_some_nets_leave_the_others_out(tmp_path: Path):
    other = {name.replace("D+E", "D"): array for name, array in arrays().items()}
    np.savez(tmp_path / "outcomes.npz", **(arrays() | other))  # pyright: ignore[reportArgumentType]
    outcomes = read_outcomes(tmp_path / "outcomes.npz")
    assert outcomes.only({"D+E"}).arrays.keys() == arrays().keys()
    assert outcomes.only({"D"}).arrays.keys() == other.keys()


def test_files_of_one_study_join(tmp_path: Path):
    other = {name.replace(KEY, "D/jitter/0/dense_scales"): array for name, array in arrays().items()}
    np.savez(tmp_path / "other.npz", **other)  # pyright: ignore[reportArgumentType]
    paths = [write(tmp_path / "outcomes.npz"), tmp_path / "other.npz"]
    together = joined({path: read_outcomes(path) for path in paths})
    assert together.arrays.keys() == arrays().keys() | other.keys()


def test_files_with_other_test_images_do_not_join(tmp_path: Path):
    paths = [write(tmp_path / "one.npz"), write(tmp_path / "two.npz", split___0___labels=np.array([1, 1, 1]))]
    with pytest.raises(StageError, match=r"two.npz: split/0/labels differs from that in .*one.npz"):
        joined({path: read_outcomes(path) for path in paths})
