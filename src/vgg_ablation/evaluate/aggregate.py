"""Results of several nets, normalisations or training scales, merged into those of `all`; fusions of nets."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vgg_ablation.errors import StageError
from vgg_ablation.evaluate.arrays import Arrays, Write, reading, writing
from vgg_ablation.evaluate.decisions import SPLIT, prediction_name, write_decisions
from vgg_ablation.evaluate.metrics import measure
from vgg_ablation.files import read_json, read_table, write_json, write_table
from vgg_ablation.model.table1 import ABLATION
from vgg_ablation.runtime.names import ALL, NORMS, named, norm_of, plain
from vgg_ablation.runtime.paths import evaluation, search, training
from vgg_ablation.runtime.settings import SCALES

FUSIONS = (("D", "E"), ABLATION)
"""Nets of one normalisation whose posteriors are averaged: the paper's two best (Table 6), and all of Table 1."""

_METRICS, _DECISIONS, _PREDICTIONS = "metrics.json", "decisions.npz", "predictions.npz"
_CURVES, _TRIALS, _COST = "curves.csv", "trials.csv", "cost.csv"


def merge_nets(arch: str, scale: str) -> Path:
    """Merge the training and the evaluation of the nets of `arch` at `scale` or `all`, and evaluate their fusions.

    Args:
        arch: `all` or `all_BN`: the nets of Table 1, with their fusions. `C_all`, `all_all`: what has the same name
            without and with batch normalisation.
        scale: training scale, or `all`, if the scales of each net are merged.

    Returns:
        The folder of the merged evaluation.

    Raises:
        OSError: a file cannot be read or written.
        StageError: `arch` is one net, a file is damaged, nets have different test images, or the disk is full.
    """
    norm = norm_of(arch)
    fused = () if norm == ALL else [[named(net, norm) for net in nets] for nets in FUSIONS]
    return _merge([(part, scale) for part in _parts(arch)], (arch, scale), fused)


def merge_scales(arch: str) -> Path:
    """Merge the training and the evaluation of a net, or of `all`, over all scales; otherwise as `merge_nets`."""
    return _merge([(arch, scale) for scale in SCALES], (arch, ALL), ())


def merge_search(arch: str) -> Path:
    """Merge the searches of the nets of `arch`. Returns the merged folder; otherwise as `merge_nets`."""
    _merge_tables([search(part) for part in _parts(arch)], search(arch), (_TRIALS, _COST))
    return search(arch)


def _parts(arch: str) -> list[str]:
    """Return the names that `merge_nets` merges into `arch`."""
    norm = norm_of(arch)
    if norm == ALL:
        return [named(plain(arch), each) for each in NORMS]
    if plain(arch) != ALL:
        raise StageError(f"{arch} is one net: there is nothing to merge")
    return [named(net, norm) for net in ABLATION]


def _merge(parts: Sequence[tuple[str, str]], whole: tuple[str, str], fused: Sequence[Sequence[str]]) -> Path:
    """Merge the results of `parts` (net, scale) into those of `whole`, with the fusions of the nets `fused`."""
    folders, merged = [evaluation(*part) for part in parts], evaluation(*whole)
    nets, fusions = (
        [entry for folder in folders for entry in _read_list(folder / _METRICS, name)] for name in ("nets", "fusions")
    )
    with writing(merged / _DECISIONS) as write:
        _copy_decisions([folder / _DECISIONS for folder in folders], write)
        fusions += [_fuse([net for net in nets if net["arch"] in members], write) for members in fused]
    write_json(merged / _METRICS, {"nets": nets, "fusions": fusions})
    _merge_tables(folders, merged, (_COST,))
    _merge_tables([training(*part) for part in parts], training(*whole), (_CURVES, _COST))
    return merged


def _fuse(nets: Sequence[dict[str, Any]], write: Write) -> dict[str, Any]:
    """Return the metrics of the fusion of nets trained at one scale, under the protocols that all were tested under."""
    members, scale = [net["arch"] for net in nets], nets[0]["scale"]
    tested = [run["protocols"] for net in nets for run in net["runs"]]
    protocols = [name for name in tested[0] if all(name in names for names in tested)]
    runs = []
    with ExitStack() as opened:
        files = [opened.enter_context(reading(evaluation(arch, scale) / _PREDICTIONS)) for arch in members]
        for run in (entry["run"] for entry in nets[0]["runs"]):
            labels = _shared_labels(files, run)
            measures = {}
            for protocol in protocols:
                posteriors = _mean_posteriors(files, prediction_name(run, protocol))
                write_decisions(write, f"{'+'.join(members)}/{scale}/{run}/{protocol}", posteriors)
                measures[protocol] = measure(torch.from_numpy(posteriors), torch.from_numpy(labels))
            runs.append({"run": run, "test_images": len(labels), "protocols": measures})
    return {"members": members, "scale": scale, "runs": runs}


def _shared_labels(files: Sequence[Arrays], run: int) -> np.ndarray:
    """Return the labels (N,) of a run's test images, which must be the same in all files."""
    images, labels = ([file[prediction_name(run, content)] for file in files] for content in ("images", "labels"))
    for file, *own in zip(files, images, labels, strict=True):
        if not all(map(np.array_equal, own, (images[0], labels[0]))):
            raise StageError(
                f"{file.path}: run {run} has other test images than in {files[0].path}; run evaluate again for both"
            )
    return labels[0]


def _mean_posteriors(files: Sequence[Arrays], name: str) -> np.ndarray:
    """Return the mean of the nets' posteriors (N, K) float32 (section 4.4), with one net's in memory at a time."""
    total = np.float32(0)
    for file in files:
        total = total + file[name]
    return np.asarray(total / len(files))


def _copy_decisions(paths: Sequence[Path], write: Write) -> None:
    """Copy the decisions of all files, and the test images of each run, which must be the same in all files, once."""
    splits: dict[str, np.ndarray] = {}
    for path in paths:
        with reading(path) as arrays:
            for name in arrays.names:
                array = arrays[name]
                if name not in splits:
                    write(name, array)
                elif not np.array_equal(array, splits[name]):
                    raise StageError(f"{path}: {name} differs from {paths[0]}; run evaluate again for both")
                if name.startswith(SPLIT):
                    splits[name] = array


def _merge_tables(folders: Sequence[Path], merged: Path, names: Sequence[str]) -> None:
    """Write the rows of each table, folder by folder, to the folder `merged`; the columns must be the same."""
    for name in names:
        tables = [read_table(folder / name) for folder in folders]
        for folder, table in zip(folders, tables, strict=True):
            if list(table) != list(tables[0]):
                raise StageError(
                    f"{folder / name}: other columns than in {folders[0] / name}; rerun the stage that writes it"
                )
        columns = {column: [value for table in tables for value in table[column]] for column in tables[0]}
        rows = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
        write_table(merged / name, list(columns), rows)


def _read_list(path: Path, name: str) -> list[dict[str, Any]]:
    if not isinstance(entries := read_json(path).get(name), list):
        raise StageError(f"{path} has no list {name}; run evaluate again")
    return entries
