"""The report's tables: numbers for machines as a data frame, text for people as `Table`."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean

import pandas as pd

from vgg_ablation.report.inputs import Data, Net, Study
from vgg_ablation.report.order import Comparison
from vgg_ablation.report.published import SINGLE_SCALE
from vgg_ablation.report.statistics import expected_error

SETTINGS = {"learning_rate": "learning rate", "weight_decay": "weight decay"}
"""What is tuned, in words."""


@dataclass(frozen=True)
class Table:
    """Text in rows and columns."""

    caption: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]
    words: frozenset[int] = frozenset({0})
    """The columns that hold words and stand on the left; the others hold numbers and stand on the right."""


@dataclass(frozen=True)
class Row:
    """One net under one protocol: a line of `ablation.csv`, whose columns are these fields.

    Errors and recall are in percent and means over runs, those that did not train among them.
    """

    arch: str
    weight_layers: int
    params: int
    gmacs: float
    train_scale: int
    test_scale: int
    protocol: str
    runs: int
    top1_error: float
    top1_error_low: float
    top1_error_high: float
    """Bounds of the 95 % interval, see `statistics.expected_error`."""
    top5_error: float | None
    """None with too few classes for it to mean anything."""
    mean_class_recall: float
    learning_rate: float
    weight_decay: float
    did_not_train: int
    """Runs that diverged or stayed at chance."""
    paper_top1_error: float
    paper_top5_error: float
    """Table 3, S = 256, on ImageNet."""


def ablation(study: Study) -> list[Row]:
    """Return the rows, protocol after protocol, each with the nets in the order of Table 1."""
    return [_row(net, protocol) for protocol in study.protocols for net in study.nets]


def _row(net: Net, protocol: str) -> Row:
    scores = [run.protocols[protocol] for run in net.runs]
    error = expected_error([score.top1_error for score in scores], net.test_images)
    top5_errors = [score.top5_error for score in scores if score.top5_error is not None]
    return Row(
        arch=net.arch,
        weight_layers=net.weight_layers,
        params=net.params,
        gmacs=net.gmacs,
        train_scale=net.train_scale,
        test_scale=net.test_scale,
        protocol=protocol,
        runs=len(net.runs),
        top1_error=error.mean,
        top1_error_low=error.low,
        top1_error_high=error.high,
        top5_error=fmean(top5_errors) if top5_errors else None,
        mean_class_recall=fmean(score.mean_class_recall for score in scores),
        learning_rate=net.tuned.learning_rate,
        weight_decay=net.tuned.weight_decay,
        did_not_train=net.did_not_train,
        paper_top1_error=SINGLE_SCALE[net.arch].top1,
        paper_top5_error=SINGLE_SCALE[net.arch].top5,
    )


def frame(rows: Sequence[Row]) -> pd.DataFrame:
    """Return rows as a data frame with the fields of `Row` as columns."""
    return pd.DataFrame([asdict(row) for row in rows])


def headline(rows: Sequence[Row]) -> dict[str, dict[str, float] | int]:
    """Return what `dvc metrics diff` prints of one protocol's rows.

    Per net the errors and the recall, percent with two decimals (no top-5 error with too few classes), and over
    all nets the number of runs that did not train.
    """
    measures = ("top1_error", "top5_error", "mean_class_recall")
    nets: dict[str, dict[str, float] | int] = {
        row.arch: {name: round(value, 2) for name in measures if (value := getattr(row, name)) is not None}
        for row in rows
    }
    return {**nets, "did_not_train": sum(row.did_not_train for row in rows)}


def result_table(rows: Sequence[Row], caption: str) -> Table:
    """Lay out one protocol's rows beside the paper's figures."""
    header = ("net", "layers", "parameters", "top-1 error, %", "top-5 error, %", "mean class recall, %", "runs")
    body = [
        (
            row.arch,
            str(row.weight_layers),
            f"{row.params / 1e6:.2f} M",
            interval(row.top1_error, row.top1_error_low, row.top1_error_high),
            "–" if row.top5_error is None else f"{row.top5_error:.1f}",
            f"{row.mean_class_recall:.1f}",
            f"{row.runs}" + (f" ({row.did_not_train} did not train)" if row.did_not_train else ""),
            f"{row.paper_top1_error:.1f}",
            f"{row.paper_top5_error:.1f}",
        )
        for row in rows
    ]
    return Table(caption, (*header, "paper top-1, %", "paper top-5, %"), body)


def order_table(comparisons: Sequence[Comparison]) -> Table:
    """Lay out the paired comparisons of neighbours beside the paper's differences and claims."""
    body = [
        (
            f"{one.claim.first} → {one.claim.second}",
            interval(one.difference.mean, one.difference.low, one.difference.high, signed=True),
            probability(one.p_adjusted),
            f"{one.better} has the lower error" if one.better else "undecided",
            f"{signed(one.published)}: {one.claim.reason}",
            one.verdict,
        )
        for one in comparisons
    ]
    header = ("pair", "difference, points", "p (Holm)", "this study", "paper", "claim")
    return Table("Difference in top-1 error, second net less first", header, body, frozenset({0, 3, 4, 5}))


def tuning_table(nets: Sequence[Net]) -> Table:
    """Lay out what the search chose for each net, with a mark where the choice sits at the edge of the space."""
    body = [
        (
            net.arch,
            _chosen(net, "learning_rate"),
            _chosen(net, "weight_decay"),
            "–" if net.tuned.validation_accuracy is None else f"{net.tuned.validation_accuracy:.1f}",
            *(str(number) for number in (net.tuned.trials, net.tuned.complete, net.tuned.pruned)),
            *(str(number) for number in (net.tuned.diverged, net.tuned.at_chance)),
        )
        for net in nets
    ]
    header = ("net", "learning rate", "weight decay", "validation accuracy, %", "trials", "complete", "pruned")
    return Table("Tuned settings", (*header, "diverged", "at chance"), body)


def _chosen(net: Net, setting: str) -> str:
    return f"{getattr(net.tuned, setting):.3g}" + (" (edge)" if setting in net.tuned.at_edge else "")


def untrained_table(nets: Sequence[Net]) -> Table | None:
    """Lay out the runs that did not train, each with its reason; None if all did."""
    body = [(net.arch, str(run.run), run.reason) for net in nets for run in net.runs if run.did_not_train]
    return Table("Runs that did not train", ("net", "run", "reason"), body, frozenset({0, 2})) if body else None


def training_table(nets: Sequence[Net]) -> Table:
    """Lay out how the nets were trained: one value where they agree, else one for each net."""
    labels = {
        "schedule": "learning rate schedule",
        "epochs": "epochs",
        "batch_size": "batch size",
        "train_images": "training images a run",
        "init": "initialisation",
        "batch_norm": "batch normalisation",
        "dropout": "dropout",
        "width": "width, share of Table 1's channels",
        "device": "device",
        "precision": "precision of products",
        "torch": "PyTorch",
    }
    body = [(label, _in_common(nets, field)) for field, label in labels.items()]
    body.insert(0, ("input side, training scale, test scale", _scales(nets)))
    return Table("Training settings", ("setting", "value"), body, frozenset({0, 1}))


def _in_common(nets: Sequence[Net], field: str) -> str:
    return agreed({net.arch: words(getattr(net.training, field)) for net in nets})


def _scales(nets: Sequence[Net]) -> str:
    return agreed({net.arch: f"{net.input_side}, {net.train_scale}, {net.test_scale} pixels" for net in nets})


def data_table(data: Data) -> Table:
    """Lay out what images there were, and which were left out and why."""
    body = [
        ("source", f"`{data.origin}`"),
        ("SHA-256 of the archive", f"`{data.archive_sha256}`"),
        ("categories", f"{len(data.categories)}, clutter {'included' if data.clutter else 'left out'}"),
        ("images", f"{data.images:,}"),
        ("of them greyscale", f"{data.greyscale:,}"),
        ("excluded", f"{data.excluded:,}{reasons(data)}"),
        ("stored with smallest side", f"{data.side} pixels"),
        ("drawn for training, a category", f"{data.train_per_class}, a part of them for validation"),
        ("in each split", f"{data.train:,} training, {data.validation:,} validation, {data.test:,} test images"),
        ("splits", f"{data.splits}"),
    ]
    return Table("Images", ("property", "value"), body, frozenset({0, 1}))


def reasons(data: Data) -> str:
    """Return why images were left out, ` (duplicate: 2, not an image: 1)`; nothing if none was."""
    numbers = ", ".join(f"{reason}: {number:,}" for reason, number in sorted(data.excluded_reasons.items()) if number)
    return f" ({numbers})" if numbers else ""


def agreed(values: dict[str, str]) -> str:
    """Return the value that all nets share, else each value with its nets."""
    nets: dict[str, list[str]] = {}
    for arch, value in values.items():
        nets.setdefault(value, []).append(arch)
    if len(nets) == 1:
        return next(iter(nets))
    return "; ".join(f"{value} ({', '.join(archs)})" for value, archs in nets.items())


def words(value: object) -> str:
    """Return a setting's value as people write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def interval(mean: float, low: float, high: float, *, signed: bool = False) -> str:
    """Return `31.2 [29.8, 32.6]`."""
    sign = "+" if signed else ""
    return f"{mean:{sign}.1f} [{low:{sign}.1f}, {high:{sign}.1f}]"


def signed(value: float) -> str:
    """Return a difference with its sign and one decimal."""
    return f"{value:+.1f}"


def probability(p_value: float) -> str:
    """Return a p-value with as many digits as it deserves."""
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"
