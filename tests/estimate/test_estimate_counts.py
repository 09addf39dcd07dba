from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from vgg_ablation.estimate.counts import count_images, count_search_epochs, count_steps
from vgg_ablation.settings import StudySettings

BLOCKS = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8"))["studies"]


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
