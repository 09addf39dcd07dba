"""After any kill, `dvc repro` ends with the bytes of a study that was left alone."""

import os
import shutil
from pathlib import Path

import pytest
import yaml
from repository import Repository
from torture import KINDS, STOPPED_WITHIN, Record, compare, count_epochs, plan, torture, torture_parallel, undisturbed

from vgg_ablation.runtime.checkpoints import VARIABLE as CHECKPOINT_SECONDS

SEED = 0
KILLS = 36
SHORT_KILLS = 3
PARALLEL_KILLS = 10
LONGER = {
    "data": {"train_per_class": 20},
    "scales": {
        "fixed": {"train": 72, "test": [64, 72, 80]},
        "large": {"train": 88, "test": [80, 88, 96]},
        "jitter": {"train": [72, 96], "test": [72, 88, 96]},
    },
    "model": {"input_side": 64, "width": 0.125},
    "train": {"epochs": 8},
    "fine_tune": {"epochs": 2},
    "tune": {"trials": 3, "epochs": 4},
}


def prepared(origin: Repository, folder: Path, arch: str, scale: str) -> Repository:
    """Return a clone whose study takes long enough to be killed in the middle, and counts its epochs."""
    repository = origin.clone(folder)
    file = repository.folder / "params.yaml"
    params = yaml.safe_load(file.read_text())
    params |= {"arch": arch, "norm": "batch", "scale": scale}
    for section, settings in LONGER.items():
        params["studies"]["tiny"][section] |= settings
    file.write_text(yaml.safe_dump(params, sort_keys=False))
    count_epochs(repository)
    return repository


def tortured(origin: Repository, folder: Path, arch: str, scale: str, kills: int, stages: set[str]) -> Record:
    """Kill studies of `arch` at `scale` until `kills` have hit, and each of `stages` at least once."""
    alone = prepared(origin, folder / "alone" / "repository", arch, scale)
    takes = undisturbed(alone)
    record = Record()
    for number in range(10):
        missing = {name: takes[name] for name in takes if name.split("@")[0] in stages - record.stages}
        left = max(kills - len(record.kills), len(missing))
        disturbed = prepared(origin, folder / f"disturbed-{number}" / "repository", arch, scale)
        # A stage that was missed had ended before: what DVC does after it counts as its time, too.
        hurry = {stage: seconds / 4 if number else seconds for stage, seconds in takes.items()}
        torture(disturbed, hurry, plan(missing or takes, left, SEED + number), record)
        compare(disturbed, alone, record)
        shutil.rmtree(disturbed.folder)
        if len(record.kills) >= kills and stages <= record.stages:
            break
    print(f"\n{record}")
    assert record.differences == []
    assert len(record.kills) >= kills
    assert stages <= record.stages
    if os.environ[CHECKPOINT_SECONDS] == "0":
        assert record.most_repeated <= 2, "an epoch, and the one before, which was still being written"
    assert record.most_repeated_after_stop <= 1
    assert record.slowest_stop < STOPPED_WITHIN
    return record


@pytest.mark.end_to_end
@pytest.mark.timeout(1800)
def test_a_study_that_is_killed_three_times_ends_with_the_same_bytes(origin: Repository, tmp_path: Path) -> None:
    tortured(origin, tmp_path, "C", "fixed", SHORT_KILLS, set())


@pytest.mark.torture
@pytest.mark.timeout(1800)
def test_a_study_with_a_checkpoint_a_minute_that_is_killed_ends_with_the_same_bytes(
    origin: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runs take seconds: SIGKILL costs the whole run, SIGTERM and Ctrl-C at most one epoch."""
    monkeypatch.setenv(CHECKPOINT_SECONDS, "60")
    tortured(origin, tmp_path, "C", "fixed", 2 * len(KINDS), {"tune", "train"})


@pytest.mark.torture
@pytest.mark.timeout(3600)
def test_a_study_that_is_killed_thirty_times_ends_with_the_same_bytes(origin: Repository, tmp_path: Path) -> None:
    stages = {"check", "download", "preprocess", "near-duplicates", "tune", "train", "train-large", "train-jitter"}
    stages |= {"evaluate", "aggregate", "aggregate-scales", "aggregate-search", "report"}
    record = tortured(origin, tmp_path, "all", "all", KILLS, stages)
    assert {kind for _, kind in record.kills} == set(KINDS)


@pytest.mark.torture
@pytest.mark.timeout(1800)
def test_a_study_killed_while_it_is_computed_in_parallel_ends_with_the_same_bytes(
    origin: Repository, tmp_path: Path
) -> None:
    """A kill of the command costs two epochs in each of its two processes at most, one of a process another two."""
    alone = prepared(origin, tmp_path / "alone" / "repository", "all", "fixed")
    undisturbed(alone)
    disturbed = prepared(origin, tmp_path / "disturbed" / "repository", "all", "fixed")
    record = Record()
    torture_parallel(disturbed, PARALLEL_KILLS, SEED, record)
    disturbed.succeed("dvc", "repro")
    compare(disturbed, alone, record)
    print(f"\n{record}")
    assert record.differences == []
    assert len(record.kills) == PARALLEL_KILLS
    assert record.most_repeated <= 6
    assert record.slowest_stop < STOPPED_WITHIN
