"""Results of several nets, or of several training scales, joined into those of `all`, and the nets' fusions."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vgg_ablation.errors import StageError
from vgg_ablation.evaluate.arrays import Write, reading, writing
from vgg_ablation.evaluate.metrics import measure
from vgg_ablation.evaluate.outcomes import SPLIT, write_outcomes
from vgg_ablation.evaluate.predictions import fuse, shared_images
from vgg_ablation.files import read_json, read_table, write_json, write_table
from vgg_ablation.model.table1 import ABLATION
from vgg_ablation.runtime.settings import SCALES

FUSIONS = (("D", "E"), ABLATION)
"""The nets whose posteriors are averaged: the paper's two best (Table 6), and all."""

_ALL = "all"
_METRICS, _OUTCOMES, _PREDICTIONS = "metrics.json", "outcomes.npz", "predictions.npz"
_TABLES = ("curves.csv", "cost/train.csv", "cost/evaluate.csv")
_SEARCH_TABLES = ("trials.csv", "cost/tune.csv")


def join_nets(results: Path, scale: str) -> None:
    """Join what the nets of Table 1, trained at `scale`, made of their test images, and add their fusions.

    Raises:
        OSError: a file cannot be read or written.
        StageError: a file is damaged, nets have other test images than others, or the disk is full.
    """
    folders = [results / arch / scale for arch in ABLATION]
    nets = dict(zip(ABLATION, (_listed(folder / _METRICS, "nets") for folder in folders), strict=True))
    joined = results / _ALL / scale
    with writing(joined / _OUTCOMES) as write:
        _copy_outcomes(folders, write)
        fusions = [
            _fuse_nets(results, members, scale, [net for arch in members for net in nets[arch]], write)
            for members in FUSIONS
        ]
    write_json(joined / _METRICS, {"nets": [net for found in nets.values() for net in found], "fusions": fusions})
    _join_tables(folders, _TABLES, joined)


def join_search(results: Path) -> None:
    """Join the tables of the search of the nets of Table 1. Raises as `join_nets`."""
    _join_tables([results / arch for arch in ABLATION], _SEARCH_TABLES, results / _ALL)


def join_scales(results: Path, arch: str) -> None:
    """Join what a net, or `all`, trained at each scale made of its test images. Raises as `join_nets`."""
    folders = [results / arch / scale for scale in SCALES]
    joined = results / arch / _ALL
    with writing(joined / _OUTCOMES) as write:
        _copy_outcomes(folders, write)
    lists = {
        name: [item for folder in folders for item in _listed(folder / _METRICS, name)] for name in ("nets", "fusions")
    }
    write_json(joined / _METRICS, lists)
    _join_tables(folders, _TABLES, joined)


def _fuse_nets(
    results: Path, members: Sequence[str], scale: str, nets: Sequence[dict[str, Any]], write: Write
) -> dict[str, Any]:
    """Evaluate the fusion of `members` in each run, under each protocol that all their runs were evaluated under."""
    evaluated = [run["protocols"] for net in nets for run in net["runs"]]
    protocols = [name for name in evaluated[0] if all(name in found for found in evaluated)]
    runs = []
    with ExitStack() as opened:
        files = [opened.enter_context(reading(results / arch / scale / _PREDICTIONS)) for arch in members]
        for run in (entry["run"] for entry in nets[0]["runs"]):
            images = shared_images(files, run)
            labels = torch.from_numpy(images.labels)
            scores = {}
            for protocol in protocols:
                posteriors = fuse(files, run, protocol)
                write_outcomes(write, f"{'+'.join(members)}/{scale}/{run}/{protocol}", posteriors, labels)
                scores[protocol] = measure(posteriors, labels)
            runs.append({"run": run, "test_images": len(labels), "protocols": scores})
    return {"members": list(members), "scale": scale, "runs": runs}


def _copy_outcomes(folders: Sequence[Path], write: Write) -> None:
    """Copy the outcomes of all, and the one split that a run of each must have, once."""
    splits: dict[str, np.ndarray] = {}
    for folder in folders:
        with reading(folder / _OUTCOMES) as arrays:
            for name in arrays.names:
                array = arrays[name]
                if name not in splits:
                    write(name, array)
                elif not np.array_equal(array, splits[name]):
                    first = folders[0] / _OUTCOMES
                    raise StageError(f"{arrays.path}: {name} is not that of {first}; run evaluate again for both")
                if name.startswith(SPLIT):
                    splits[name] = array


def _join_tables(folders: Sequence[Path], names: Sequence[str], joined: Path) -> None:
    """Write each table's rows one folder after the other, which must have the same columns."""
    for name in names:
        tables = {folder / name: read_table(folder / name) for folder in folders}
        columns = list(tables[folders[0] / name])
        for path, table in tables.items():
            if list(table) != columns:
                raise StageError(f"{path}: its columns are not those of {folders[0] / name}; run its stage again")
        rows = [
            dict(zip(columns, row, strict=True))
            for table in tables.values()
            for row in zip(*table.values(), strict=True)
        ]
        write_table(joined / name, columns, rows)


def _listed(path: Path, name: str) -> list[dict[str, Any]]:
    if not isinstance(listed := read_json(path).get(name), list):
        raise StageError(f"{path} has no list {name}; run evaluate again")
    return listed
