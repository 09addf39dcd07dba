"""The report's tables: numbers for machines as a data frame, text for people as `Table`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import pandas as pd

from vgg_ablation.analysis.statistics import Difference, Estimate, expected_error
from vgg_ablation.analysis.study import Data, Net, Scores, Setting, Study
from vgg_ablation.paper import TRAINING_SCALES, Errors, published_errors
from vgg_ablation.runtime.settings import StudySettings

SETTINGS: dict[Setting, str] = {"learning_rate": "learning rate", "weight_decay": "weight decay"}
"""What is tuned, in words."""
NONE = "–"
"""What stands where there is no number."""
PROTOCOL_WORDS = {
    "centre": "centre crop",
    "dense": "dense",
    "dense_scales": "dense, three scales",
    "multi_crop": "multi-crop",
    "combined": "dense and multi-crop",
}
"""The protocols, in words."""

PAPER_TABLES = {"dense": "Table 3", "dense_scales": "Table 4", "multi_crop": "Table 5", "combined": "Table 5"}
"""Where the paper has the errors of single nets, by protocol."""


class Number(str):
    """A number as people read it, with the number itself, and its interval where it has one, for sorting and CSV."""

    __slots__ = ("high", "low", "value")

    value: float | None
    """None where there is no number."""
    low: float | None
    high: float | None

    def __new__(cls, text: str, value: float | None, low: float | None = None, high: float | None = None) -> "Number":
        """Return `text` that stands for `value`."""
        number = super().__new__(cls, text)
        number.value, number.low, number.high = value, low, high
        return number


@dataclass(frozen=True)
class Table:
    """Text in rows and columns."""

    name: str
    """Of its files in `reports/tables`."""
    caption: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]
    words: frozenset[int] = frozenset({0})
    """The columns that hold words and stand on the left; the others hold numbers and stand on the right."""

    def frame(self) -> pd.DataFrame:
        """Return the table for machines: a number with an interval is three columns, one that is not there is empty."""
        columns: dict[str, list[str | float | None]] = {}
        for place, name in enumerate(self.header):
            cells = [row[place] for row in self.rows]
            numbers = [cell for cell in cells if isinstance(cell, Number)]
            columns[name] = [cell.value if isinstance(cell, Number) else cell for cell in cells]
            if any(number.low is not None for number in numbers):
                columns[f"{name} (low)"] = [cell.low if isinstance(cell, Number) else None for cell in cells]
                columns[f"{name} (high)"] = [cell.high if isinstance(cell, Number) else None for cell in cells]
        return pd.DataFrame(columns)


@dataclass(frozen=True)
class Row:
    """One net, or nets fused, at one training scale under one protocol: a line of `ablation.csv` with these columns.

    Errors and recall are in percent and means over runs, those that did not train among them.
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
    """The error of each run in the order of their number, separated by semicolons."""
    top5_error: float | None
    """None with too few classes for it to mean anything."""
    mean_class_recall: float
    nll: float
    """Negative log-likelihood, nats."""
    ece: float
    """Expected calibration error, percent."""
    training_error: float | None
    """Top-1 error of the training images, centre crops."""
    learning_rate: float | None
    weight_decay: float | None
    did_not_train: int | None
    """Runs that diverged or stayed at chance."""
    paper_top1_error: float | None
    paper_top5_error: float | None
    """The paper's errors on ImageNet in the same cell of Tables 3 to 6."""

    @property
    def each_run(self) -> list[float]:
        """The error of each run, percent."""
        return [float(error) for error in self.top1_error_runs.split(";")]


def ablation(study: Study) -> list[Row]:
    """Return the rows: by training scale, by protocol, nets in the order of Table 1, then fusions."""
    return [
        row
        for scale in study.scales
        for protocol in study.protocols(scale)
        for row in (*_of_nets(study, scale, protocol), *_of_fusions(study, scale, protocol))
    ]


def _of_nets(study: Study, scale: str, protocol: str) -> Iterable[Row]:
    for net in study.at(scale):
        yield Row(
            weight_layers=net.weight_layers,
            params=net.params,
            gmacs=net.gmacs,
            training_error=fmean(run.training_error for run in net.runs),
            learning_rate=net.training.learning_rate,
            weight_decay=net.tuned.weight_decay,
            did_not_train=net.did_not_train,
            **_measured(study, net.arch, net, protocol, [run.protocols[protocol] for run in net.runs]),
        )


def _of_fusions(study: Study, scale: str, protocol: str) -> Iterable[Row]:
    for fusion in study.fusions:
        scores = [run.protocols[protocol] for run in fusion.runs if protocol in run.protocols]
        if fusion.scale == scale and scores:
            yield Row(
                weight_layers=None,
                params=None,
                gmacs=None,
                training_error=None,
                learning_rate=None,
                weight_decay=None,
                did_not_train=None,
                **_measured(study, fusion.name, study.at(scale)[0], protocol, scores),
            )


def _measured(study: Study, name: str, net: Net, protocol: str, scores: Sequence[Scores]) -> dict:
    """Return what nets and fusions have alike; `net` is one of their scale."""
    estimate = estimate_of(study, name, net.scale, protocol)
    top5_errors = [score.top5_error for score in scores if score.top5_error is not None]
    published = published_errors(net.scale, protocol).get(name)
    return {
        "arch": name,
        "scale": net.scale,
        "protocol": protocol,
        "train_scale": side(net.train_scale),
        "test_scale": tested(net, protocol),
        "runs": len(scores),
        "top1_error": estimate.mean,
        "top1_error_low": estimate.low,
        "top1_error_high": estimate.high,
        "top1_error_runs": ";".join(f"{error:.6g}" for error in estimate.by_run.values()),
        "top5_error": fmean(top5_errors) if top5_errors else None,
        "mean_class_recall": fmean(score.mean_class_recall for score in scores),
        "nll": fmean(score.nll for score in scores),
        "ece": fmean(score.ece for score in scores),
        "paper_top1_error": published.top1 if published else None,
        "paper_top5_error": published.top5 if published else None,
    }


def estimate_of(study: Study, name: str, scale: str, protocol: str) -> Estimate:
    """Return the expected error of a net or a fusion that is there. Raises KeyError if it is not."""
    if (errors := study.errors(name, scale, protocol)) is None:
        raise KeyError(f"{name} ({scale}), {protocol}")
    return expected_error(errors)


def frame(rows: Sequence[Row]) -> pd.DataFrame:
    """Return rows as a data frame with the fields of `Row` as columns."""
    return pd.DataFrame([asdict(row) for row in rows]).astype(
        dict.fromkeys(("weight_layers", "params", "did_not_train"), "Int64")
    )


def headline(rows: Sequence[Row]) -> dict[str, dict[str, float] | float | str]:
    """Return what `dvc metrics diff` and `dvc exp show` print of one training scale's and protocol's nets.

    Per net the errors and the recall, percent with two decimals (no top-5 error with too few classes); of one net alone
    its training error and calibration too. Over several nets the best one, and the number of runs that did not train.
    """
    measures = ["top1_error", "top5_error", "mean_class_recall"]
    if len(rows) == 1:
        measures += ["training_error", "ece", "nll"]
    nets: dict[str, dict[str, float] | float | str] = {
        row.arch: {name: round(value, 2) for name in measures if (value := getattr(row, name)) is not None}
        for row in rows
    }
    best = min(rows, key=lambda row: row.top1_error)
    overall = {"best": best.arch, "best_top1_error": round(best.top1_error, 2)} if len(rows) > 1 else {}
    return {**nets, **overall, "did_not_train": sum(row.did_not_train or 0 for row in rows)}


def by_depth(rows: Sequence[Row]) -> pd.DataFrame:
    """Return what `dvc plots diff` draws of one training scale's and protocol's nets: error against depth."""
    names = ["weight_layers", "arch", "top1_error", "top1_error_low", "top1_error_high"]
    return frame(rows)[names].rename(columns={"arch": "net"})


def published_beside(scale: str, protocol: str) -> tuple[str, Mapping[str, Errors]]:
    """Return where the paper has errors to stand beside ours, `Table 3, dense, S = 256`, and these by net.

    Under a protocol that the paper has no table of, its figures are those of dense testing at one scale.
    """
    shown = protocol if published_errors(scale, protocol) else "dense"
    place = f"{PAPER_TABLES[shown]}, {PROTOCOL_WORDS[shown]}, S = {TRAINING_SCALES[scale]}"
    return place, published_errors(scale, shown)


def result_table(rows: Sequence[Row], name: str, caption: str) -> Table:
    """Lay out one training scale's and protocol's rows beside the figures of `published_beside`."""
    _, published = published_beside(rows[0].scale, rows[0].protocol)
    header = ("net", "layers", "parameters", "top-1 error, %", "each run, %", "top-5 error, %", "class recall, %")
    body = [
        (
            row.arch,
            NONE if row.weight_layers is None else Number(str(row.weight_layers), row.weight_layers),
            NONE if row.params is None else Number(f"{row.params / 1e6:.2f} M", row.params),
            interval(row.top1_error, row.top1_error_low, row.top1_error_high),
            ", ".join(f"{error:.1f}" for error in row.each_run),
            decimal(row.top5_error),
            decimal(row.mean_class_recall),
            decimal(row.nll, 2),
            decimal(row.ece),
            Number(f"{row.runs}" + (f" ({row.did_not_train} did not train)" if row.did_not_train else ""), row.runs),
            decimal(published[row.arch].top1 if row.arch in published else None),
            decimal(published[row.arch].top5 if row.arch in published else None),
        )
        for row in rows
    ]
    header = (*header, "NLL, nats", "ECE, %", "runs", "paper top-1, %", "paper top-5, %")
    return Table(name, caption, header, body)


def tuning_table(nets: Sequence[Net]) -> Table:
    """Lay out what the search chose for each net, with a mark where the choice sits at the edge of the space."""
    body = [
        (
            net.arch,
            _chosen(net, "learning_rate"),
            _chosen(net, "weight_decay"),
            decimal(net.tuned.validation_accuracy),
            *(whole(number) for number in (net.tuned.trials, net.tuned.complete, net.tuned.pruned)),
            *(whole(number) for number in (net.tuned.diverged, net.tuned.at_chance)),
        )
        for net in nets
    ]
    header = ("net", "learning rate", "weight decay", "validation accuracy, %", "trials", "complete", "pruned")
    return Table("search", "Tuned settings", (*header, "diverged", "at chance"), body)


def _chosen(net: Net, setting: str) -> Number:
    value = getattr(net.tuned, setting)
    return Number(f"{value:.3g}" + (" (edge)" if setting in net.tuned.at_edge else ""), value)


def training_table(nets: Sequence[Net]) -> Table:
    """Lay out how the nets were trained: one value where they agree, else one for each net."""
    labels = {
        "schedule": "learning rate schedule",
        "epochs": "epochs at this scale",
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
    body = [
        ("side of the crop that a net sees, pixels", in_common(nets, [str(net.input_side) for net in nets])),
        ("training scale S, smallest side, pixels", in_common(nets, [side(net.train_scale) for net in nets])),
        (
            "test scales Q, smallest side, pixels",
            in_common(nets, [", ".join(map(str, net.test_scales)) for net in nets]),
        ),
        *(
            (name, in_common(nets, [words(getattr(net.training, field)) for net in nets]))
            for field, name in labels.items()
        ),
    ]
    return Table("training", "Training settings", ("setting", "value"), body, frozenset({0, 1}))


def settings_table(settings: StudySettings, origin: str) -> Table:
    """Lay out every setting of the study by the name that `-S` takes; of the source what others may read."""
    flat = flattened(settings.model_dump()) | {"data.source": origin}
    rows = [
        (name, ", ".join(map(words, value)) if isinstance(value, tuple) else words(value))
        for name, value in flat.items()
    ]
    return Table("settings", "Settings", ("setting", "value"), rows, frozenset({0, 1}))


def flattened(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Return the values of nested mappings by their dotted names: `tune.learning_rate.low`."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{before}{key}"
        flat |= flattened(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat


def in_common(nets: Sequence[Net], values: Sequence[str]) -> str:
    """Return the value that all nets share, else each with those that have it; a whole training scale by its name."""
    of_scales: dict[str, dict[str, str]] = {}
    for net, value in zip(nets, values, strict=True):
        of_scales.setdefault(net.scale, {})[net.arch] = value
    named: dict[str, str] = {}
    for scale, of_nets in of_scales.items():
        if len(of_scales) > 1 and len(set(of_nets.values())) == 1:
            named[scale] = next(iter(of_nets.values()))
        else:
            suffix = f" {scale}" if len(of_scales) > 1 else ""
            named |= {f"{arch}{suffix}": value for arch, value in of_nets.items()}
    return agreed(named)


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
    return Table("images", "Images", ("property", "value"), body, frozenset({0, 1}))


def weights_table(nets: Sequence[Net]) -> Table:
    """Lay out the SHA-256 of every run's weights."""
    body = [
        (net.arch, net.scale, whole(run.run), whole(run.seed), f"`{run.weights_sha256}`")
        for net in nets
        for run in net.runs
    ]
    header = ("net", "training scale", "run", "seed", "SHA-256 of the weights")
    return Table("weights", "Weights", header, body, frozenset({0, 1, 4}))


def reasons(data: Data) -> str:
    """Return why images were left out, ` (duplicate: 2, not an image: 1)`; nothing if none was."""
    numbers = ", ".join(f"{reason}: {number:,}" for reason, number in sorted(data.excluded_reasons.items()) if number)
    return f" ({numbers})" if numbers else ""


def side(scale: int | tuple[int, int]) -> str:
    """Return a training scale S as the paper writes it: `256`, `[256; 512]`."""
    return str(scale) if isinstance(scale, int) else f"[{scale[0]}; {scale[1]}]"


def tested(net: Net, protocol: str) -> str:
    """Return the test scale or scales Q of a protocol: `256`; `224, 256, 288`."""
    return str(net.test_scales[1]) if protocol in ("centre", "dense") else ", ".join(map(str, net.test_scales))


def agreed(values: dict[str, str]) -> str:
    """Return the value that all share, else each value with those that have it."""
    holders: dict[str, list[str]] = {}
    for holder, value in values.items():
        holders.setdefault(value, []).append(holder)
    if len(holders) == 1:
        return next(iter(holders))
    return "; ".join(f"{value} ({', '.join(names)})" for value, names in holders.items())


def words(value: object) -> str:
    """Return a setting's value as people write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def interval(mean: float, low: float, high: float, *, signed: bool = False) -> Number:
    """Return `31.2 [29.8, 32.6]`."""
    sign = "+" if signed else ""
    return Number(f"{mean:{sign}.1f} [{low:{sign}.1f}, {high:{sign}.1f}]", mean, low, high)


def difference(one: Difference) -> Number:
    """Return a difference with its sign and its interval, in points."""
    return interval(one.mean, one.low, one.high, signed=True)


def decimal(value: float | None, digits: int = 1, *, signed: bool = False) -> Number:
    """Return a number with so many decimals, a dash where there is none."""
    if value is None:
        return Number(NONE, None)
    return Number(f"{value:{'+' if signed else ''}.{digits}f}", value)


def whole(value: int) -> Number:
    """Return a whole number, `12,000`."""
    return Number(f"{value:,}", value)


def probability(p_value: float) -> Number:
    """Return a p-value with as many digits as it deserves."""
    return Number("< 0.001" if p_value < 0.001 else f"{p_value:.3f}", p_value)
