"""Look of all figures, and their files. The same inputs give the same bytes on one machine."""

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as MplFigure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from PIL import Image

Section = Literal["result", "claims", "paper", "pairs", "training", "classes", "data", "cost"]
Mime = Literal["image/svg+xml", "image/png", "image/webp"]
Mark = Mapping[str, Any]
"""Keyword arguments of `Axes.plot`."""

# Okabe and Ito's colours, which colour-blind readers can distinguish, and greys.
INK, MUTED, LINE, PAPER = "#19202e", "#545d70", "#dde2ea", "#ffffff"
BLUE, GREEN, VERMILLION, PURPLE = "#0072b2", "#009e73", "#d55e00", "#cc79a7"

STYLE: dict[Any, Any] = {
    # A user's matplotlibrc must not change the bytes.
    **{name: value for name, value in mpl.rcParamsDefault.items() if name != "backend"},
    "svg.fonttype": "none",
    "svg.hashsalt": "vgg-ablation",
    "text.parse_math": False,  # category names may hold dollar signs
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "figure.constrained_layout.use": True,
}

WIDE = 7.6
"""Width of a figure that takes the whole page, inches."""
NARROW = 4.8
"""Width of a figure that two can share a row of the page with, inches."""
LARGEST_SVG = 20_000
"""Bytes of the largest SVG. SVG is sharp at any size, but of thousands of points PNG takes a tenth of the bytes."""
DPI = 100
"""Resolution of a PNG."""
COLOURS = 32
"""Colours in the palette of a PNG, which takes a third of the bytes of full colour."""


@dataclass(frozen=True)
class Figure:
    """One figure of the report."""

    name: str
    """File name without suffix, and id in the page."""
    section: Section
    """Key of the report section that shows it."""
    title: str
    caption: str
    """Help to read the figure."""
    alt: str
    """One sentence with the numbers that matter."""
    data: bytes
    mime: Mime
    wide: bool
    """True if it needs the whole width of the page."""
    sources: Sequence[str]
    """The report's files with its data; none where it shows images."""
    narrow: bytes | None = None
    """The same, of the same type, for narrow screens."""

    @property
    def file_name(self) -> str:
        """Name of the figure's file."""
        return f"{self.name}.{self.mime.partition('/')[2].removesuffix('+xml')}"


def figure(
    fig: MplFigure,
    name: str,
    section: Section,
    title: str,
    caption: str,
    alt: str,
    sources: Sequence[str],
    *,
    wide: bool,
    png: bool = False,
    narrow: MplFigure | None = None,
) -> Figure:
    """Return what was drawn under `STYLE` as a figure of the report; `png` as for `save`, the others as in `Figure`."""
    data, mime = save(fig, png=png)
    small = save(narrow, png=png)[0] if narrow else None
    return Figure(name, section, title, caption, alt, data, mime, wide, sources, small)


def save(fig: MplFigure, *, png: bool = False) -> tuple[bytes, Mime]:
    """Return the file of what was drawn under `STYLE`: SVG, or PNG where asked for and where SVG would be large."""
    if not png:
        fig.savefig(svg := io.BytesIO(), format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
        if len(svg.getvalue()) <= LARGEST_SVG:
            return svg.getvalue(), "image/svg+xml"
    fig.savefig(full := io.BytesIO(), format="png", dpi=DPI, metadata={"Software": None})
    with Image.open(full) as image:
        palette = image.convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        palette.save(small := io.BytesIO(), "png", optimize=True)
    return small.getvalue(), "image/png"


def legend(fig: MplFigure, marks: Mapping[str, Mark], columns: int = 3) -> None:
    """Explain marks, by their meaning, below the figure."""
    handles = [Line2D([], [], **{"linestyle": "none", "markersize": 6, **mark}) for mark in marks.values()]
    fig.legend(handles, list(marks), loc="outside lower center", ncols=columns, handletextpad=0.3)


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Label the whole numbers of the vertical axis with names, the first on top."""
    axes.set_yticks(range(len(names)), list(names))
    axes.tick_params(axis="y", labelcolor=INK, length=0)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")


def heat_map(axes: Axes, values: np.ndarray, rows: Sequence[str], **arguments: Any) -> AxesImage:
    """Draw values (rows, columns) as coloured cells, without grid and frame; arguments as of `Axes.imshow`."""
    image = axes.imshow(values, aspect="auto", interpolation="none", **arguments)
    name_rows(axes, rows)
    axes.tick_params(length=0, labelcolor=INK)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    return image


def panels(
    names: Sequence[str], x_label: str, y_labels: Sequence[str], height_ratios: Sequence[float], height: float
) -> tuple[MplFigure, list[list[Axes]]]:
    """Return a figure for small multiples, at most four in a row, and the axes of each from top to bottom.

    The caller gives all multiples the same limits, as the axes at the left and at the bottom alone have numbers.

    Args:
        names: names of the panels.
        x_label: label of all x axes.
        y_labels: labels of the axes of a panel, from top to bottom.
        height_ratios: height ratios of the axes of a panel.
        height: height of a panel in inches.
    """
    rows, parts = math.ceil(len(names) / 4), len(y_labels)
    columns = math.ceil(len(names) / rows)
    fig = MplFigure((max(NARROW, 1.9 * columns), 0.7 + rows * height))
    grid = fig.subplots(rows * parts, columns, squeeze=False, height_ratios=list(height_ratios) * rows)
    multiples = [list(axes) for row in np.split(grid, rows) for axes in row.T]
    for axes in np.ravel(multiples[len(names) :]):
        axes.remove()
    for place, (name, multiple) in enumerate(zip(names, multiples, strict=False)):
        multiple[0].set_title(name)
        multiple[-1].set_xlabel(x_label if place >= len(names) - columns else "")
        for axes, y_label in zip(multiple, y_labels, strict=True):
            axes.tick_params(labelleft=place % columns == 0, labelbottom=axes is multiple[-1])
            axes.set_ylabel(y_label if place % columns == 0 else "")
    return fig, multiples[: len(names)]
