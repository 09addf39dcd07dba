import errno
import importlib.util
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from vgg_ablation import files
from vgg_ablation.runtime import live
from vgg_ablation.runtime.live import CURVES, LiveCurves

needs_tensorboard = pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None, reason="TensorBoard is not installed"
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder of its own the repository; return the folder of the curves."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    return tmp_path / "live/C_BN/fixed/run-0-0123abcd"


def curves() -> LiveCurves:
    return LiveCurves("C_BN/fixed/run-0", Path("0123abcdef"), pytest.fail)


def add(shown: LiveCurves, *epochs: int) -> None:
    for number in epochs:
        accuracy = None if number == 2 else 50.0 + number
        shown.add({"epoch": number, "train_loss": 1 / number, "validation_accuracy": accuracy}, 1000.0 * number)


def read(folder: Path) -> Any:
    """Read the event files with TensorBoard's own reader."""
    from tensorboard.backend.event_processing import event_accumulator  # pyright: ignore[reportMissingImports]

    found = event_accumulator.EventAccumulator(str(folder))
    found.Reload()
    return found


def steps(folder: Path, name: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in read(folder).Scalars(name)]


@needs_tensorboard
def test_tensorboard_reads_each_epoch_while_the_work_goes_on(folder: Path) -> None:
    with curves() as shown:
        add(shown, 1, 2, 3)
        assert steps(folder, "train_loss") == [(1, 1), (2, 0.5), (3, pytest.approx(1 / 3))]
        assert steps(folder, "validation_accuracy") == [(1, 51), (3, 53)]
        assert steps(folder, "images_per_second") == [(1, 1000), (2, 2000), (3, 3000)]


def test_the_table_is_readable_while_the_work_goes_on(folder: Path) -> None:
    with curves() as shown:
        add(shown, 1, 2)
        table = pd.read_csv(folder / CURVES)
        assert list(table) == ["epoch", "train_loss", "validation_accuracy", "images_per_second"]
        assert table["epoch"].tolist() == [1, 2]
        assert table["validation_accuracy"].isna().tolist() == [False, True]


@needs_tensorboard
def test_resumed_work_writes_no_epoch_twice(folder: Path) -> None:
    for again in ((1, 2), (1, 2, 3), (2, 3, 4)):
        with curves() as shown:
            add(shown, *again)
    assert pd.read_csv(folder / CURVES)["epoch"].tolist() == [1, 2, 3, 4]
    assert [step for step, _ in steps(folder, "train_loss")] == [1, 2, 3, 4]


@needs_tensorboard
def test_an_epoch_that_was_cut_short_is_written_again_once(folder: Path) -> None:
    """The process was killed while it wrote the table: the event files have the epoch, the table has half of it."""
    with curves() as shown:
        add(shown, 1, 2, 3)
    table = folder / CURVES
    whole = table.read_bytes()
    table.write_bytes(whole[:-4])
    with curves() as shown:
        add(shown, 1, 2, 3)
    assert table.read_bytes() == whole
    assert [step for step, _ in steps(folder, "train_loss")] == [1, 2, 3]


@needs_tensorboard
def test_without_tensorboard_only_the_table_is_written_and_events_follow_once_it_is_installed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(live, "_has_tensorboard", lambda: False)
        with curves() as shown:
            add(shown, 1, 2)
            shown.finish({"learning_rate": 0.01}, {"validation_error": 40.0})
    assert sorted(path.name for path in folder.iterdir()) == [CURVES, "result.json"]
    with curves() as shown:
        shown.finish({"learning_rate": 0.01}, {"validation_error": 40.0})
    assert [step for step, _ in steps(folder, "train_loss")] == [1, 2]
    assert steps(folder, "final/validation_error") == [(0, 40)]


@needs_tensorboard
def test_hyper_parameters_and_errors_are_in_tensorboards_table_once(folder: Path) -> None:
    for _ in range(2):
        with curves() as shown:
            add(shown, 1)
            shown.finish({"net": "C_BN", "learning_rate": 0.01}, {"validation_error": 40.0})
    from tensorboard.plugins.hparams import plugin_data_pb2  # pyright: ignore[reportMissingImports]

    content = read(folder).summary_metadata["_hparams_/session_start_info"].plugin_data.content
    kind: Any = plugin_data_pb2
    given = kind.HParamsPluginData.FromString(content).session_start_info.hparams
    assert given["net"].string_value == "C_BN"
    assert given["learning_rate"].number_value == 0.01
    assert steps(folder, "final/validation_error") == [(0, 40)]


@pytest.mark.parametrize("content", [b"", b"epoch,train_loss\n1,x\n", b"\xff\n\n", b"a,b\n1,2,3\n", b"epoch\n2\n"])
def test_a_damaged_table_is_begun_anew(folder: Path, content: bytes) -> None:
    folder.mkdir(parents=True)
    (folder / CURVES).write_bytes(content)
    with curves() as shown:
        add(shown, 1)
    assert pd.read_csv(folder / CURVES)["epoch"].tolist() == [1]


def test_a_folder_that_cannot_be_written_is_reported_once_and_the_work_goes_on(folder: Path) -> None:
    folder.parent.mkdir(parents=True)
    folder.touch()
    said: list[str] = []
    with LiveCurves("C_BN/fixed/run-0", Path("0123abcdef"), said.append) as shown:
        add(shown, 1, 2)
        shown.finish({}, {})
    assert said == [f"{folder}: File exists; continuing without live curves"]


def test_a_disk_that_is_full_at_the_end_is_reported_and_the_work_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    said: list[str] = []
    monkeypatch.setattr(files.os, "fsync", fail)
    with LiveCurves("C_BN/fixed/run-0", Path("0123abcdef"), said.append) as shown:
        shown.finish({}, {})
    assert said == [f"{folder}: No space left on device; continuing without live curves"]


def test_other_settings_have_other_curves() -> None:
    assert curves().folder != LiveCurves("C_BN/fixed/run-0", Path("fedcba9876"), pytest.fail).folder
