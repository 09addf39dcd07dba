"""Tables 1 to 6 of the paper, this study's numbers beside the published ones."""

from collections.abc import Iterable, Mapping, Sequence

from vgg_ablation import paper as published
from vgg_ablation.analysis.study import Study
from vgg_ablation.model.table1 import (
    ABLATION,
    NORMALISED_LAYER,
    Layer,
    convolution_groups,
    count_parameters,
    fully_connected,
)
from vgg_ablation.paper import TRAINING_SCALES, published_errors
from vgg_ablation.report.tables import NONE, PROTOCOL_WORDS, Number, Row, Table, decimal, interval, whole
from vgg_ablation.runtime.settings import SCALES

IMAGENET_CLASSES = 1000
IMAGENET_SIDE = 224
"""Pixels of the crop that the paper's nets see."""
METHODS = ("dense_scales", "multi_crop", "combined")
"""The protocols of Tables 5 and 6."""
PUBLISHED_TEST_SCALES = {"fixed": (224, 256, 288), "large": (352, 384, 416), "jitter": (256, 384, 512)}
"""Q of Table 4; the middle one is that of Table 3."""
METHODS_SCALE = "jitter"
"""The training scale of Tables 5 and 6."""
SUBMISSION = "ILSVRC submission, seven nets"


def table_1(study: Study) -> Table:
    """Lay out the configurations, a net's two lines below each other: ours with the study's widths, the paper's."""
    body = []
    for arch in study.archs:
        net = next(net for net in study.nets if net.arch == arch)
        groups = convolution_groups(arch, net.input_side, net.training.width)
        final = fully_connected(net.classes, net.input_side, net.training.width)
        layers = whole(net.weight_layers)
        outputs = " ".join(str(layer.outputs) for layer in final)
        body.append((arch, "this study", layers, *(_group(arch, group) for group in groups), outputs))
        if arch in published.TABLE_1:
            depth = whole(published.WEIGHT_LAYERS[arch])
            body.append((arch, "paper", depth, *published.TABLE_1[arch], f"4096 4096 {IMAGENET_CLASSES}"))
    header = ("net", "of", "layers", *(f"group {number}" for number in range(1, 6)), "fully connected")
    caption = "Table 1: output channels of the layers with weights"
    return Table("table-1", caption, header, body, frozenset({0, 1, *range(3, 9)}))


def _group(arch: str, group: Sequence[Layer]) -> str:
    """Return a group's channels, `64 64 LRN` or `256 256 256/1`: `/1` marks a 1x1 convolution."""
    normalised = NORMALISED_LAYER.get(arch)
    return " ".join(
        f"{layer.outputs}{'' if layer.kernel == 3 else f'/{layer.kernel}'}{' LRN' if layer.name == normalised else ''}"
        for layer in group
    )


def table_2(study: Study) -> Table:
    """Lay out the numbers of parameters: ours, the same nets at full size, the paper's."""
    body = []
    for arch in study.archs:
        net = next(net for net in study.nets if net.arch == arch)
        full = count_parameters(arch, IMAGENET_CLASSES, IMAGENET_SIDE)
        millions = published.TABLE_2.get(arch)
        body.append(
            (
                arch,
                Number(f"{net.params / 1e6:.2f} M", net.params),
                Number(f"{full / 1e6:.2f} M", full),
                Number(NONE if millions is None else f"{millions} M", None if millions is None else millions * 10**6),
            )
        )
    full_size = f"at full width, {IMAGENET_CLASSES} classes, {IMAGENET_SIDE} pixels"
    header = ("net", "this study", full_size, "paper")
    return Table("table-2", "Table 2: parameters", header, body)


def table_3(rows: Sequence[Row]) -> Table:
    """Lay out the errors at one test scale, a line a net and training scale."""
    return _by_scale("table-3", "Table 3: one test scale, dense", rows, "dense")


def table_4(rows: Sequence[Row]) -> Table:
    """Lay out the errors at three test scales, a line a net and training scale."""
    return _by_scale("table-4", "Table 4: three test scales, dense", rows, "dense_scales")


def _by_scale(name: str, caption: str, rows: Sequence[Row], protocol: str) -> Table:
    ours = {(row.arch, row.scale): row for row in rows if row.protocol == protocol and "+" not in row.arch}
    body = []
    for arch in _archs(rows):
        for scale in SCALES:
            row = ours.get((arch, scale))
            paper = published_errors(scale, protocol).get(arch)
            if row or paper:
                body.append((arch, *_ours(row), *_theirs(paper, scale, protocol)))
    return Table(name, caption, ("net", *OURS, *THEIRS), body, frozenset({0, 1, 2, 5, 6}))


OURS = ("S", "Q", "top-1 error, %", "top-5 error, %")
THEIRS = ("paper S", "paper Q", "paper top-1, %", "paper top-5, %")


def _ours(row: Row | None) -> tuple[str, ...]:
    if row is None:
        return NONE, NONE, Number(NONE, None), Number(NONE, None)
    error = interval(row.top1_error, row.top1_error_low, row.top1_error_high)
    return row.train_scale, row.test_scale, error, decimal(row.top5_error)


def _theirs(paper: published.Errors | None, scale: str, protocol: str) -> tuple[str, ...]:
    if paper is None:
        return NONE, NONE, Number(NONE, None), Number(NONE, None)
    scales = PUBLISHED_TEST_SCALES[scale]
    tested = str(scales[1]) if protocol == "dense" else ", ".join(map(str, scales))
    return TRAINING_SCALES[scale], tested, decimal(paper.top1), decimal(paper.top5)


def table_5(rows: Sequence[Row]) -> Table:
    """Lay out dense testing, multi-crop and both, a line a net and method."""
    body = [
        (arch, PROTOCOL_WORDS[method], *_ours(row), *_theirs(paper, METHODS_SCALE, method))
        for arch, method, row, paper in _by_method([row for row in rows if "+" not in row.arch], published.TABLE_5)
    ]
    caption = "Table 5: dense, multi-crop, and the mean of both"
    return Table("table-5", caption, ("net", "method", *OURS, *THEIRS), body, frozenset({0, 1, 2, 3, 6, 7}))


def table_6(rows: Sequence[Row]) -> Table:
    """Lay out the fusions of nets, a line a fusion and method, and the paper's submission."""
    body = [
        (
            name,
            PROTOCOL_WORDS[method],
            *_ours(row),
            *_theirs(paper, METHODS_SCALE, method),
            decimal(paper.test_top5 if paper else None),
        )
        for name, method, row, paper in _by_method([row for row in rows if "+" in row.arch], published.TABLE_6)
    ]
    submission = published.SUBMISSION
    errors = (submission.top1, submission.top5, submission.test_top5)
    scales = ("; ".join(TRAINING_SCALES.values()), "three to each S")
    body.append((SUBMISSION, PROTOCOL_WORDS["dense_scales"], *_ours(None), *scales, *map(decimal, errors)))
    header = ("net", "method", *OURS, *THEIRS, "paper top-5 on test images, %")
    caption = "Table 6: posteriors of several nets averaged"
    return Table("table-6", caption, header, body, frozenset({0, 1, 2, 3, 6, 7}))


def _by_method(
    rows: Sequence[Row], table: Mapping[str, Mapping[str, published.Errors]]
) -> Iterable[tuple[str, str, Row | None, published.Errors | None]]:
    """Yield each net or fusion and method with our row, if there is one, and the paper's errors, if it has some.

    Ours are of the training scale that has most of the methods, jitter before others as in the paper.
    """
    of_methods = [row for row in rows if row.protocol in METHODS]
    scales = sorted(
        {row.scale for row in of_methods},
        key=lambda scale: (-len({row.protocol for row in of_methods if row.scale == scale}), -SCALES.index(scale)),
    )
    ours = {(row.arch, row.protocol): row for row in of_methods if row.scale in scales[:1]}
    theirs = {(arch, method): errors for method, of_method in table.items() for arch, errors in of_method.items()}
    for arch in dict.fromkeys([*(row.arch for row in of_methods), *(arch for arch, _ in theirs)]):
        for method in METHODS:
            row, paper = ours.get((arch, method)), theirs.get((arch, method))
            if row or paper:
                yield arch, method, row, paper


def _archs(rows: Iterable[Row]) -> list[str]:
    """Return the paper's nets, and those of ours that it has no line of."""
    return list(dict.fromkeys([*ABLATION, *(row.arch for row in rows if "+" not in row.arch)]))


def missing_cells(study: Study) -> dict[str, str]:
    """Return by table's name which settings fill the cells that this study has not; nothing of a table that is full."""
    scales = [scale for scale in SCALES if scale not in study.scales]
    archs = [arch for arch in ABLATION if arch not in study.archs]
    found: dict[str, str] = {}
    wide = [
        *([f"`dvc exp run -S arch=all` adds {', '.join(archs)}"] if archs else []),
        *([f"`dvc exp run -S scale=all` adds the training scales {' and '.join(scales)}"] if scales else []),
    ]
    for name, protocols in (("table-3", ["dense"]), ("table-4", ["dense_scales"])):
        found[name] = _line([*wide, *_settings(study, study.scales, protocols)])
    if METHODS_SCALE in study.scales:
        methods = _settings(study, [METHODS_SCALE], METHODS)
    else:
        methods = [f"`dvc exp run -S scale=all` adds the paper's training scale, {METHODS_SCALE}, with its methods"]
    cropped = dict.fromkeys(arch for errors in published.TABLE_5.values() for arch in errors if arch in archs)
    nets = [f"`dvc exp run -S arch=all` adds {', '.join(cropped)}"] if cropped else []
    found["table-5"] = _line([*nets, *methods])
    fused = [] if study.fusions else ["`dvc exp run -S arch=all` fuses nets, which takes the posteriors of all of them"]
    found["table-6"] = _line([*fused, *methods])
    return {name: line for name, line in found.items() if line}


def _settings(study: Study, scales: Sequence[str], protocols: Sequence[str]) -> list[str]:
    """Return which lists of protocols in `params.yaml` lack some of these."""
    return [
        f"`studies.{study.name}.evaluate.protocols.{scale}` with {', '.join(lacking)} adds what it lacks"
        for scale in scales
        if (lacking := [name for name in protocols if name not in study.protocols(scale)])
    ]


def _line(reasons: Sequence[str]) -> str:
    return f"Cells with a dash on this study's side: {'; '.join(reasons)}." if reasons else ""
