"""Amount of work of a study: stages, images, steps and epochs, counted from its settings alone."""

from dataclasses import dataclass, replace

from vgg_ablation.dataset.archive import OFFICIAL_CATEGORIES
from vgg_ablation.dataset.layout import Listing
from vgg_ablation.dataset.pack import choose
from vgg_ablation.dataset.sample import CATEGORIES, SAMPLE_PER_CATEGORY
from vgg_ablation.dataset.splits import FOLDERS, draw_splits, require_split, validation_images
from vgg_ablation.evaluate.protocols import CROPS
from vgg_ablation.images.index import TEST, TRAIN, VALIDATION
from vgg_ablation.model.table1 import count_gmacs
from vgg_ablation.parallel.units import Unit, Work
from vgg_ablation.runtime.names import ALL, NORMS, chosen
from vgg_ablation.runtime.settings import DataSettings, TrainSettings, TuneSettings

OFFICIAL_IMAGES = 29_780
"""Files of Caltech-256 without clutter, by its listing."""
_TYPICAL_DRAWN = 60
"""Images of a category for training and validation, where folders give the split: those of appendix B."""
ASPECT = 4 / 3
"""Width of a photograph divided by its height."""


@dataclass(frozen=True)
class Images:
    """Number of images of one split."""

    classes: int
    training: int
    validation: int
    test: int


def count_shared_stages(arch: str, norm: str, work: Work) -> int:
    """Return how many stages run once for several nets, for a selection of params.yaml; `check` is not counted."""
    merging = 0  # of one normalisation
    if arch == ALL:
        merging += len(work.evaluated_scales) + 1  # aggregate, aggregate-search
    if work.scale == ALL:
        merging += 1  # aggregate-scales
    both = 2 if norm == ALL else 0  # aggregate-norms, aggregate-norms-search
    return 4 + merging * len(chosen(norm, NORMS)) + both  # download, preprocess, near-duplicates, report


def count_images(data: DataSettings) -> Images:
    """Return the images of a split. If only the archive has their number, assume Caltech-256's mean per category."""
    if data.source == "sample":
        categories, per_category = len(CATEGORIES), float(SAMPLE_PER_CATEGORY)
    else:
        categories, per_category = OFFICIAL_CATEGORIES + data.clutter, OFFICIAL_IMAGES / OFFICIAL_CATEGORIES
    classes = categories if data.categories == "all" else len(data.categories)
    drawn = _TYPICAL_DRAWN if data.train_per_class == FOLDERS else int(data.train_per_class)
    validation = validation_images(drawn, data.validation_fraction)
    return Images(
        classes=classes,
        training=classes * (drawn - validation),
        validation=classes * validation,
        test=max(1, round(classes * (per_category - drawn))),
    )


def count_listed(listing: Listing, data: DataSettings) -> Images:
    """Return the images of a split of what a source holds, as if all files were usable images.

    Raises:
        StageError: it has too few images, or not the categories that the settings name.
    """
    members = choose(listing, data.categories, clutter=data.clutter).members
    parts = {member.path: member.part for member in members}
    categories = {member.path: member.category for member in members}
    require_split(parts, categories, data)
    given = list(parts.values()) if data.train_per_class == FOLDERS else None
    split = draw_splits(list(categories.values()), data, given)[0]
    return Images(len(set(categories.values())), *(split.count(part) for part in (TRAIN, VALIDATION, TEST)))


def typical_batch(tune: TuneSettings, training: int) -> int:
    """Return the batch size that estimates assume: the middle one of those to choose from."""
    return min(tune.batch_size[len(tune.batch_size) // 2], training)


def of_run(images: Images, train: TrainSettings) -> Images:
    """Return the images of a run, given those of a trial: with `refit`, it trains on the validation images too."""
    return replace(images, training=images.training + images.validation, validation=0) if train.refit else images


def count_trial_epochs(tune: TuneSettings, number: int) -> float:
    """Return the epochs that trial `number` of a search is expected to run.

    Without a pruner, and in the first `random_trials`, all of them; of later ones with a pruner, half are assumed to
    stop as early as possible.
    """
    if tune.pruner == "none" or number < tune.random_trials:
        return tune.epochs
    return (min(tune.prune_after, tune.epochs) + tune.epochs) / 2


def unit_gmacs(unit: Unit, work: Work) -> float:
    """Return the multiply-accumulates (1e9) of a unit: forward and backward in training, one view after another."""
    study, images = work.study, count_images(work.study.data)
    side, width = study.model.input_side, study.model.width
    crop = count_gmacs(unit.arch, images.classes, side, width)
    if unit.kind == "run":
        images = of_run(images, study.train)
    epoch = crop * (3 * images.training + images.validation)
    if unit.kind == "trial":
        return epoch * count_trial_epochs(study.tune, unit.number)
    total = sum(epoch * work.study.epochs_at(scale) for scale in work.trained_scales)
    for scale in work.evaluated_scales:
        for view in work.views(scale):
            shape = view.scale, round(ASPECT * view.scale)
            if view.method == "dense":
                each = 2 * count_gmacs(unit.arch, images.classes, side, width, image=shape)
            else:
                each = crop * (1 if view.method == "centre" else CROPS)
            total += each * images.test
        total += crop * images.training  # for the training error
    return total
