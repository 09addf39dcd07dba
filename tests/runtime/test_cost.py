import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import pytest

from vgg_ablation.runtime import cost
from vgg_ablation.runtime.cost import Meter
from vgg_ablation.runtime.provenance import describe_commit, describe_machine


def written(meter: Meter, folder: Path, **details: object) -> pd.Series:
    meter.write(folder, "train", **details)  # pyright: ignore[reportArgumentType]
    (row,) = pd.read_csv(folder / "cost.csv", keep_default_na=False).to_dict("records")
    return pd.Series(row)


def test_a_row_has_the_columns_of_the_cost_table(tmp_path: Path) -> None:
    row = written(Meter(), tmp_path, arch="B_5x5", scale="jitter")
    libraries = [f"{name} {version(name)}" for name in ("torch", "optuna", "numpy", "scipy", "pillow")]
    assert row.drop(["seconds", "threads"]).to_dict() == {
        "stage": "train", "arch": "B_5x5", "scale": "jitter", "images": 0, "work_seconds": 0.0,
        "checkpoint_seconds": 0.0, "device": "cpu", "precision": "", "share_of_limit": "",
        "machine": describe_machine(), "commit": describe_commit(),
        "versions": ", ".join([f"Python {sys.version.split()[0]}", *libraries]),
    }  # fmt: skip
    assert list(row.index) == [
        *("stage", "arch", "scale", "images", "seconds", "work_seconds", "checkpoint_seconds"),
        *("device", "precision", "threads", "share_of_limit", "machine", "commit", "versions"),
    ]


def test_work_adds_up(tmp_path: Path) -> None:
    meter = Meter()
    with meter.work(3):
        time.sleep(0.02)
    with meter.work(4):
        time.sleep(0.03)
    meter.count(5)
    row = written(meter, tmp_path)
    assert row["images"] == 12
    assert 0.05 <= row["work_seconds"] <= row["seconds"]


def test_a_stage_costs_the_time_since_the_start_of_its_process(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from vgg_ablation.runtime.cost import Meter; time.sleep(2);"
        "Meter().write(Path(sys.argv[1]), 'train')"
    )
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
    (inside,) = pd.read_csv(tmp_path / "cost.csv")["seconds"]
    assert inside == pytest.approx(time.perf_counter() - began, abs=1.5)  # the system's start is known in whole seconds


def test_work_of_an_earlier_process_is_added_to_the_time(tmp_path: Path) -> None:
    fresh, resumed = Meter(), Meter()
    resumed.add(1000.0, 5)
    rows = [written(meter, tmp_path) for meter in (fresh, resumed)]
    assert rows[1]["work_seconds"] == 1000
    assert rows[1]["seconds"] - rows[0]["seconds"] == pytest.approx(1000, abs=1)


def test_the_share_of_the_limit_counts_two_operations_a_multiply_accumulate(tmp_path: Path) -> None:
    meter = Meter()
    meter.add(2.0, 1, gmacs=3.0)
    meter.add(2.0, 1, gmacs=5.0)
    assert written(meter, tmp_path, rate=16e9)["share_of_limit"] == 2 * 8 / 4 / 16


def test_the_commit_is_that_at_the_start_of_the_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meter = Meter()
    began = describe_commit()
    monkeypatch.setattr(cost, "describe_commit", lambda: "a later commit")
    assert written(meter, tmp_path)["commit"] == began
