"""Whatever kills a study, and whenever: the next `dvc repro` ends with the bytes of a study that was left alone."""

import shutil
from pathlib import Path

import pytest
import yaml
from repository import Repository
from torture import KINDS, STOPPED_WITHIN, Record, compare, count_epochs, plan, torture, undisturbed

SEED = 0
KILLS = 36
SHORT_KILLS = 5
LONGER = {
    "data": {"side": 72, "train_per_class": 20},
    "model": {"input_side": 64, "width": 0.125, "batch_norm": True},
    "train": {"epochs": 8},
    "tune": {"trials": 3, "epochs": 4},
}


def prepared(origin: Repository, folder: Path, arch: str) -> Repository:
    """Return a clone whose study takes long enough to be killed in the middle, and counts its epochs."""
    repository = origin.clone(folder)
    file = repository.folder / "params.yaml"
    params = yaml.safe_load(file.read_text())
    params["arch"] = arch
    for section, settings in LONGER.items():
        params["studies"]["tiny"][section] |= settings
    file.write_text(yaml.safe_dump(params, sort_keys=False))
    count_epochs(repository)
    return repository


def tortured(origin: Repository, folder: Path, arch: str, kills: int, stages: set[str]) -> Record:
    """Kill studies of `arch` until `kills` have hit, and each of `stages` at least once."""
    alone = prepared(origin, folder / "alone" / "repository", arch)
    takes = undisturbed(alone)
    record = Record()
    for number in range(10):
        missing = {name: takes[name] for name in takes if name.split("@")[0] in stages - record.stages}
        left = max(kills - len(record.kills), len(missing))
        disturbed = prepared(origin, folder / f"disturbed-{number}" / "repository", arch)
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
    assert record.most_repeated <= 1
    assert record.slowest_stop < STOPPED_WITHIN
    return record


@pytest.mark.end_to_end
@pytest.mark.timeout(900)
def test_a_study_that_is_killed_five_times_ends_with_the_same_bytes(origin: Repository, tmp_path: Path) -> None:
    tortured(origin, tmp_path, "C", SHORT_KILLS, set())


@pytest.mark.torture
@pytest.mark.timeout(3600)
def test_a_study_that_is_killed_thirty_times_ends_with_the_same_bytes(origin: Repository, tmp_path: Path) -> None:
    stages = {"check", "download", "preprocess", "tune", "train", "evaluate", "aggregate", "report"}
    record = tortured(origin, tmp_path, "all", KILLS, stages)
    assert {kind for _, kind in record.kills} == set(KINDS)
