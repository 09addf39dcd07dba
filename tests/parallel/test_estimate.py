"""Estimated times, and the command that prints them."""

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path

import pytest
import torch
import yaml

from tiny_study import SAMPLE, SCALES
from vgg_ablation.device import Compute
from vgg_ablation.model.table1 import ABLATION
from vgg_ablation.parallel import __main__ as command
from vgg_ablation.parallel import estimate as module
from vgg_ablation.parallel.counts import Images, count_images
from vgg_ablation.parallel.estimate import estimate, overhead_seconds, starting_net_seconds, unit_seconds
from vgg_ablation.parallel.machine import Machine
from vgg_ablation.parallel.pace import Pace
from vgg_ablation.parallel.units import Work
from vgg_ablation.runtime.settings import StudySettings

STUDY = StudySettings.model_validate(
    {
        **SAMPLE,
        "data": {**SAMPLE["data"], "splits": 3},
        "train": {**SAMPLE["train"], "epochs": 20, "refit": False},
        "tune": {**SAMPLE["tune"], "epochs": 10, "batch_size": [16, 32, 64]},
        "fine_tune": {"epochs": 4, "rate_factor": 0.1},
    }
)
"""3 runs of 20 epochs; trials of 10."""
IMAGES = Images(classes=10, training=480, validation=100, test=50)


def pace_of(**seconds: float) -> Pace:
    return Pace(**{field.name: seconds.get(field.name, 0.0) for field in fields(Pace)})


def test_the_time_of_a_unit_is_its_steps_and_images_times_the_pace() -> None:
    pace = {"fixed": pace_of(step=1.0, validation=0.01, evaluation=0.5, fitting=0.125)}
    epoch = 480 // 32 * 1.0 + 100 * 0.01
    work = Work(STUDY, "fixed")
    trial, *_, run = work.units(["C"])
    assert unit_seconds(trial, work, IMAGES, pace) == pytest.approx(10 * epoch)
    assert unit_seconds(run, work, IMAGES, pace) == pytest.approx(20 * epoch + 50 * 0.5 + 480 * 0.125)


def test_a_run_with_refit_trains_on_the_validation_images_too() -> None:
    study = STUDY.model_copy(update={"train": STUDY.train.model_copy(update={"refit": True})})
    work, pace = Work(study, "fixed"), {"fixed": pace_of(step=1.0, validation=0.01, evaluation=0.5, fitting=0.125)}
    trial, *_, run = work.units(["C"])
    assert unit_seconds(trial, work, IMAGES, pace) == pytest.approx(10 * (480 // 32 + 100 * 0.01))
    assert unit_seconds(run, work, IMAGES, pace) == pytest.approx(20 * (580 // 32) + 50 * 0.5 + 580 * 0.125)


def test_the_a_that_deep_nets_start_from_is_trained_for_each_batch_size_and_each_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "measure_pace", lambda *_: pace_of(step=1.0, validation=0.01))
    model = STUDY.model.model_copy(update={"init": "paper"})
    work = Work(STUDY.model_copy(update={"model": model}), "fixed")
    compute = Compute(torch.device("cpu"), torch.float32)
    expected = (3 * 10 + 3 * 20) * (480 // 32 + 100 * 0.01)
    assert starting_net_seconds(work, IMAGES, ["C"], compute) == pytest.approx(expected)
    assert starting_net_seconds(work, IMAGES, ["A", "B_5x5"], compute) == 0


@pytest.mark.parametrize(
    ("selection", "seconds"),
    [
        ("fixed", 20 * 16 + 50),
        ("large", 20 * 16 + 4 * 150 + 500),
        ("jitter", 20 * 16 + 4 * 150 + 4 * 1500 + 5000),
        ("all", 20 * 16 + 4 * 150 + 4 * 1500 + 5550),
    ],
)
def test_a_scale_takes_its_own_evaluation_and_all_trainings_before_it(selection: str, seconds: float) -> None:
    paces = {
        "fixed": pace_of(step=1.0, validation=0.01, evaluation=1.0),
        "large": pace_of(step=10.0, evaluation=10.0),
        "jitter": pace_of(step=100.0, evaluation=100.0),
    }
    work = Work(STUDY, selection)
    *_, run = work.units(["C"])
    assert unit_seconds(run, work, IMAGES, paces) == pytest.approx(seconds)


def test_each_trial_and_each_scale_of_a_run_is_prepared_copies_every_epoch_and_writes_at_its_end() -> None:
    pace = pace_of(preparing=1000.0, copying=1.0, writing=100.0, compiling=1e6)
    paces = {"fixed": pace, "large": pace}
    trial, *_, run = Work(STUDY, "large").units(["C"])
    assert overhead_seconds(trial, Work(STUDY, "large"), paces) == 1000 + 10 + 100
    assert overhead_seconds(run, Work(STUDY, "large"), paces) == (1000 + 20 + 100) + (1000 + 4 + 100)


def test_everything_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pace = pace_of(step=1.0, preparing=7.0, copying=0.5, writing=2.0, compiling=40.0)
    monkeypatch.setattr(module, "measure_pace", lambda *_: pace)
    monkeypatch.setattr(module, "measure_start", lambda: 3.0)
    study = STUDY.model_copy(update={"data": STUDY.data.model_copy(update={"source": "caltech256"})})
    work, compute = Work(study, "fixed"), Compute(torch.device("cpu"), torch.float32)
    images = count_images(study.data)
    _, seconds, share = estimate(work, images, "C", "none", ["C"], 1, compute, lambda _: None)
    epoch = images.training // 32
    trials, runs = study.tune.trials, study.data.splits
    trained = trials * 10 * epoch + runs * 20 * epoch
    besides = trials * (7 + 10 * 0.5 + 2) + runs * (7 + 20 * 0.5 + 2)
    stages = 4 + 3  # download, preprocess, near-duplicates, report; tune, train, evaluate
    assert seconds == pytest.approx(trained + besides + 40 + (stages + 1) * 3)
    assert share == pytest.approx(trained / seconds)


@pytest.fixture
def dry_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], torch_as_before: None
) -> Callable[..., str]:
    """Return what runs the command in an empty folder for a tiny study, and returns what it prints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "measure_start", lambda: 1.0)
    monkeypatch.setattr(command, "probe_machine", lambda *_: Machine("cpu", ("1", "2", "3"), 0, 0))
    monkeypatch.setattr("vgg_ablation.parallel.pace.REPETITIONS", 1)
    block = {
        **SAMPLE,
        "data": {**SAMPLE["data"], "splits": 3},
        "tune": {**SAMPLE["tune"], "trials": 2},
        "model": {**SAMPLE["model"], "input_side": 32, "width": 0.02},
        "scales": SCALES,
        "evaluate": {"protocols": {"fixed": ["centre"], "large": ["dense"], "jitter": ["multi_crop"]}},
    }

    def run(data: Mapping[str, object] | None = None, **selection: str) -> str:
        study = {**block, "data": {**block["data"], **(data or {})}}
        params = {"arch": "C", "norm": "none", "scale": "fixed", "study": "tiny", "studies": {"tiny": study}}
        params |= selection
        Path("params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
        command.main(["--dry-run"])
        return capsys.readouterr().out

    return run


def test_the_units_are_listed_from_the_settings_alone_and_nothing_is_written(dry_run: Callable[..., str]) -> None:
    printed = dry_run(arch="B_5x5", scale="all")
    assert re.findall(r"^ *(B_5x5 \w+ \d/\d) ", printed, re.MULTILINE) == [
        *(f"B_5x5 trial {number}/2" for number in (1, 2)),
        *(f"B_5x5 run {number}/3" for number in (1, 2, 3)),
    ]
    assert "arch B_5x5, norm none, scale all" in printed
    assert "3 at the same time" in printed
    assert [path.name for path in Path.cwd().iterdir()] == ["params.yaml"]


@pytest.mark.parametrize("name", ["photos", "photos.tar", "photos.tar.gz", "photos.zip"])
def test_own_images_are_counted(
    dry_run: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Four of each category are not test images, one of them for validation."""
    seen: list[Images] = []
    monkeypatch.setattr(module, "measure_pace", lambda *given: (seen.append(given[3]), pace_of())[1])
    files = [*(f"cat/{n}.jpg" for n in range(7)), *(f"dog/{n}.jpg" for n in range(9)), "text.txt"]
    for file in files:
        (tmp_path / "photos" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / file).write_bytes(b"\xff\xd8\xff")
    if kind := {"tar": "tar", "gz": "gztar", "zip": "zip"}.get(name.rpartition(".")[2]):
        shutil.make_archive(str(tmp_path / "photos"), kind, tmp_path / "photos")
    printed = dry_run(data={"source": name, "train_per_class": 4})
    assert seen[0] == Images(classes=2, training=6, validation=2, test=8)
    assert "assumed: all files are usable images" in " ".join(printed.split())
    assert f"{name}: 2 categories of 7 to 9 files, 16 in all" in printed


def test_all_nets_at_all_scales_are_estimated(dry_run: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[tuple[str, str]] = []

    def measure(arch: str, scale: str, *_: object) -> Pace:
        measured.append((arch, scale))
        return pace_of()

    monkeypatch.setattr(module, "measure_pace", measure)
    printed = dry_run(arch="all", norm="all", scale="all")
    nets = [*ABLATION, *(f"{arch}_BN" for arch in ABLATION)]
    assert list(dict.fromkeys(re.findall(r"^ *(\w+) trial", printed, re.MULTILINE))) == nets
    assert measured == [(net, scale) for net in nets for scale in ("fixed", "large", "jitter")]


@pytest.mark.parametrize(
    ("key", "allowed"), [("arch", "all, A, "), ("norm", "none, batch"), ("scale", "fixed, large, jitter, all")]
)
def test_a_wrong_name_is_one_line(
    dry_run: Callable[..., str], key: str, allowed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        dry_run(**{key: "X"})
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"parallel: params.yaml: {key} = 'X'; allowed: {allowed}")
