import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import pytest
import torch

from vgg_ablation import device as limit
from vgg_ablation.device import Compute
from vgg_ablation.runtime import cost
from vgg_ablation.runtime.cost import Meter
from vgg_ablation.runtime.provenance import describe_commit, describe_machine


def written(meter: Meter, folder: Path, **details: object) -> pd.Series:
    meter.write(folder / "cost", "train", **details)  # pyright: ignore[reportArgumentType]
    (row,) = pd.read_csv(folder / "cost" / "train.csv", keep_default_na=False).to_dict("records")
    return pd.Series(row)


def test_pieces_of_work_add_up(tmp_path: Path) -> None:
    meter = Meter()
    with meter.work(3):
        time.sleep(0.02)
    with meter.work(4):
        time.sleep(0.03)
    row = written(meter, tmp_path)
    assert row["images"] == 7
    assert 0.05 <= row["work_seconds"] < row["seconds"]


def test_a_stage_costs_what_its_process_took_from_its_start(tmp_path: Path) -> None:
    """As one sees it who waits for it; it has no time to end in."""
    program = (
        "import sys, time; from pathlib import Path; from vgg_ablation.runtime.cost import Meter; time.sleep(0.5);"
        "Meter().write(Path(sys.argv[1]), 'train')"
    )
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
    outside = time.perf_counter() - began
    (inside,) = pd.read_csv(tmp_path / "train.csv")["seconds"]
    assert 0.5 < inside <= outside + 0.02
    assert outside - inside < 0.5


def test_work_of_an_earlier_process_is_added_to_the_time(tmp_path: Path) -> None:
    fresh, resumed = Meter(), Meter()
    resumed.add(1000.0, 5)
    rows = [written(meter, tmp_path) for meter in (fresh, resumed)]
    assert rows[1]["work_seconds"] == 1000
    assert rows[1]["seconds"] - rows[0]["seconds"] == pytest.approx(1000, abs=1)


def test_work_of_this_process_is_not_added_twice(tmp_path: Path) -> None:
    meter = Meter()
    time.sleep(0.05)
    meter.add(0.04, 5)
    assert meter.taken_over == 0


def test_the_share_of_the_limit_counts_two_operations_a_multiply_accumulate(tmp_path: Path) -> None:
    meter = Meter()
    meter.add(2.0, 1, gmacs=3.0)
    meter.add(2.0, 1, gmacs=5.0)
    assert written(meter, tmp_path, rate=16e9)["share_of_limit"] == 2 * 8 / 4 / 16


def test_a_stage_without_nets_has_no_share(tmp_path: Path) -> None:
    row = written(Meter(), tmp_path)
    assert (row["share_of_limit"], row["arch"], row["scale"], row["precision"]) == ("", "", "", "")


def test_a_cost_is_of_a_net_at_a_training_scale(tmp_path: Path) -> None:
    row = written(Meter(), tmp_path, arch="B_5x5", scale="jitter")
    assert (row["stage"], row["arch"], row["scale"]) == ("train", "B_5x5", "jitter")


def test_a_cost_says_what_machine_and_source_it_is_of(tmp_path: Path) -> None:
    row = written(Meter(), tmp_path)
    assert (row["machine"], row["commit"]) == (describe_machine(), describe_commit())


def test_a_cost_names_the_commit_that_the_stage_began_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meter = Meter()
    began = describe_commit()
    monkeypatch.setattr(cost, "describe_commit", lambda: "of a commit made meanwhile")
    assert written(meter, tmp_path)["commit"] == began


def test_a_cost_names_the_versions_of_what_results_depend_on(tmp_path: Path) -> None:
    row = written(Meter(), tmp_path)
    libraries = [f"{name} {version(name)}" for name in ("torch", "optuna", "numpy", "scipy", "pillow")]
    assert row["versions"] == ", ".join([f"Python {sys.version.split()[0]}", *libraries])


def test_a_cost_has_the_columns_of_the_table_in_their_order(tmp_path: Path) -> None:
    assert list(written(Meter(), tmp_path).index) == [
        *("stage", "arch", "scale", "images", "seconds", "work_seconds", "device", "precision", "threads"),
        *("share_of_limit", "machine", "commit", "versions"),
    ]


def test_the_limit_is_two_operations_a_multiply_accumulate_in_the_shortest_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(limit._SIDE, "cpu", 10)
    ticks = iter([0.0, 5.0, 5.0, 7.0, 7.0, 11.0, 11.0, 14.0, 14.0, 20.0])
    monkeypatch.setattr(limit.time, "perf_counter", lambda: next(ticks))
    assert limit.product_rate(Compute(torch.device("cpu"), torch.float32)) == 2 * 10**3 / 2.0
