"""The report as one HTML file that needs nothing else: style, script and figures are inside it."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from vgg_ablation.analysis.study import Study
from vgg_ablation.report.drawing import Drawing
from vgg_ablation.report.sections import Section, title
from vgg_ablation.report.tables import NONE, Number, Table
from vgg_ablation.runtime.settings import SCALES

VERDICTS = ("reproduced", "contradicted", "undecided", "not asked")
"""Cells that say this and nothing else are shown as badges."""

COMMAND = "dvc repro report"
COMMAND_PARTIAL = "python stages/report.py --partial"
_LONGEST = 240  # rows of a table beneath a figure; with more of them the page would be mostly numbers that nobody reads


@dataclass(frozen=True)
class Plate:
    """Where drawings stand in the page, side by side under one caption."""

    section: str
    """The key of their section."""
    drawings: str
    """A pattern that their names match."""
    title: str
    caption: str
    """What follows the title."""
    layout: str = "many"
    """How several stand: `pair`, or `many`, as many beside each other as there is room for."""
    key: str = ""
    """The name of the drawing that explains their marks, if there is one."""


PLATES = (
    Plate(
        "result",
        "error-by-depth(-paper)?",
        "Top-1 error against depth",
        "Large marks: means over runs; whiskers: 95 % intervals; dots: single runs; crosses: runs that did not train. "
        "The axes of error differ: compare the order with the paper's, not the values.",
        layout="pair",
    ),
    Plate(
        "claims",
        "claims",
        "The differences behind the claims",
        "Each with its 95 % interval. On the right the verdicts on the claims; an open mark settles nothing.",
    ),
    Plate(
        "table-5",
        "error-by-protocol",
        "Top-1 error by test protocol",
        "Means over runs. A bar spans what the protocols make of one net.",
    ),
    Plate(
        "pairs",
        "pairs",
        "All pairs of nets",
        "Top-1 error of a row's net less that of a column's, points: blue where the row has the lower error, orange "
        "where it has the higher one. Framed and bold: decided, after Holm's correction for all pairs.",
    ),
    Plate(
        "search",
        "search-[A-Z].*",
        "The search",
        "Each mark is a trial at its learning rate and weight decay, coloured by validation accuracy where it ran to "
        "its end, on one scale for all nets.",
        key="search-key",
    ),
    Plate(
        "search",
        "importances",
        "What mattered in the search",
        "How far learning rate and weight decay set the better half of a net's trials apart from all of them "
        "(PED-ANOVA, Watanabe et al. 2023). With few trials this is rough.",
    ),
    *(
        Plate(
            "curves",
            f"learning-{scale}-.*",
            f"Learning curves, training scale {scale}",
            "Training loss and validation accuracy by epoch, a line a run. Dotted: a net that guesses. Dashed: a run "
            "that did not train. All nets have the same axes.",
        )
        for scale in SCALES
    ),
    Plate(
        "classes",
        "class-errors",
        "Error by class",
        "Top-1 error by class and net, the test images of all runs together; the hardest class comes first.",
    ),
    Plate(
        "classes",
        "classes-by-depth|confusions",
        "What depth mends",
        "Left: classes by how their error changes from the shallowest net to the deepest. Right: the confusions, true "
        "class → predicted class, that become rarer. Classes have few test images each, so single ones move by chance.",
        layout="pair",
    ),
    Plate(
        "calibration",
        "reliability-.*",
        "Reliability",
        "Accuracy against confidence, the largest posterior, in bins of equal width, the test images of all runs "
        "together. On the dotted line a net is as often right as it says; below it is too sure. Beneath: how many of "
        "the images lie in each bin.",
    ),
    Plate(
        "cost",
        "compute",
        "Error against compute",
        "Operations of the search and the training, two a multiply-accumulate, three times as many with the backward "
        "pass. A net at a later training scale has the earlier ones in its count.",
    ),
)


@dataclass(frozen=True)
class Figure:
    """A plate with its drawings, and their numbers where those are few enough for a table."""

    plate: Plate
    drawings: list[Drawing]
    key: Drawing | None
    numbers: Table | None

    @property
    def layout(self) -> str:
        """The class of the element around the drawings."""
        if any(drawing.wide for drawing in self.drawings):
            return "one"
        return self.plate.layout if len(self.drawings) > 1 else "few"


def document(study: Study, sections: Sequence[Section], drawings: Mapping[str, Drawing]) -> str:
    """Return the whole page: the sections in this order, each with those of the drawings that belong to it."""
    return (
        environment()
        .get_template("index.html.jinja")
        .render(
            title=title(study),
            sections=sections,
            figures={section.key: figures(section.key, drawings) for section in sections},
            command=COMMAND_PARTIAL if study.partial else COMMAND,
        )
    )


def environment() -> Environment:
    """Return what renders the package's pages."""
    made = Environment(
        loader=PackageLoader("vgg_ablation", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {"code": code, "value": value, "svg": svg}
    made.globals["verdicts"] = VERDICTS
    return made


def figures(section: str, drawings: Mapping[str, Drawing]) -> list[Figure]:
    """Return the figures of a section, as far as their drawings are there."""
    found = []
    for plate in PLATES:
        shown = [drawing for name, drawing in drawings.items() if re.fullmatch(plate.drawings, name)]
        if plate.section == section and shown:
            found.append(Figure(plate, shown, drawings.get(plate.key), _numbers(shown)))
    return found


def _numbers(drawings: Iterable[Drawing]) -> Table | None:
    """Return the data of drawings as one table; None where it would be long, or is of several kinds."""
    data = [drawing.data for drawing in drawings]
    if len({tuple(frame.columns) for frame in data}) > 1 or sum(map(len, data)) > _LONGEST:
        return None
    frame = pd.concat(data)
    words = frozenset(
        {0, *(index for index, kind in enumerate(frame.dtypes) if not pd.api.types.is_numeric_dtype(kind))}
    )
    rows = [tuple(map(_cell, row)) for row in frame.itertuples(index=False)]
    return Table("", "", tuple(str(name).replace("_", " ") for name in frame.columns), rows, words)


def _cell(content: object) -> str:
    if isinstance(content, float):
        return Number(NONE, None) if math.isnan(content) else Number(f"{content:.4g}", content)
    return Number(str(content), content) if isinstance(content, int) else str(content)


def svg(drawing: Drawing) -> Markup:
    """Return a drawing as an element of the page."""
    return Markup(drawing.inline)  # noqa: S704 (drawn by us; matplotlib escapes the text in it)


def code(text: str) -> Markup:
    """Return text as HTML, with what stands in backticks as code."""
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 (escaped just here)


def value(cell: str) -> str:
    """Return what a cell of numbers sorts by, as JavaScript reads it; empty for a cell without a number."""
    return repr(cell.value) if isinstance(cell, Number) and cell.value is not None else ""
