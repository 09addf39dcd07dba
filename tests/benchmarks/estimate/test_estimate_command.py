import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

from benchmarks.estimate import __main__ as command
from benchmarks.estimate.__main__ import main, stages_seconds
from benchmarks.estimate.counts import Images
from benchmarks.estimate.pace import Pace
from vgg_ablation.runtime.settings import StudySettings

PARAMS = yaml.safe_load((Path(__file__).parents[3] / "params.yaml").read_text(encoding="utf-8"))


STUDY = StudySettings.model_validate(
    {**PARAMS["studies"]["sample"], "fine_tune": {"epochs": 4}}  # 3 runs of 20 epochs; 8 trials of 10
)
IMAGES = Images(classes=10, training=480, validation=100, test=50)


def test_a_nets_time_is_its_steps_and_images_times_its_pace() -> None:
    pace = Pace(step=1.0, validation=0.01, evaluation=0.5, fitting=0.125, warm_up=7.0)
    found = stages_seconds(STUDY, IMAGES, {"fixed": pace}, "fixed", start=3.0)
    epoch = 480 // 32 * 1.0 + 100 * 0.01
    assert found == pytest.approx(
        {"tune": 10 + 8 * 10 * epoch, "train": 10 + 3 * 20 * epoch, "evaluate": 3 + 3 * (50 * 0.5 + 480 * 0.125)}
    )


@pytest.mark.parametrize(
    ("selection", "trained", "evaluated"),
    [
        ("fixed", 10 + 3 * 20 * 16, 3 + 3 * 50),
        ("large", 10 + 3 * 20 * 16 + 30 + 3 * 4 * 150, 3 + 3 * 500),
        ("jitter", 10 + 3 * 20 * 16 + 30 + 3 * 4 * 150 + 3 + 3 * 4 * 1500, 3 + 3 * 5000),
        ("all", 10 + 3 * 20 * 16 + 30 + 3 * 4 * 150 + 3 + 3 * 4 * 1500, 9 + 3 * 5550),
    ],
)
def test_a_scale_takes_the_trainings_that_it_starts_from_and_its_own_evaluation(
    selection: str, trained: float, evaluated: float
) -> None:
    paces = {
        "fixed": Pace(step=1.0, validation=0.01, evaluation=1.0, fitting=0.0, warm_up=7.0),
        "large": Pace(step=10.0, validation=0.0, evaluation=10.0, fitting=0.0, warm_up=27.0),
        "jitter": Pace(step=100.0, validation=0.0, evaluation=100.0, fitting=0.0, warm_up=0.0),
    }
    found = stages_seconds(STUDY, IMAGES, paces, selection, start=3.0)
    assert (found["train"], found["evaluate"]) == pytest.approx((trained, evaluated))
    assert found["tune"] == pytest.approx(10 + 8 * 10 * 16)  # always at the fixed scale


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict]:
    """Work in an empty folder, for a study of nets that take no time."""
    before = torch.get_deterministic_debug_mode()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "measure_start", lambda: 1.0)
    block = PARAMS["studies"]["sample"]
    protocols = {"fixed": ["centre", "dense"], "large": ["dense"], "jitter": ["dense_scales", "multi_crop"]}
    block = {
        **block,
        "model": {**block["model"], "input_side": 32, "width": 0.02},
        "scales": {
            "fixed": {"train": 32, "test": [32, 36, 40]},
            "large": {"train": 48, "test": [40, 48, 56]},
            "jitter": {"train": [36, 64], "test": [36, 50, 64]},
        },
        "evaluate": {"protocols": protocols},
    }
    yield {"arch": "C", "scale": "fixed", "study": "tiny", "studies": {"tiny": block}}
    torch.set_deterministic_debug_mode(before)


def test_the_command_needs_nothing_but_the_settings(params: dict, capsys: pytest.CaptureFixture[str]) -> None:
    Path("params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    main()
    printed = capsys.readouterr().out
    assert re.search(r"│ C +│", printed)
    assert not re.search(r"│ D +│", printed)
    (seconds,) = re.findall(r"study tiny: .* \((\d+) s\), estimated", printed)
    assert int(seconds) >= 4 + 3
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["params.yaml"]


def test_all_nets_are_the_six_of_table_1(params: dict, capsys: pytest.CaptureFixture[str]) -> None:
    Path("params.yaml").write_text(yaml.safe_dump({**params, "arch": "all"}), encoding="utf-8")
    main()
    rows = re.findall(r"│ (\w+) +│", capsys.readouterr().out)
    assert rows == ["A", "A_LRN", "B", "C", "D", "E", "shared", "all"]


def test_the_shallow_net_is_estimated_by_name_at_all_scales(params: dict, capsys: pytest.CaptureFixture[str]) -> None:
    Path("params.yaml").write_text(yaml.safe_dump({**params, "arch": "B_5x5", "scale": "all"}), encoding="utf-8")
    main()
    printed = capsys.readouterr().out
    assert "arch B_5x5, scale all" in printed
    assert re.search(r"│ B_5x5 +│", printed)


@pytest.mark.parametrize(
    ("name", "allowed"), [("arch", "all, A, A_LRN, B, C, D, E, B_5x5"), ("scale", "fixed, large, jitter, all")]
)
def test_a_wrong_name_is_one_line(params: dict, name: str, allowed: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("params.yaml").write_text(yaml.safe_dump({**params, name: "F"}), encoding="utf-8")
    with pytest.raises(SystemExit):
        main()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"estimate: params.yaml: {name} = 'F'; allowed: {allowed}")
