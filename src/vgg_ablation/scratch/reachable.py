"""Which resume state can still be gone on from, by what determines it. Imports no torch.

State is found again by all its determinants (`pipeline.state`), and so is out of reach once one of them cannot come
about any more. Judged are the code, the libraries, the net and the settings, which must be those of some study in
params.yaml as it stands; settings given by `-S` alone, as to `dvc exp run --temp`, are not known here. What cannot be
judged is taken for reachable: digests of images, splits and weights, which may be those of another study, and device,
precision, threads and parts of a batch, which may be another machine's.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vgg_ablation.model.configurations import ARCHITECTURES
from vgg_ablation.pipeline.errors import StageError
from vgg_ablation.pipeline.files import read_json
from vgg_ablation.pipeline.state import library_versions, source_digest
from vgg_ablation.settings import StudySettings

DOWNLOAD = "download"
_COMPUTE = {"device", "precision", "threads"}
_NET = {"arch", "model", "images", "source", "versions"} | _COMPUTE
_EXPERIMENT = _NET | {"run", "split", "parts", "scale", "sides", "start"}
_POINT = {"learning_rate", "weight_decay"}
_CHOSEN_BY_SEARCH_COST = {"train_per_class", "validation_fraction", "splits"}

Determinants = Mapping[str, Any]


@dataclass(frozen=True)
class Verdict:
    """What is known of a folder of state."""

    net: str
    """The net that it is about; empty where it is about none, or cannot be read."""
    why: str
    """Why nothing can reach it; empty where something can."""


@dataclass(frozen=True)
class _Kind:
    """What the folders of one kind have in their determinants, as those who call `state_folder` give them."""

    names: set[str]
    code: tuple[str, ...]
    """The package's folders whose code determines the result."""
    agrees: Callable[[Determinants, StudySettings], bool]
    """Whether the settings among the determinants are those of a study."""


def judge(kind: str, folder: Path, studies: Sequence[StudySettings]) -> Verdict:
    """Tell whether one of `studies` can still reach `folder`, which lies under `.state/KIND`."""
    if kind == DOWNLOAD:
        sources = (study.data.source for study in studies)
        named = folder.name in {hashlib.sha256(source.encode()).hexdigest()[:24] for source in sources}
        return Verdict("", "" if named else "source of no study in params.yaml")
    if (found := _read_determinants(folder)) is None:
        return Verdict("", "unreadable: determinants.json is missing or damaged")
    net = found.get("arch", "")
    if net and net not in ARCHITECTURES:
        return Verdict("", "no such net")
    return Verdict(net, _why_unreachable(KINDS[kind], found, studies))


def _why_unreachable(kind: _Kind, found: Determinants, studies: Sequence[StudySettings]) -> str:
    if found.keys() != kind.names or found["source"] != source_digest(*kind.code):
        return "other code"
    if found["versions"] != library_versions():
        return "other libraries"
    if not any(kind.agrees(found, study) for study in studies):
        return "settings of no study in params.yaml (those given by -S alone are not known here)"
    return ""


def _read_determinants(folder: Path) -> Determinants | None:
    """Return what `state_folder` wrote into `folder`, None where that is not there or not what named the folder."""
    try:
        found = read_json(folder / "determinants.json")
    except (OSError, StageError):
        return None
    key = hashlib.sha256(json.dumps(found, indent=2, sort_keys=True).encode()).hexdigest()[:24]
    return found if key == folder.name else None


def _agrees_tune(found: Determinants, study: StudySettings) -> bool:
    return (
        _has_model(found, study)
        and found["train"] == study.train.model_dump(mode="json")
        and found["tune"] == study.tune.model_dump(mode="json", exclude={"trials"})
    )


def _agrees_train(found: Determinants, study: StudySettings) -> bool:
    sides: list[object] = [None, None]
    if found["scale"] == "fixed":
        lengths = {study.train.epochs}
        # The A that deeper nets start from is trained for as long as they are, in their search too.
        if found["arch"] == "A" and study.model.init == "paper":
            lengths.add(study.tune.epochs)
    else:
        scale = study.scales.of(found["scale"])
        lengths, sides = {study.fine_tune.epochs}, [scale.model_dump(mode="json")["train"], scale.single]
    shared = {name: value for name, value in found["recipe"].items() if name not in _POINT}
    return (
        _has_model(found, study)
        and found["run"] < study.data.splits
        and found["sides"] == sides
        and any(shared == study.train.model_dump(mode="json") | {"epochs": epochs} for epochs in lengths)
    )


def _agrees_curves(found: Determinants, study: StudySettings) -> bool:
    return (
        _has_model(found, study)
        and found["train"] == study.train.model_dump(mode="json")
        and found["epochs"] == study.tune.epochs
    )


def _agrees_images(found: Determinants, study: StudySettings) -> bool:
    """Compare but the settings that the measurement itself chooses (`search_cost.measure`)."""
    kept = {name: value for name, value in found["data"].items() if name not in _CHOSEN_BY_SEARCH_COST}
    of_study = study.data.model_dump(mode="json", exclude=_CHOSEN_BY_SEARCH_COST)
    return kept == of_study and found["side"] == study.scales.fixed.train


def _has_model(found: Determinants, study: StudySettings) -> bool:
    return found["model"] == study.model.model_dump(mode="json")


_TRAINING = ("data", "model", "pipeline", "train")
KINDS = {
    "tune": _Kind(_EXPERIMENT | {"train", "tune"}, _TRAINING, _agrees_tune),
    "train": _Kind(_EXPERIMENT | {"recipe"}, _TRAINING, _agrees_train),
    "evaluate": _Kind(_NET | {"weights", "split"}, ("data", "evaluate", "model", "pipeline"), _has_model),
    "search-cost/images": _Kind({"data", "side", "source", "versions"}, ("data",), _agrees_images),
    "search-cost/curves": _Kind(_EXPERIMENT | {"train", "epochs"}, _TRAINING, _agrees_curves),
}
"""By the folder under `.state` that they lie in; see also `DOWNLOAD`."""
