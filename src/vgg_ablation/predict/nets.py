"""A trained net: its runs, as a study's results or an exported folder hold them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vgg_ablation.analysis.records import Metrics, Net, read_record
from vgg_ablation.errors import StageError
from vgg_ablation.evaluate.protocols import View
from vgg_ablation.files import file_digest
from vgg_ablation.model.vgg import VGG
from vgg_ablation.model.weights import Description, read_description, read_weights
from vgg_ablation.runtime import paths
from vgg_ablation.runtime.names import NORMS, named, norm_of, plain
from vgg_ablation.runtime.settings import SCALES
from vgg_ablation.text import printable

METRICS = "metrics.json"


@dataclass(frozen=True)
class TrainedRun:
    """One run of a net."""

    network: VGG
    """In evaluation mode, on the CPU."""
    description: Description


@dataclass(frozen=True)
class TrainedNet:
    """A net, trained at one scale and evaluated."""

    record: Net
    metrics: Path
    """File that the record is from."""
    weights: Mapping[int, Path]
    """Files of weights by run, without the runs that did not train."""

    @classmethod
    def open(cls, name: str) -> "TrainedNet":
        """Find a net by the folder of its results, by an exported folder, or by its name in `results`.

        Raises:
            OSError: a file cannot be read.
            StageError: there is no such net, a file is damaged, the weights are not those that were evaluated, or no
                run of the net trained.
        """
        folder = _folder(name)
        metrics, of_weights = folder / "evaluation" / METRICS, folder / "training"
        if not metrics.exists():
            metrics, of_weights = folder / METRICS, folder
        if not metrics.exists():
            raise StageError(f"{printable(name)}: no evaluated net is there; {_available()}")
        nets = read_record(metrics, Metrics).nets
        if len(nets) != 1:
            raise StageError(f"{printable(name)}: results of several nets; {_available()}")
        weights = {run.run: paths.weights_file(of_weights, run.run) for run in nets[0].runs if not run.did_not_train}
        if not weights:
            raise StageError(f"{printable(name)}: none of its {len(nets[0].runs)} runs trained")
        for run in nets[0].runs:
            if run.run in weights and file_digest(weights[run.run]) != run.weights_sha256:
                raise StageError(f"{weights[run.run]}: not the weights that were evaluated; run dvc repro again")
        return cls(nets[0], metrics, weights)

    @property
    def view(self) -> View:
        """Test method: dense if the study did so, else on the centre crop, at the single test scale."""
        return View("dense" if "dense" in self.record.runs[0].protocols else "centre", self.record.test_scales[1])

    def read(self) -> list[TrainedRun]:
        """Read its runs.

        Raises:
            OSError: a file cannot be read.
            StageError: a file does not hold the net that it describes.
        """
        return [_read(path) for path in self.weights.values()]


def _read(path: Path) -> TrainedRun:
    description = read_description(path)
    network = VGG(
        description.arch, len(description.classes), input_side=description.input_side, width=description.width
    )
    read_weights(path, network)
    return TrainedRun(network.eval(), description)


def _folder(name: str) -> Path:
    if Path(name).is_dir():
        return Path(name)
    norms = NORMS if norm_of(name) == "none" else (norm_of(name),)
    folders = [paths.evaluation(named(plain(name), norm), SCALES[0]).parent for norm in norms]
    found = [folder for folder in folders if folder.is_dir()]
    if len(found) > 1:
        raise StageError(f"{printable(name)} may be {' or '.join(map(str, found))}; name one of them")
    if not found:
        raise StageError(f"{printable(name)}: neither a folder nor a net in {paths.RESULTS}; {_available()}")
    return found[0]


def _available() -> str:
    """Return which folders a user may name."""
    found = [path.parents[1] for path in sorted(paths.RESULTS.glob(f"*/*/*/evaluation/{METRICS}"))]
    single = [str(folder) for folder in found if not {"all"} & set(folder.parts)]
    return f"evaluated nets: {', '.join(single)}" if single else "no net is evaluated here yet: run dvc repro"
