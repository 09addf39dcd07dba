import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from vgg_ablation.pipeline import limit
from vgg_ablation.pipeline.compute import Compute
from vgg_ablation.pipeline.cost import Meter


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
    first = written(Meter(), tmp_path)["seconds"]
    time.sleep(0.1)
    assert written(Meter(), tmp_path)["seconds"] - first == pytest.approx(0.1, abs=0.08)


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
    assert (row["share_of_limit"], row["arch"], row["precision"]) == ("", "", "")


def test_the_limit_is_that_of_a_product_of_the_same_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(limit._SIDE, "cpu", 512)
    matrix = torch.rand(512, 512)
    seconds = []
    for _ in range(20):
        began = time.perf_counter()
        torch.mm(matrix, matrix)
        seconds.append(time.perf_counter() - began)
    rate = limit.product_rate(Compute(torch.device("cpu"), torch.float32))
    # Another program may slow either down.
    assert 0.1 < rate * min(seconds) / (2 * 512**3) < 10
