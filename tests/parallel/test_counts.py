from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo

from tiny_study import PARAMS, ROOT
from vgg_ablation.model.table1 import ABLATION, count_gmacs
from vgg_ablation.parallel.counts import (
    count_images,
    count_shared_stages,
    count_trial_epochs,
    typical_batch,
    unit_gmacs,
)
from vgg_ablation.parallel.units import Work
from vgg_ablation.runtime.settings import SCALES, StudySettings


def study(name: str = "sample", **sections: Mapping[str, object]) -> StudySettings:
    block = PARAMS["studies"][name]
    return StudySettings.model_validate({key: {**values, **sections.get(key, {})} for key, values in block.items()})


def test_the_sample_has_six_hundred_images_a_category() -> None:
    images = count_images(study().data)
    assert (images.classes, images.training, images.validation, images.test) == (10, 2400, 600, 3000)


@pytest.mark.parametrize("clutter", [False, True])
def test_all_of_caltech256_has_60_images_a_category_to_train_on(clutter: bool) -> None:
    images = count_images(study("caltech256", data={"clutter": clutter}).data)
    assert images.classes == 256 + clutter
    assert images.training + images.validation == 60 * images.classes
    if not clutter:
        assert images.training + images.validation + images.test == 29_780


@pytest.mark.parametrize(
    ("sizes", "images", "typical"), [([16, 32, 64], 480, 32), ([64], 480, 64), ([16, 32], 480, 32), ([64], 20, 20)]
)
def test_estimates_assume_the_middle_batch_size(sizes: list[int], images: int, typical: int) -> None:
    assert typical_batch(study(tune={"batch_size": sizes}).tune, images) == typical


@pytest.mark.parametrize(
    ("trials", "random_trials", "prune_after", "epochs"),
    [(5, 3, 4, 36), (2, 5, 4, 16), (5, 1, 20, 40), (9, 1, 1, 44)],
)
def test_half_of_the_trials_that_may_be_pruned_are(
    trials: int, random_trials: int, prune_after: int, epochs: float
) -> None:
    tune = {"trials": trials, "random_trials": random_trials, "prune_after": prune_after, "epochs": 8}
    pruned, unpruned = (study(tune={**tune, "pruner": pruner}).tune for pruner in ("median", "none"))
    assert sum(count_trial_epochs(pruned, number) for number in range(trials)) == epochs
    assert sum(count_trial_epochs(unpruned, number) for number in range(trials)) == trials * 8


def test_the_work_of_a_unit_is_its_multiply_accumulates() -> None:
    """Forward and backward: three times forward. The runs train on the 600 validation images too."""
    crop = count_gmacs("A", 10, 32, 0.125)
    centre, crops = (
        Work(
            study(
                train={"epochs": 20}, tune={"epochs": 10}, evaluate={"protocols": {scale: [name] for scale in SCALES}}
            ),
            "fixed",
        )
        for name in ("centre", "multi_crop")
    )
    *_, run = centre.units(["A"])
    assert unit_gmacs(run, centre) == pytest.approx(crop * (20 * 3 * 3000 + 3000 + 3000))
    trial, *_ = centre.units(["A"])
    assert unit_gmacs(trial, centre) == pytest.approx(crop * 10 * (3 * 2400 + 600))
    assert unit_gmacs(run, crops) - unit_gmacs(run, centre) == pytest.approx(crop * 3000 * (3 * 50 - 1))


@pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")  # of a library that DVC uses
@pytest.mark.parametrize(
    ("arch", "norm", "scale"),
    [("B_5x5", "none", "jitter"), ("all", "batch", "fixed"), ("C", "all", "all"), ("all", "all", "all")],
)
def test_the_counted_stages_are_those_that_dvc_repro_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arch: str, norm: str, scale: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("dvc.yaml", "stages/dvc.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    selection = {"arch": arch, "norm": norm, "scale": scale}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({**PARAMS, **selection}), encoding="utf-8")
    with Repo.init(str(tmp_path), no_scm=True) as repository:
        report = next(stage for stage in repository.index.stages if stage.addressing == "report")
        graph = repository.index.graph
        needed, waiting = set(), [report]
        while waiting:
            waiting += graph.successors(stage := waiting.pop())
            needed.add(stage.addressing.removeprefix("stages/dvc.yaml:"))

    norms = ("none", "batch") if norm == "all" else (norm,)
    nets = [f"{net}-{each}" for net in (ABLATION if arch == "all" else [arch]) for each in norms]
    trainings = {"fixed": "train", "large": "train-large", "jitter": "train-jitter"}
    of_nets = {f"tune@{net}" for net in nets}
    work = Work(study(), scale)
    of_nets |= {f"{trainings[at]}@{net}" for net in nets for at in work.trained_scales}
    of_nets |= {f"evaluate@{net}-{at}" for net in nets for at in work.evaluated_scales}
    assert {name for name in needed if name.startswith(("tune", "train", "evaluate"))} == of_nets
    assert len(needed - of_nets - {"check"}) == count_shared_stages(arch, norm, work)
