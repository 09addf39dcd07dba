"""Classifiers of one net, or of D and E together: one a descriptor and split, and what each says of the test images."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vgg_ablation.appendix_b.classifier import choose, fit, mean_class_recall, predict
from vgg_ablation.appendix_b.descriptors import Parts, combine, open_features, variants
from vgg_ablation.appendix_b.nets import DECISIONS_FILE, FEATURES_FILE, NETS_FILE, RESULTS_FILE
from vgg_ablation.device import Compute
from vgg_ablation.errors import StageError
from vgg_ablation.evaluate.arrays import writing
from vgg_ablation.files import file_digest, read_json, write_json
from vgg_ablation.images.index import (
    INDEX_FILE,
    SPLITS_FILE,
    TEST,
    TRAIN,
    VALIDATION,
    Index,
    images_in,
    read_splits,
    verify,
)
from vgg_ablation.model.weights import pack, unpack
from vgg_ablation.runtime import messages
from vgg_ablation.runtime.checkpoints import Checkpoints
from vgg_ablation.runtime.console import Console
from vgg_ablation.runtime.cost import Meter
from vgg_ablation.runtime.locks import locked
from vgg_ablation.runtime.settings import AppendixBSettings
from vgg_ablation.runtime.state import source_digest, state_folder

SOURCES = (
    "appendix_b/classifier.py",
    "appendix_b/classify.py",
    "appendix_b/descriptors.py",
    "appendix_b/nets.py",
    "device.py",
    "evaluate/arrays.py",
    "images/index.py",
    "model/published.py",
    "model/table1.py",
    "model/weights.py",
)
"""Files of the package that `classify.py` of appendix_b/ imports, without runtime/ and files.py."""

_TOGETHER = 2048  # test images whose descriptors are in memory at once


def classify_nets(
    features: Mapping[str, Path],
    images: Path,
    folder: Path,
    *,
    settings: AppendixBSettings,
    compute: Compute,
    console: Console,
) -> None:
    """Write results.json, decisions.npz, nets.json and cost.csv to `folder`.

    Args:
        features: folders that `extract_net` wrote, by net; of several nets the descriptors are stacked.
        images: folder that `pack_images` wrote.
        folder: to write to.
        settings: settings of appendix B.
        compute: device; the precision is float32.
        console: receives progress.

    Raises:
        OSError: a file cannot be read or written.
        StageError: an input is missing, damaged or of other images, or the disk is full.
    """
    verify(images, (INDEX_FILE, SPLITS_FILE))
    index, splits = Index.read(images), read_splits(images)
    infos = {net: _read_info(place, index, settings) for net, place in features.items()}
    parts: Parts = {
        scale: [open_features(place, scale, len(index.labels)) for place in features.values()]
        for scale in settings.scales
    }
    device, threads = compute.names["device"], torch.get_num_threads()
    state = state_folder(
        "appendix-b-classifiers",
        {
            "features": [info["sha256"] for info in infos.values()],
            "images": index.digest,
            "splits": file_digest(images / SPLITS_FILE),
            "penalties": settings.penalties,
            "normalise_scales": settings.normalise_scales,
            "source": source_digest(*SOURCES),
            "device": device,
            "threads": threads,
        },
    )
    console.say(messages.computing_on(device))
    name, meter = "+".join(features), Meter()
    every = list(variants(settings.descriptors, settings.scales))
    found: dict[str, dict[str, Any]] = {}
    with (
        locked(state, console.say),
        writing(folder / DECISIONS_FILE) as decide,
        console.task("classifier", len(every) * settings.data.splits) as task,
    ):
        numbers = {
            split: {part: images_in(splits, split, part) for part in (TRAIN, VALIDATION, TEST)}
            for split in range(settings.data.splits)
        }
        for split, of_part in numbers.items():
            decide(f"{split}/images", of_part[TEST])
            decide(f"{split}/labels", index.labels[of_part[TEST]])
        for variant, kind, scales in every:
            describe = partial(combine, parts, kind=kind, scales=scales, normalise_scales=settings.normalise_scales)
            rows = []
            for split, of_part in numbers.items():
                checkpoints = Checkpoints(state / f"{variant}-{split}", console.say)
                if (content := checkpoints.read()) is None:
                    content = pack(_classify(describe, of_part, index, settings.penalties, compute.device))
                    checkpoints.write(0, content)
                cached = unpack(content, checkpoints.name)
                predicted = cached["predicted"].long()
                labels = torch.from_numpy(index.labels[of_part[TEST]])
                row = {
                    "split": split,
                    "penalty": cached["penalty"].item(),
                    "recalls": [round(recall, 4) for recall in cached["recalls"].tolist()],
                    "at_edge": bool(cached["at_edge"]),
                    "steps": int(cached["steps"]),
                    "converged": bool(cached["converged"]),
                    "recall": round(mean_class_recall(predicted, labels, len(index.categories)), 4),
                }
                rows.append(row)
                meter.add(cached["seconds"].item(), len(labels))
                decide(f"{variant}/{split}", cached["predicted"].numpy())
                task.advance(messages.classified(variant, split, row["recall"], row["penalty"], row["at_edge"]))
            found[variant] = {"kind": kind, "scales": list(scales), "splits": rows}
    results = {
        "net": name,
        "classes": len(index.categories),
        "penalties": list(settings.penalties),
        "normalise_scales": settings.normalise_scales,
        "features": list(infos.values()),
        "variants": found,
    }
    write_json(folder / RESULTS_FILE, results)
    write_json(folder / NETS_FILE, {name: file_digest(folder / RESULTS_FILE)})
    meter.write(folder, "classify", arch=name, device=device, precision="float32", threads=threads)
    console.made(messages.classifiers_fitted(folder, len(every) * settings.data.splits))


def _read_info(folder: Path, index: Index, settings: AppendixBSettings) -> dict[str, Any]:
    info = read_json(folder / FEATURES_FILE)
    if info.get("images_sha256") != index.digest or info.get("scales") != list(settings.scales):
        raise StageError(f"{folder}: features of other images or scales than the settings describe; run features again")
    return info


def _classify(
    describe: Callable[[np.ndarray], Tensor],
    of_part: Mapping[str, np.ndarray],
    index: Index,
    penalties: Sequence[float],
    device: torch.device,
) -> dict[str, Tensor]:
    """Choose C, fit to training and held-out images with it, and predict the test images of one split."""
    began, classes = time.perf_counter(), len(index.categories)
    first, second = (describe(of_part[part]).to(device) for part in (TRAIN, VALIDATION))
    labels = [torch.from_numpy(index.labels[of_part[part]]).to(device) for part in (TRAIN, VALIDATION)]
    chosen = choose((first, labels[0]), (second, labels[1]), classes, penalties)
    both = torch.cat([first, second]), torch.cat(labels)
    del first, second  # half the memory
    fitted = fit(*both, classes, chosen.penalty, chosen.fit.weights)
    together = np.split(of_part[TEST], range(_TOGETHER, len(of_part[TEST]), _TOGETHER))
    predicted = [predict(fitted.weights, describe(images).to(device)).cpu() for images in together]
    return {
        "predicted": torch.cat(predicted).int(),
        "penalty": torch.tensor(chosen.penalty, dtype=torch.float64),
        "recalls": torch.tensor(chosen.recalls, dtype=torch.float64),
        "at_edge": torch.tensor(chosen.at_edge),
        "steps": torch.tensor(fitted.steps),
        "converged": torch.tensor(fitted.converged),
        "seconds": torch.tensor(time.perf_counter() - began, dtype=torch.float64),
    }
