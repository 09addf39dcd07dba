"""A study of two nets on twelve images, in a folder of its own."""

import copy
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tiny_study import SAMPLE, SCALES
from vgg_ablation.device import choose_compute
from vgg_ablation.model.weights import unpack
from vgg_ablation.parallel.computing import WEIGHTS, compute_unit, open_search
from vgg_ablation.parallel.units import Work
from vgg_ablation.runtime.checkpoints import Checkpoints
from vgg_ablation.runtime.settings import StudySettings
from vgg_ablation.train.search import Trial

NETS = ("A", "C_BN")


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_processed: Callable[[Path], None]) -> Work:
    """Change to a folder with packed images; return a study of two trials in two rounds and two runs a net."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    write_processed(tmp_path / "data" / "processed")
    block = copy.deepcopy(SAMPLE)
    block["data"]["splits"] = 2
    block["scales"] = SCALES
    block["model"] |= {"input_side": 32, "width": 1 / 16}
    block["train"]["epochs"] = 2
    block["fine_tune"]["epochs"] = 1
    block["tune"] |= {"trials": 2, "round_size": 1, "epochs": 1, "random_trials": 1, "batch_size": [2, 4]}
    block["evaluate"]["protocols"] = {"fixed": ["dense"], "large": ["centre"], "jitter": ["centre"]}
    return Work(StudySettings.model_validate(block), "large")


@pytest.fixture
def computed_in_order(work: Work) -> dict[str, object]:
    """The results of the study's units, computed one after another in this process, which are then removed."""
    compute = choose_compute(threads=1)
    for unit in work.units(NETS):
        compute_unit(unit, work, compute, pytest.fail, lambda _: None)
    found = read_results(work)
    Path(".state").rename("state-of-the-units-in-order")
    shutil.rmtree("live")
    return found


def read_results(work: Work) -> dict[str, object]:
    """Return trials, weights and posteriors in the resume state, by name; the order and the times do not count."""
    found: dict[str, object] = {}
    for arch in NETS:
        trials = open_search(arch, work, choose_compute(threads=1), pytest.fail).trials.read()
        found |= {f"{arch} trial {number}": Trial.of(trial) for number, trial in trials.items()}
    for path in Path(".state/train").glob(f"*/{WEIGHTS}"):
        found[path.parent.name] = path.read_bytes()
    for path in Path(".state/evaluate").glob("*/*.0"):
        content = Checkpoints(path.with_suffix(""), pytest.fail).read()
        assert content is not None
        found[f"{path.parent.name}/{path.stem}"] = unpack(content, "posteriors")["posteriors"].numpy().tobytes()
    return found


@pytest.fixture
def results() -> Callable[[Work], dict[str, object]]:
    """A function that returns the results in the resume state."""
    return read_results
