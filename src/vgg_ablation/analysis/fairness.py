"""Fairness of the comparison: budgets, failures, and test images that the nets have seen."""

from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

import numpy as np
import pandas as pd

from vgg_ablation.analysis.records import Net, Setting
from vgg_ablation.analysis.study import Study


class Leak(NamedTuple):
    """The test images of one run that have a near-duplicate among the run's training images."""

    run: int
    images: np.ndarray
    """Their numbers, ascending."""
    test_images: int

    @property
    def share(self) -> float:
        """Percent of the test images."""
        return 100 * len(self.images) / self.test_images


def budgets(nets: Sequence[Net]) -> pd.DataFrame:
    """Return what each net was given at its training scale; `search_images` are those of all trials."""
    return pd.DataFrame(
        {
            "arch": net.arch,
            "scale": net.scale,
            "trials": net.tuned.trials,
            "trial_epochs": net.tuned.epochs,
            "search_images": net.tuned.images,
            "runs": len(net.runs),
            "epochs": net.training.epochs,
            "train_images": net.training.train_images,
        }
        for net in nets
    )


def unequal(given: pd.DataFrame) -> list[tuple[str, str, dict[str, int]]]:
    """Return the columns of `budgets` in which nets differ: column, training scale (empty: the search) and values."""
    compared = [(name, "", given) for name in ("trials", "trial_epochs", "search_images")]
    compared += [
        (name, str(scale), of_scale)
        for scale, of_scale in given.groupby("scale", sort=False)
        for name in ("epochs", "train_images")
    ]
    return [
        (name, scale, dict(zip(table["arch"], table[name].tolist(), strict=True)))
        for name, scale, table in compared
        if table[name].nunique() > 1
    ]


def untrained_runs(nets: Sequence[Net]) -> list[tuple[str, str, int, str]]:
    """Return net, training scale, number and reason of each run that did not train."""
    return [(net.arch, net.scale, run.run, run.reason) for net in nets for run in net.runs if run.did_not_train]


def at_edge(study: Study) -> list[tuple[str, Setting]]:
    """Return the nets and settings whose chosen value is at the edge of its space: a better one may be outside."""
    return [(net.arch, setting) for net in study.searched for setting in net.tuned.at_edge]


def reused(study: Study) -> dict[int, float]:
    """Return by run the percentage of its test images that the search, on split 0, trained or validated on."""
    seen = study.splits["split_0"] != "test"
    return {run: 100 * float(seen[study.splits[f"split_{run}"] == "test"].mean()) for run in study.runs}


def leaks(study: Study) -> list[Leak]:
    """Return the leak of each run; empty if near-duplicates were not searched."""
    if study.near_duplicates is None:
        return []
    pairs = study.near_duplicates[["image", "other"]].to_numpy()
    trained_on = ("train", "validation") if any(net.training.refit for net in study.nets) else ("train",)
    both_ways = np.concatenate([pairs, pairs[:, ::-1]])
    found = []
    for run in study.runs:
        part = study.splits[f"split_{run}"]
        training, test = (part.index[part.isin(names)].to_numpy() for names in (trained_on, ("test",)))
        resembling = both_ways[np.isin(both_ways[:, 1], training), 0]
        found.append(Leak(run, np.intersect1d(test, resembling), len(test)))
    return found


def effects(
    study: Study, scale: str, protocol: str, found: Sequence[Leak]
) -> list[tuple[str, float, float | None, float | None]]:
    """Return net, error with and without the leaks, and the change, percent, means over runs.

    The last two are None if all test images of a run are leaks.
    """
    leaked = {leak.run: leak.images for leak in found}
    measured = []
    for net in study.at(scale):
        decided = [study.decisions(net.arch, scale, run.run, protocol) for run in net.runs]
        rest = [one.wrong[~np.isin(one.images, leaked[run.run])] for one, run in zip(decided, net.runs, strict=True)]
        every = fmean(100 * float(one.wrong.mean()) for one in decided)
        others = fmean(100 * float(wrong.mean()) for wrong in rest) if all(map(len, rest)) else None
        measured.append((net.arch, every, others, None if others is None else others - every))
    return measured


def images_of_training(study: Study, net: Net) -> int:
    """Return the images that a net was trained on: in its search, and at the study's scales up to its own."""
    of_net = study.costs[study.costs["arch"] == net.arch]
    scales = study.scales[: study.scales.index(net.scale) + 1]
    trained = of_net["stage"].str.startswith("train") & of_net["scale"].isin(scales)
    return int(of_net[(of_net["stage"] == "tune") | trained]["images"].sum())


def operations(study: Study, net: Net) -> float:
    """Return the operations of a net's search and training: two a multiply-accumulate, a step three forward passes."""
    return 6e9 * net.gmacs * images_of_training(study, net)
