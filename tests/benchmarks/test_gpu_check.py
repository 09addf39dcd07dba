import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import gpu_check
from benchmarks.speed.cases import CLASSES, EPOCH, GPU, INPUT, OURS, STEP
from benchmarks.speed.results import Results, Target, Timing, make_row
from vgg_ablation.model.table1 import count_gmacs
from vgg_ablation.runtime.console import Console

ROOT = Path(__file__).parents[2]


def test_a_part_that_fails_is_a_row_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, console: Console
) -> None:
    def fails(*_: object) -> None:
        raise ValueError("no such thing\nat all")

    def gives(text: str) -> Callable[..., Target]:
        return lambda *_: Target(text, "1", met=True)

    monkeypatch.setattr(gpu_check, "run_tests", gives("tests"))
    monkeypatch.setattr(gpu_check, "run_pilot", fails)
    monkeypatch.setattr(gpu_check, "run_benchmark", fails)
    monkeypatch.setattr(gpu_check, "measure_evaluation", gives("dense"))
    monkeypatch.setattr(gpu_check, "measure_checkpoints", gives("checkpoints"))
    monkeypatch.setattr(gpu_check, "estimate_studies", lambda *_: [Target("hours", "2", met=True)])
    rows = gpu_check.check(tmp_path, console, tiny=False)
    assert [row.text for row in rows] == ["tests", "pilot", "steps and epochs", "dense", "checkpoints", "hours"]
    assert [row.met for row in rows] == [True, False, False, True, True, True]
    assert rows[1].measured == "ValueError: no such thing"


def test_the_benchmark_gives_its_targets_and_prints_utilisations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, console: Console, capsys: pytest.CaptureFixture[str]
) -> None:
    rate = 100.0  # images a second
    rows = [make_row(INPUT, OURS, [Timing(1e-3, 100)], None, 224, "bfloat16")]
    for net in ("A", "E"):
        rows += [make_row(measure, OURS, [Timing(1.0, 100)], net, 224, "bfloat16") for measure in (STEP, EPOCH)]
        rows.append(make_row(EPOCH, "torchvision compiled", [Timing(1.0, 50)], net, 224, "bfloat16"))
    product = 4 * 6e9 * count_gmacs("E", CLASSES, 224) * rate
    results = Results(
        plan="gpu", seconds=1.0, kind="cuda", machine={}, versions={}, archive="", images={"A at 224 pixels": 500},
        batch_size={}, matrix_products={"bfloat16": [product]}, loader_processes_tried={}, rows=rows,
    )  # fmt: skip
    monkeypatch.setattr(gpu_check, "run_benchmark", lambda *_: results)
    targets, shortest = gpu_check.benchmark(GPU, tmp_path, console)
    assert shortest == 5.0
    assert {one.measured for one in targets if one.text.startswith("epoch")} == {"2.00"}
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("E") and "step" in line)
    assert line.split() == ["E", "224", "step", "ours", "100", "0.25"]


def test_nothing_of_dvc_is_imported() -> None:
    program = "import benchmarks.gpu_check, sys; print('dvc' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
