"""The lines of `reports/ablation.csv`, and the numbers for `dvc metrics` and `dvc plots`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean

import pandas as pd

from vgg_ablation.analysis.records import Fusion, Net
from vgg_ablation.analysis.statistics import Estimate, expected_error
from vgg_ablation.analysis.study import Study
from vgg_ablation.model.table1 import weight_layers
from vgg_ablation.paper.tables import TABLE_3, TORCHVISION, Errors, published_errors
from vgg_ablation.runtime.names import named, plain


@dataclass(frozen=True)
class Row:
    """One net, or nets fused, at one training scale under one protocol: the columns of `ablation.csv`.

    Errors and recall are percent, means over runs, those that did not train included.
    """

    arch: str
    """The net, or the fused ones joined by `+`; these have no depth, size or settings of their own."""
    scale: str
    protocol: str
    weight_layers: int | None
    params: int | None
    gmacs: float | None
    train_scale: str
    """S, `72` or `[72; 144]`, pixels."""
    test_scale: str
    """Q, `72` or `64, 72, 80`, pixels."""
    runs: int
    top1_error: float
    top1_error_low: float
    top1_error_high: float
    """Bounds of the 95 % interval, see `statistics.expected_error`."""
    top1_error_runs: str
    """The error of each run by number, separated by semicolons."""
    top5_error: float | None
    """None with five classes or fewer."""
    mean_class_recall: float
    nll: float
    """Negative log-likelihood, nats."""
    ece: float
    """Expected calibration error, percent."""
    training_error: float | None
    """See `fit.FITTED`."""
    learning_rate: float | None
    weight_decay: float | None
    did_not_train: int | None
    """Runs that diverged or stayed at chance."""
    paper_top1_error: float | None
    paper_top5_error: float | None
    """The paper's errors on ImageNet in the same cell of Tables 3 to 6, of the net without batch normalisation."""

    @property
    def each_run(self) -> list[float]:
        """The error of each run, percent."""
        return [float(error) for error in self.top1_error_runs.split(";")]


@dataclass(frozen=True)
class PaperErrors:
    """Where the paper has errors to print beside ours."""

    scale: str
    protocol: str
    errors: Mapping[str, Errors]
    """By plain name of the net, or of nets joined by `+`."""


def ablation(study: Study) -> list[Row]:
    """Return the rows: by training scale, by protocol, nets in the order of `ARCHITECTURES`, then fusions."""
    return [
        _row(study, one, protocol)
        for scale in study.scales
        for protocol in study.protocols(scale)
        for one in (*study.nets, *study.fusions)
        if one.scale == scale and any(protocol in run.protocols for run in one.runs)
    ]


def _row(study: Study, one: Net | Fusion, protocol: str) -> Row:
    """Return the row of a net or a fusion; scales are those of any net of its training scale."""
    name, net = one.name, one if isinstance(one, Net) else None
    of_scale = study.at(one.scale)[0]
    scores = [run.protocols[protocol] for run in one.runs if protocol in run.protocols]
    estimate = estimate_of(study, name, one.scale, protocol)
    top5_errors = [score.top5_error for score in scores if score.top5_error is not None]
    published = published_errors(one.scale, protocol).get(plain(name))
    sides = of_scale.test_scales
    return Row(
        arch=name,
        scale=one.scale,
        protocol=protocol,
        weight_layers=net and net.weight_layers,
        params=net and net.params,
        gmacs=net and net.gmacs,
        train_scale=side(of_scale.train_scale),
        test_scale=str(sides[1]) if protocol in ("centre", "dense") else ", ".join(map(str, sides)),
        runs=len(scores),
        top1_error=estimate.mean,
        top1_error_low=estimate.low,
        top1_error_high=estimate.high,
        top1_error_runs=";".join(f"{error:.6g}" for error in estimate.by_run.values()),
        top5_error=fmean(top5_errors) if top5_errors else None,
        mean_class_recall=fmean(score.mean_class_recall for score in scores),
        nll=fmean(score.nll for score in scores),
        ece=fmean(score.ece for score in scores),
        training_error=net and net.training_error,
        learning_rate=net and net.training.learning_rate,
        weight_decay=net and net.tuned.weight_decay,
        did_not_train=net and net.did_not_train,
        paper_top1_error=published and published.top1,
        paper_top5_error=published and published.top5,
    )


def estimate_of(study: Study, name: str, scale: str, protocol: str) -> Estimate:
    """Return the expected error of a net or a fusion. Raises KeyError if it is not there."""
    if (errors := study.measurements(name, scale, protocol)) is None:
        raise KeyError(f"{name} ({scale}), {protocol}")
    return expected_error(errors)


def frame(rows: Sequence[Row]) -> pd.DataFrame:
    """Return rows as a data frame with the fields of `Row` as columns."""
    return pd.DataFrame([asdict(row) for row in rows]).astype(
        dict.fromkeys(("weight_layers", "params", "did_not_train"), "Int64")
    )


def headline(rows: Sequence[Row]) -> dict[str, float | str]:
    """Return `metrics.json`, the columns of `dvc exp show`, of one training scale's and protocol's nets.

    Top-1 errors in percent with two decimals by net, the best net if there are several, and the number of runs that did
    not train.
    """
    best = {"best": min(rows, key=lambda row: row.top1_error).arch} if len(rows) > 1 else {}
    untrained = sum(row.did_not_train or 0 for row in rows)
    return {**{row.arch: round(row.top1_error, 2) for row in rows}, **best, "did_not_train": untrained}


def by_depth(rows: Sequence[Row]) -> pd.DataFrame:
    """Return the table that `dvc plots diff` draws of one training scale's and protocol's nets."""
    names = ["weight_layers", "arch", "top1_error", "top1_error_low", "top1_error_high"]
    return frame(rows)[names].rename(columns={"arch": "net"})


def published_beside(scale: str, protocol: str) -> PaperErrors:
    """Return the paper's errors at a training scale under a protocol; dense ones where the paper has no such table."""
    shown = protocol if published_errors(scale, protocol) else "dense"
    return PaperErrors(scale, shown, published_errors(scale, shown))


def published_table() -> pd.DataFrame:
    """Return the published errors that figures show, percent: the paper's Table 3 and torchvision's."""
    tables = {("paper", scale, "dense", "none"): errors for scale, errors in TABLE_3.items()}
    tables |= {("torchvision", "", "centre", norm): errors for norm, errors in TORCHVISION.items()}
    return pd.DataFrame(
        {
            "source": source,
            "net": named(arch, norm),
            "weight_layers": weight_layers(arch),
            "scale": scale,
            "protocol": protocol,
            "top1_error": error.top1,
            "top5_error": error.top5,
        }
        for (source, scale, protocol, norm), errors in tables.items()
        for arch, error in errors.items()
    )


def side(scale: int | tuple[int, int]) -> str:
    """Return a training scale S as the paper writes it: `256`, `[256; 512]`."""
    return str(scale) if isinstance(scale, int) else f"[{scale[0]}; {scale[1]}]"
