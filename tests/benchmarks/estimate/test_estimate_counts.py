import re
from collections.abc import Mapping
from itertools import product
from pathlib import Path

import pytest
import yaml

from benchmarks.estimate.counts import (
    count_images,
    count_search_epochs,
    count_shared_stages,
    count_steps,
    evaluated_scales,
    training_scales,
)
from vgg_ablation.runtime.settings import StudySettings

ROOT = Path(__file__).parents[3]
BLOCKS = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["studies"]


def study(name: str = "sample", **sections: Mapping[str, object]) -> StudySettings:
    block = {section: {**values, **sections.get(section, {})} for section, values in BLOCKS[name].items()}
    return StudySettings.model_validate(block)


def test_the_sample_has_a_thousand_images() -> None:
    images = count_images(study().data)
    assert (images.classes, images.training, images.validation, images.test) == (10, 480, 120, 400)


@pytest.mark.parametrize("clutter", [False, True])
def test_all_of_caltech256_has_60_images_a_category_to_train_on(clutter: bool) -> None:
    images = count_images(study("caltech256", data={"clutter": clutter}).data)
    assert images.classes == 256 + clutter
    assert images.training + images.validation == 60 * images.classes
    if not clutter:
        assert images.training + images.validation + images.test == 29_780


@pytest.mark.parametrize(("images", "batch", "steps"), [(480, 32, 15), (481, 32, 15), (20, 32, 1), (33, 32, 1)])
def test_an_epoch_is_whole_batches(images: int, batch: int, steps: int) -> None:
    assert count_steps(study(train={"batch_size": batch}).train, images) == steps


@pytest.mark.parametrize(
    ("trials", "random_trials", "prune_after", "epochs"),
    [(5, 3, 4, 36), (5, 5, 4, 40), (2, 5, 4, 16), (5, 1, 20, 40), (9, 1, 1, 44)],
)
def test_half_of_the_trials_that_may_be_pruned_are(
    trials: int, random_trials: int, prune_after: int, epochs: float
) -> None:
    tune = {"trials": trials, "random_trials": random_trials, "prune_after": prune_after, "epochs": 8}
    assert count_search_epochs(study(tune={**tune, "pruner": "median"}).tune) == epochs
    assert count_search_epochs(study(tune={**tune, "pruner": "none"}).tune) == trials * 8


def filled(text: str, **chosen: str) -> str:
    """Return a path of stages/dvc.yaml or dvc.yaml with what stands for a net, a scale."""
    return re.sub(r"\$\{(?:item\.)?(\w+)\}", lambda found: chosen[found[1]], text)


def stages_needed(arch: str, scale: str) -> set[str]:
    """Return the stages that `report` needs by what the pipeline's own files say of dependencies and outputs."""
    root, others = (yaml.safe_load((ROOT / name).read_text("utf-8")) for name in ("dvc.yaml", "stages/dvc.yaml"))
    made: dict[str, tuple[str, list[str]]] = {}
    for name, stage in others["stages"].items():
        matrix = stage.get("matrix", {})
        axes = [others["vars"][0]["nets"] if values == "${nets}" else values for values in matrix.values()]
        for values in product(*axes):
            chosen = dict(zip(matrix, values, strict=True))
            for output in stage["outs"]:
                place = filled(output, **chosen)
                made[place] = ("@".join([name, "-".join(values)]), [filled(dep, **chosen) for dep in stage["deps"]])
    waiting = [filled(dep, arch=arch, scale=scale) for dep in root["stages"]["report"]["deps"]]
    found: set[str] = set()
    while waiting:
        dep = waiting.pop()
        for output, (stage, deps) in made.items():
            if stage not in found and (output == dep or output.startswith(f"{dep}/")):
                found.add(stage)
                waiting += deps
    return found


@pytest.mark.parametrize("scale", ["fixed", "large", "jitter", "all"])
@pytest.mark.parametrize("arch", ["C", "B_5x5", "all"])
def test_the_stages_counted_are_those_that_the_pipeline_runs(arch: str, scale: str) -> None:
    needed = stages_needed(arch, scale)
    nets = ["A", "A_LRN", "B", "C", "D", "E"] if arch == "all" else [arch]
    trainings = {"fixed": "train", "large": "train-large", "jitter": "train-jitter"}
    of_nets = [f"tune@{net}" for net in nets]
    of_nets += [f"{trainings[at]}@{net}" for net in nets for at in training_scales(scale)]
    of_nets += [f"evaluate@{net}-{at}" for net in nets for at in evaluated_scales(scale)]
    assert set(of_nets) <= needed
    assert len(needed) - len(of_nets) == count_shared_stages(arch, scale) - 1  # the report itself
