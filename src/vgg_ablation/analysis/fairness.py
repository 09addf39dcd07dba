"""Was it a fair comparison? Budgets, failures, generalisation gaps, and test images that training images resemble."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from vgg_ablation.analysis.study import Net, Study
from vgg_ablation.report.tables import NONE, PROTOCOL_WORDS, SETTINGS, Number, Table, agreed, decimal, whole

EPOCHS = "epochs at this scale"
"""Of a run; training at a later scale goes on from the weights of the one before."""
IN_SEARCH = "images in all trials"


@dataclass(frozen=True)
class Leak:
    """The test images of one run that have a near-duplicate among the run's training images."""

    run: int
    images: np.ndarray
    """Their numbers, ascending."""
    test_images: int

    @property
    def share(self) -> float:
        """Percent of the test images."""
        return 100 * len(self.images) / self.test_images


@dataclass(frozen=True)
class Effect:
    """A net's error with and without the leaks, percent, means over runs."""

    arch: str
    every: float
    others: float | None
    """On the test images without a near-duplicate; None if some run has no such image."""


def leaks(study: Study) -> list[Leak]:
    """Return the leak of each run that the nets have; nothing where near-duplicates were not looked for."""
    if study.near_duplicates is None:
        return []
    pairs = study.near_duplicates[["image", "other"]].to_numpy()
    both_ways = np.concatenate([pairs, pairs[:, ::-1]])
    found = []
    for run in sorted({run.run for net in study.nets for run in net.runs}):
        part = study.splits[f"split_{run}"]
        training, test = (part.index[part == name].to_numpy() for name in ("train", "test"))
        resembling = both_ways[np.isin(both_ways[:, 1], training), 0]
        found.append(Leak(run, np.intersect1d(test, resembling), len(test)))
    return found


def effects(study: Study, scale: str, protocol: str, found: Sequence[Leak]) -> list[Effect]:
    """Return what leaving the leaks out does to the error of each net of a training scale, under one protocol."""
    leaked = {leak.run: leak.images for leak in found}
    measured = []
    for net in study.at(scale):
        every, others = [], []
        for run in net.runs:
            outcome = study.outcomes.of(net.arch, scale, run.run, protocol)
            kept = outcome.wrong[~np.isin(outcome.images, leaked[run.run])]
            every.append(100 * float(outcome.wrong.mean()))
            others.append(100 * float(kept.mean()) if len(kept) else None)
        whole_runs = [error for error in others if error is not None]
        measured.append(Effect(net.arch, fmean(every), fmean(whole_runs) if len(whole_runs) == len(others) else None))
    return measured


def budget_table(nets: Sequence[Net]) -> Table:
    """Lay out what each net was given: trials and images of its search, epochs and images of its runs."""
    body = [
        (
            net.arch,
            net.scale,
            *(whole(number) for number in (net.tuned.trials, net.tuned.epochs, net.tuned.images)),
            *(whole(number) for number in (len(net.runs), net.training.epochs, net.training.train_images)),
        )
        for net in nets
    ]
    header = ("net", "training scale", "trials", "epochs a trial", IN_SEARCH, "runs", EPOCHS, "training images a run")
    return Table("budgets", "Budgets", header, body, frozenset({0, 1}))


def budget_words(nets: Sequence[Net]) -> str:
    """Return whether all nets were given the same, and where not, which differ."""
    searches = {
        "trials": {net.arch: f"{net.tuned.trials}" for net in nets},
        "epochs a trial": {net.arch: f"{net.tuned.epochs}" for net in nets},
        IN_SEARCH: {net.arch: f"{net.tuned.images:,}" for net in nets},
    }
    scales = list(dict.fromkeys(net.scale for net in nets))
    runs = {
        f"{words} ({scale})": {net.arch: str(get(net)) for net in nets if net.scale == scale}
        for scale in scales
        for words, get in (
            (EPOCHS, lambda net: net.training.epochs),
            ("training images a run", lambda net: net.training.train_images),
        )
    }
    differing = {name: values for name, values in {**searches, **runs}.items() if len(set(values.values())) > 1}
    if len({net.arch for net in nets}) == 1:
        return "There is one net, so no budgets to compare."
    if not differing:
        return "Every net was given the same: trials, epochs and training images, in the search and in the runs."
    unequal = "; ".join(f"{name}: {agreed(values)}" for name, values in differing.items())
    return f"The nets were not all given the same. {unequal}."


def gap_table(study: Study) -> Table:
    """Lay out training error beside test error, both on centre crops; nets that were not tested so have no gap."""
    body = []
    for net in study.nets:
        training = fmean(run.training_error for run in net.runs)
        tested = "centre" in study.protocols(net.scale)
        test = fmean(net.top1_errors("centre").values()) if tested else None
        gap = decimal(None if test is None else test - training, signed=True)
        crops = PROTOCOL_WORDS["centre"] if tested else f"without {PROTOCOL_WORDS['centre']}"
        body.append((net.arch, net.scale, crops, decimal(training), decimal(test), gap))
    header = ("net", "training scale", "test", "training error, %", "test error, %", "gap, points")
    return Table("gaps", "Top-1 error of training and of test images", header, body, frozenset({0, 1, 2}))


def untrained_table(nets: Sequence[Net]) -> Table | None:
    """Lay out the runs that did not train, each with its reason; None if all did."""
    body = [(net.arch, net.scale, whole(run.run), run.reason) for net in nets for run in net.runs if run.did_not_train]
    header = ("net", "training scale", "run", "reason")
    return Table("untrained", "Runs that did not train", header, body, frozenset({0, 1, 3})) if body else None


def untrained_words(study: Study) -> str:
    """Return how many runs did not train, and how many trials of the searches."""
    runs = [run for net in study.nets for run in net.runs]
    failed = sum(run.did_not_train for run in runs)
    if failed:
        text = f"{failed} of {len(runs)} runs did not train."
    else:
        text = "Every run trained." if len(runs) > 1 else "The run trained."
    tuned = searched(study)
    trials, diverged, at_chance = (
        sum(getattr(net.tuned, name) for net in tuned) for name in ("trials", "diverged", "at_chance")
    )
    return (
        f"{text} Of the search's {trials:,} {'trial' if trials == 1 else 'trials'}, {diverged} diverged and "
        f"{at_chance} were at chance when they ended."
    )


def edge_words(study: Study) -> str:
    """Return which chosen settings sit at the edge of their space."""
    edges = [
        f"The {SETTINGS[setting]} chosen for {net.arch} sits at the edge of its space: a better one may lie outside."
        for net in searched(study)
        for setting in net.tuned.at_edge
    ]
    return " ".join(edges) or "No chosen learning rate or weight decay sits at the edge of its space."


def reused(study: Study) -> dict[int, float]:
    """Return by run how many percent of its test images the search trained or validated on, which used split 0."""
    seen = study.splits["split_0"] != "test"
    runs = sorted({run.run for net in study.nets for run in net.runs})
    return {run: 100 * float(seen[study.splits[f"split_{run}"] == "test"].mean()) for run in runs}


def reused_words(study: Study) -> str:
    """Return how far the runs' test images had a part in the choice of the settings."""
    shares = {run: share for run, share in reused(study).items() if run}
    text = (
        "Settings were chosen on the training and validation images of split 0, which has none of run 0's test images"
    )
    if not shares:
        return f"{text}."
    low, high = min(shares.values()), max(shares.values())
    size = f"{low:.1f} %" if f"{low:.1f}" == f"{high:.1f}" else f"{low:.1f} to {high:.1f} %"
    later = f"runs {min(shares)} to {max(shares)}" if len(shares) > 1 else f"run {min(shares)}"
    return f"{text}, but {size} of those of {later}: these errors may be a little too low, for all nets alike."


def leak_tables(study: Study, found: Sequence[Leak]) -> list[Table]:
    """Lay out the leaks by run, and what they do to each net's error under the lead protocol."""
    by_run: list[tuple[str, ...]] = [
        (whole(leak.run), whole(leak.test_images), whole(len(leak.images)), decimal(leak.share)) for leak in found
    ]
    header = ("run", "test images", "with a near-duplicate in training", "share, %")
    scale, protocol = study.lead
    by_net: list[tuple[str, ...]] = [
        (
            one.arch,
            decimal(one.every),
            decimal(one.others) if one.others is not None else Number(NONE, None),
            decimal(one.others - one.every if one.others is not None else None, 2, signed=True),
        )
        for one in effects(study, scale, protocol, found)
    ]
    columns = ("net", "error of all test images, %", "of those without near-duplicate, %", "difference, points")
    return [
        Table("near-duplicates", "Test images with a near-duplicate among the training images", header, by_run),
        Table(
            "near-duplicates-effect", f"Top-1 error with and without them, {PROTOCOL_WORDS[protocol]}", columns, by_net
        ),
    ]


def leak_words(study: Study, found: Sequence[Leak]) -> str:
    """Return how many near-duplicates there are, and the most that they change."""
    if study.near_duplicates is None:
        return "Near-duplicates across splits were not looked for yet."
    pairs = len(study.near_duplicates)
    most = max(leak.share for leak in found)
    moved = [abs(one.others - one.every) for one in effects(study, *study.lead, found) if one.others is not None]
    change = f" Without them no net's error moves by more than {max(moved):.2f} points." if moved else ""
    if not any(len(leak.images) for leak in found):
        change = ""
    return (
        f"{pairs:,} {'pair' if pairs == 1 else 'pairs'} of images, mirror images included, look nearly alike by their "
        f"perceptual hashes; at most {most:.1f} % of a run's test images have such a counterpart among its training "
        f"images.{change}"
    )


def searched(study: Study) -> list[Net]:
    """Return one net of each architecture, as training scales share one search."""
    return [next(net for net in study.nets if net.arch == arch) for arch in study.archs]
