"""How much work a study is: stages, images, steps and epochs, counted from its settings alone."""

from dataclasses import dataclass

from vgg_ablation.dataset.sample import CATEGORIES, SAMPLE_PER_CATEGORY
from vgg_ablation.dataset.splits import validation_per_class
from vgg_ablation.runtime.settings import SCALES, DataSettings, TrainSettings, TuneSettings

OFFICIAL_CATEGORIES = 256
OFFICIAL_IMAGES = 29_780
"""Files of Caltech-256 without clutter, by its listing."""


@dataclass(frozen=True)
class Images:
    """Number of images of one split."""

    classes: int
    training: int
    validation: int
    test: int


def training_scales(selection: str) -> tuple[str, ...]:
    """Return the scales at which `scale: selection` trains a net: each starts from the weights of the one before."""
    return SCALES if selection == "all" else SCALES[: SCALES.index(selection) + 1]


def evaluated_scales(selection: str) -> tuple[str, ...]:
    """Return the training scales whose nets `scale: selection` evaluates."""
    return SCALES if selection == "all" else (selection,)


def count_shared_stages(arch: str, scale: str) -> int:
    """Return how many stages run once for all nets, for `arch` and `scale` of params.yaml; `check` is not counted."""
    stages = 4  # download, preprocess, near-duplicates, report
    if arch == "all":
        stages += len(evaluated_scales(scale)) + 1  # aggregate, aggregate-search
    if scale == "all":
        stages += 1  # aggregate-scales
    return stages


def count_images(data: DataSettings) -> Images:
    """Return the images of a split. If only the archive has their number, assume Caltech-256's mean per category."""
    if data.source == "sample":
        categories, per_category = len(CATEGORIES), float(SAMPLE_PER_CATEGORY)
    else:
        categories, per_category = OFFICIAL_CATEGORIES + data.clutter, OFFICIAL_IMAGES / OFFICIAL_CATEGORIES
    classes = categories if data.categories == "all" else len(data.categories)
    return Images(
        classes=classes,
        training=classes * (data.train_per_class - validation_per_class(data)),
        validation=classes * validation_per_class(data),
        test=max(1, round(classes * (per_category - data.train_per_class))),
    )


def count_steps(train: TrainSettings, training: int) -> int:
    """Return the steps of an epoch: whole batches, at least one."""
    return training // min(train.batch_size, training)


def count_search_epochs(tune: TuneSettings) -> float:
    """Return the epochs that a net's search is expected to run.

    Without a pruner all trials run to their end. With one, the first `random_trials` do; of the others, half are
    assumed to stop as early as possible and half to run to their end.
    """
    unpruned = tune.trials if tune.pruner == "none" else min(tune.trials, tune.random_trials)
    shortest = min(tune.prune_after, tune.epochs)
    return unpruned * tune.epochs + (tune.trials - unpruned) * (shortest + tune.epochs) / 2
