import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import yaml

from benchmarks.estimate import __main__ as command
from benchmarks.estimate.counts import Images
from benchmarks.estimate.pace import Pace
from vgg_ablation.runtime.settings import StudySettings

PARAMS = yaml.safe_load((Path(__file__).parents[3] / "params.yaml").read_text(encoding="utf-8"))
BLOCK = PARAMS["studies"]["sample"]
STUDY = StudySettings.model_validate({**BLOCK, "fine_tune": {"epochs": 4}})  # 3 runs of 20 epochs; 8 trials of 10
IMAGES = Images(classes=10, training=480, validation=100, test=50)


def test_a_nets_time_is_its_steps_and_images_times_its_pace() -> None:
    pace = Pace(step=1.0, validation=0.01, evaluation=0.5, fitting=0.125, warm_up=7.0)
    epoch = 480 // 32 * 1.0 + 100 * 0.01
    assert command.stages_seconds(STUDY, IMAGES, {"fixed": pace}, "fixed", start=3.0) == pytest.approx(
        {
            "search": 10 + 8 * 10 * epoch,
            "training": 10 + 3 * 20 * epoch,
            "evaluation": 3 + 3 * (50 * 0.5 + 480 * 0.125),
        }
    )


@pytest.mark.parametrize(
    ("selection", "training", "evaluation"),
    [
        ("fixed", 10 + 3 * 20 * 16, 3 + 3 * 50),
        ("large", 10 + 3 * 20 * 16 + 30 + 3 * 4 * 150, 3 + 3 * 500),
        ("jitter", 10 + 3 * 20 * 16 + 30 + 3 * 4 * 150 + 3 + 3 * 4 * 1500, 3 + 3 * 5000),
        ("all", 10 + 3 * 20 * 16 + 30 + 3 * 4 * 150 + 3 + 3 * 4 * 1500, 9 + 3 * 5550),
    ],
)
def test_a_scale_takes_its_own_evaluation_and_all_trainings_before_it(
    selection: str, training: float, evaluation: float
) -> None:
    paces = {
        "fixed": Pace(step=1.0, validation=0.01, evaluation=1.0, fitting=0.0, warm_up=7.0),
        "large": Pace(step=10.0, validation=0.0, evaluation=10.0, fitting=0.0, warm_up=27.0),
        "jitter": Pace(step=100.0, validation=0.0, evaluation=100.0, fitting=0.0, warm_up=0.0),
    }
    seconds = command.stages_seconds(STUDY, IMAGES, paces, selection, start=3.0)
    assert seconds == pytest.approx({"search": 10 + 8 * 10 * 16, "training": training, "evaluation": evaluation})


@pytest.fixture
def estimate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., str]]:
    """Return what runs the command in an empty folder for a tiny study, and returns what it prints."""
    before = torch.get_deterministic_debug_mode()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "measure_start", lambda: 1.0)
    monkeypatch.setattr("benchmarks.estimate.pace.REPETITIONS", 1)
    block = {
        **BLOCK,
        "model": {**BLOCK["model"], "input_side": 32, "width": 0.02},
        "scales": {
            "fixed": {"train": 32, "test": [32, 36, 40]},
            "large": {"train": 48, "test": [40, 48, 56]},
            "jitter": {"train": [36, 64], "test": [36, 50, 64]},
        },
        "evaluate": {"protocols": {"fixed": ["centre"], "large": ["dense"], "jitter": ["multi_crop"]}},
    }

    def run(**selection: str) -> str:
        params = {"arch": "C", "scale": "fixed", **selection, "study": "tiny", "studies": {"tiny": block}}
        Path("params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
        command.main()
        return capsys.readouterr().out

    yield run
    torch.set_deterministic_debug_mode(before)


def test_the_command_needs_only_the_settings_and_writes_nothing(estimate: Callable[..., str]) -> None:
    printed = estimate(arch="B_5x5", scale="all")
    assert re.findall(r"│ (\w+) +│", printed) == ["B_5x5", "shared", "all"]
    assert "arch B_5x5, scale all" in printed
    (seconds,) = re.findall(r"study tiny: .* \((\d+) s\), estimated", printed)
    assert int(seconds) >= 4 + 3  # starts of stages
    assert [path.name for path in Path.cwd().iterdir()] == ["params.yaml"]


def test_all_nets_at_all_scales_are_estimated(estimate: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[tuple[str, str]] = []

    def measure(arch: str, scale: str, *_: object) -> Pace:
        measured.append((arch, scale))
        return Pace(0.0, 0.0, 0.0, 0.0, 0.0)

    monkeypatch.setattr(command, "measure_pace", measure)
    nets = ["A", "A_LRN", "B", "C", "D", "E"]
    assert re.findall(r"│ (\w+) +│", estimate(arch="all", scale="all")) == [*nets, "shared", "all"]
    assert measured == [(net, scale) for net in nets for scale in ("fixed", "large", "jitter")]


@pytest.mark.parametrize(("key", "allowed"), [("arch", "all, A, "), ("scale", "fixed, large, jitter, all")])
def test_a_wrong_name_is_one_line(
    estimate: Callable[..., str], key: str, allowed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        estimate(**{key: "X"})
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"estimate: params.yaml: {key} = 'X'; allowed: {allowed}")
