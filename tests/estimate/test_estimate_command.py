import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

from vgg_ablation.estimate import __main__ as command
from vgg_ablation.estimate.__main__ import main, stages_seconds
from vgg_ablation.estimate.counts import Images
from vgg_ablation.estimate.pace import Pace
from vgg_ablation.settings import StudySettings

PARAMS = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8"))


def test_a_nets_time_is_its_steps_and_images_times_its_pace() -> None:
    study = StudySettings.model_validate(PARAMS["studies"]["sample"])  # 3 runs of 20 epochs; 8 trials of 10
    pace = Pace(step=1.0, validation=0.01, evaluation=0.5, warm_up=7.0)
    found = stages_seconds(study, Images(classes=10, training=480, validation=100, test=50), pace, start=3.0)
    epoch = 480 // 32 * 1.0 + 100 * 0.01
    assert found == pytest.approx(
        {"tune": 10 + 8 * 10 * epoch, "train": 10 + 3 * 20 * epoch, "evaluate": 3 + 3 * 50 * 0.5}
    )


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict]:
    """Work in an empty folder, for a study of nets that take no time."""
    before = torch.get_deterministic_debug_mode()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "measure_start", lambda: 1.0)
    block = PARAMS["studies"]["sample"]
    block = {**block, "model": {**block["model"], "input_side": 32, "width": 0.02}}
    yield {"arch": "C", "study": "tiny", "studies": {"tiny": block}}
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


def test_a_wrong_name_is_one_line(params: dict, capsys: pytest.CaptureFixture[str]) -> None:
    Path("params.yaml").write_text(yaml.safe_dump({**params, "arch": "F"}), encoding="utf-8")
    with pytest.raises(SystemExit):
        main()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("estimate: params.yaml: arch = 'F'; allowed: all, A,")
