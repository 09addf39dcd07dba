"""Tables 1 to 6 of the paper, with this study's numbers beside the published ones."""

from collections.abc import Iterable, Mapping, Sequence

from vgg_ablation.analysis.rows import Row
from vgg_ablation.analysis.study import Study
from vgg_ablation.model.table1 import NETS, Layer, convolution_groups, fully_connected
from vgg_ablation.paper import tables as paper
from vgg_ablation.paper.tables import TRAINING_SCALES, published_errors
from vgg_ablation.report import words
from vgg_ablation.report.table import NONE, Number, Table, decimal, interval, whole
from vgg_ablation.runtime.names import named, plain
from vgg_ablation.runtime.settings import SCALES

METHODS = ("dense_scales", "multi_crop", "combined")
"""Protocols of Tables 5 and 6."""
METHODS_SCALE = "jitter"
"""Training scale of Tables 5 and 6 in the paper."""

_OURS = ("S", "Q", "top-1 error, %", "top-5 error, %")
_THEIRS = ("paper S", "paper Q", "paper top-1, %", "paper top-5, %")


def all_tables(study: Study, rows: Sequence[Row]) -> list[Table]:
    """Return Tables 1 to 6; `rows` are those of ablation.csv."""
    nets = [row for row in rows if "+" not in row.arch]
    fusions = [row for row in rows if "+" in row.arch]
    return [
        _table_1(study),
        _by_scale(study, "table-3", "Table 3: one test scale, dense", nets, "dense"),
        _by_scale(study, "table-4", "Table 4: three test scales, dense", nets, "dense_scales"),
        Table(
            "table-5",
            "Table 5: dense, multi-crop and both",
            ("net", "protocol", *_OURS, *_THEIRS),
            [line for line, _ in _by_method(study, nets, paper.TABLE_5)],
        ),
        _table_6(study, fusions),
    ]


def _table_1(study: Study) -> Table:
    """Our nets with the study's widths; each of the paper's once, after the first of ours with its layers.

    Table 2 of the paper is the column of parameters.
    """
    body, published = [], dict(paper.TABLE_1)
    for net in study.searched:
        groups = convolution_groups(net.arch, net.input_side, net.training.width)
        final = fully_connected(net.classes, net.input_side, net.training.width)
        outputs = " ".join(str(layer.outputs) for layer in final)
        ours = (_group(net.arch, group) for group in groups)
        body.append((net.arch, "this study", whole(net.weight_layers), *ours, outputs, _millions(net.params, 2)))
        if theirs := published.pop(name := plain(net.arch), None):
            outputs = " ".join(map(str, paper.FULLY_CONNECTED))
            parameters = _millions(paper.TABLE_2[name] * 10**6, 0)
            body.append((name, "paper", whole(net.weight_layers), *theirs, outputs, parameters))
    header = ("net", "of", "layers", *(f"group {number}" for number in range(1, 6)), "fully connected", "parameters")
    return Table("table-1", "Tables 1 and 2: output channels of the layers with weights, and parameters", header, body)


def _millions(parameters: int, digits: int) -> Number:
    return Number(f"{parameters / 1e6:.{digits}f} M", parameters)


def _group(arch: str, group: Sequence[Layer]) -> str:
    """Return a group's channels: `64 64 LRN`, or `256 256 256/1` where the last is a 1x1 convolution."""
    normalised = NETS[arch].lrn
    return " ".join(
        f"{layer.outputs}{'' if layer.kernel == 3 else f'/{layer.kernel}'}{' LRN' if layer.name == normalised else ''}"
        for layer in group
    )


def _by_scale(study: Study, name: str, caption: str, rows: Sequence[Row], protocol: str) -> Table:
    """One row for each net and each of our training scales; with one test scale the training error too."""
    ours = {(row.arch, row.scale): row for row in rows if row.protocol == protocol}
    body = []
    for arch in dict.fromkeys([*study.ablation, *(row.arch for row in rows)]):
        for scale in study.scales:
            row, theirs = ours.get((arch, scale)), published_errors(scale, protocol).get(plain(arch))
            if row or theirs:
                s, q, top1, top5 = _our_cells(row)
                training = [decimal(row.training_error if row else None)] if protocol == "dense" else []
                body.append((arch, s, q, top1, *training, top5, *_their_cells(theirs, scale, protocol)))
    training = ["training error, %"] if protocol == "dense" else []
    return Table(name, caption, ("net", *_OURS[:3], *training, *_OURS[3:], *_THEIRS), body)


def _our_cells(row: Row | None) -> tuple[str, ...]:
    if row is None:
        return NONE, NONE, decimal(None), decimal(None)
    error = interval(row.top1_error, row.top1_error_low, row.top1_error_high)
    return row.train_scale, row.test_scale, error, decimal(row.top5_error)


def _their_cells(errors: paper.Errors | None, scale: str, protocol: str) -> tuple[str, ...]:
    if errors is None:
        return NONE, NONE, decimal(None), decimal(None)
    sides = paper.TEST_SCALES[scale]
    tested = str(sides[1]) if protocol == "dense" else ", ".join(map(str, sides))
    return TRAINING_SCALES[scale], tested, decimal(errors.top1), decimal(errors.top5)


def _table_6(study: Study, rows: Sequence[Row]) -> Table:
    """One row for each fusion and method, and the paper's submission of seven nets."""
    body: list[tuple[str, ...]] = [
        (*line, decimal(theirs.test_top5 if theirs else None))
        for line, theirs in _by_method(study, rows, paper.TABLE_6)
    ]
    submission = paper.SUBMISSION
    errors = map(decimal, (submission.top1, submission.top5, submission.test_top5))
    scales = ("; ".join(TRAINING_SCALES.values()), "three to each S")
    name = ("ILSVRC submission, seven nets", words.PROTOCOLS["dense_scales"])
    body.append((*name, *_our_cells(None), *scales, *errors))
    header = ("net", "protocol", *_OURS, *_THEIRS, "paper top-5 on test images, %")
    return Table("table-6", "Table 6: posteriors of several nets averaged", header, body)


def _by_method(
    study: Study, rows: Sequence[Row], table: Mapping[str, Mapping[str, paper.Errors]]
) -> Iterable[tuple[tuple[str, ...], paper.Errors | None]]:
    """Yield a row of cells for each net or fusion and method, with the paper's errors.

    Ours are of the training scale that has most of the methods, of several the last, as the paper's are of jitter.
    """
    rows = [row for row in rows if row.protocol in METHODS]
    methods = {scale: len({row.protocol for row in rows if row.scale == scale}) for scale in SCALES}
    shown = max(reversed(SCALES), key=lambda scale: methods[scale])
    ours = {(row.arch, row.protocol): row for row in rows if row.scale == shown}
    published = [named(arch, norm) for norm in study.norms for errors in table.values() for arch in errors]
    for arch in dict.fromkeys([*(row.arch for row in rows), *published]):
        for method in METHODS:
            row, theirs = ours.get((arch, method)), table[method].get(plain(arch))
            if row or theirs:
                cells = (*_our_cells(row), *_their_cells(theirs, METHODS_SCALE, method))
                yield (arch, words.PROTOCOLS[method], *cells), theirs
