"""How much work a study is: images, steps and epochs, counted from its settings alone."""

from dataclasses import dataclass

from vgg_ablation.dataset.archive import SAMPLE_PER_CATEGORY
from vgg_ablation.dataset.sample import CATEGORIES
from vgg_ablation.runtime.settings import SCALES, DataSettings, TrainSettings, TuneSettings

OFFICIAL_CATEGORIES = 256
OFFICIAL_IMAGES = 29_780
"""Files of Caltech-256 without clutter, by its listing."""


@dataclass(frozen=True)
class Images:
    """The images of one split."""

    classes: int
    training: int
    validation: int
    test: int


def training_scales(selection: str) -> tuple[str, ...]:
    """Return the scales at which a net is trained for `scale: selection`: each starts from the weights of the last."""
    return SCALES if selection == "all" else SCALES[: SCALES.index(selection) + 1]


def evaluated_scales(selection: str) -> tuple[str, ...]:
    """Return the training scales whose nets are evaluated for `scale: selection`."""
    return SCALES if selection == "all" else (selection,)


def count_shared_stages(arch: str, scale: str) -> int:
    """Return how many stages run once for all nets: `arch` and `scale` are what params.yaml selects."""
    stages = 4  # download, preprocess, near-duplicates, report
    if arch == "all":
        stages += len(evaluated_scales(scale)) + 1  # aggregate, aggregate-search
    if scale == "all":
        stages += 1  # aggregate-scales
    return stages


def count_images(data: DataSettings) -> Images:
    """Return the images of a split; where only the archive could tell, as many a category as Caltech-256 has."""
    if data.source == "sample":
        every, a_category = len(CATEGORIES), float(SAMPLE_PER_CATEGORY)
    else:
        every, a_category = OFFICIAL_CATEGORIES + data.clutter, OFFICIAL_IMAGES / OFFICIAL_CATEGORIES
    classes = every if data.categories == "all" else len(data.categories)
    return Images(
        classes=classes,
        training=classes * (data.train_per_class - data.validation_per_class),
        validation=classes * data.validation_per_class,
        test=max(1, round(classes * (a_category - data.train_per_class))),
    )


def count_steps(train: TrainSettings, training: int) -> int:
    """Return the steps of an epoch: whole batches, at least one."""
    return training // min(train.batch_size, training)


def count_search_epochs(tune: TuneSettings) -> float:
    """Return the epochs that a net's search is expected to run.

    The trials before the pruner may stop any run to their end; of the later ones half are taken to be stopped as soon
    as they may be, and half to run to their end. Without a pruner, all run to their end.
    """
    unpruned = tune.trials if tune.pruner == "none" else min(tune.trials, tune.random_trials)
    shortest = min(tune.prune_after, tune.epochs)
    return unpruned * tune.epochs + (tune.trials - unpruned) * (shortest + tune.epochs) / 2
