"""A figure of the report: an SVG that stands by itself, its meaning in words, and the numbers it is drawn from.

The same figure gives the same bytes. Colours are those of the page's light theme (`style.css`); inside the page they
become its variables, so that one drawing serves light and dark pages. Text stays text.
"""

import html
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK, MUTED, LINE, OURS, SECOND, THIRD, BAD = (
    "#19202e", "#545d70", "#dde2ea", "#1a5bab", "#08705f", "#a2460b", "#b3261e",
)  # fmt: skip
BAR, PAPER = "#8f9bb0", "#fefefe"  # PAPER: behind the drawing; white enough, and no colour of anything else
VARIABLES = {
    INK: "ink", MUTED: "muted", LINE: "line", OURS: "ours", SECOND: "second", THIRD: "third", BAD: "bad", BAR: "bar",
    PAPER: "paper",
}  # fmt: skip
"""The names of these colours among the variables of style.css."""

STYLE: dict[Any, Any] = {
    # Nobody's own matplotlibrc may change the bytes.
    **{name: value for name, value in mpl.rcParamsDefault.items() if name != "backend"},
    "svg.fonttype": "none",
    "text.parse_math": False,  # a name may hold dollars
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.minor.visible": False,
    "figure.facecolor": PAPER,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
}

PAIR_SIZE = (4.8, 2.4)  # inches of 72 points; a point is a CSS pixel or more, by the width of its place
SMALL_SIZE = (3.9, 3.2)
WIDE = 7.6  # inches
OPACITIES = (0.04, 0.45)  # opacity of the palest and of the strongest shade: text on it keeps its contrast


@dataclass(frozen=True)
class Drawing:
    """One figure."""

    name: str
    """Of its files, and of its element in the page."""
    title: str
    svg: str
    """A whole SVG document, in the light theme's colours."""
    words: str
    """What it shows, with the numbers that matter, for those who do not see it."""
    data: pd.DataFrame
    """What is drawn."""
    wide: bool = False
    """Whether it needs the width of a page."""

    @property
    def inline(self) -> str:
        """The `svg` element for the page: its colours are the page's variables."""
        # Inside HTML the address of the namespace is neither needed nor welcome; style.css has the style.
        text = self.svg.replace(' xmlns="http://www.w3.org/2000/svg"', "", 1)
        text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>\s*", "", text, flags=re.DOTALL)
        for colour, variable in VARIABLES.items():
            text = text.replace(colour, f"var(--{variable})")
        return text


def drawing(figure: Figure, name: str, title: str, words: str, data: pd.DataFrame, *, wide: bool = False) -> Drawing:
    """Return a matplotlib figure, made under `STYLE`, as a drawing; for the other arguments see there."""
    return Drawing(name, title, _svg(figure, name, f"{title}. {words}"), words, data.reset_index(drop=True), wide)


def _svg(figure: Figure, name: str, words: str) -> str:
    """Return the figure as one `svg` element, as wide as its place, with nothing but the drawing and its words.

    `name` keeps the ids of clip paths and markers apart from those of other drawings on the page.
    """
    buffer = io.StringIO()
    FigureCanvasSVG(figure)
    with mpl.rc_context({"svg.hashsalt": f"vgg-ablation {name}"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"\s*<!--.*?-->", "", text, flags=re.DOTALL)
    # Ids of groups are the same in every drawing, and a page may hold an id once.
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    # Hundredths of a point are finer than any screen, and a third of the bytes.
    text = re.sub(r'(?<==)"[^"]*"', lambda found: re.sub(r"-?\d+\.\d{3,}", _rounded, found[0]), text)
    text = re.sub(r' transform="rotate\(-?0 [^"]*"', "", text)  # by nothing
    text = text.replace("'DejaVu Sans', sans-serif", "sans-serif").replace("xlink:href", "href")
    label = html.escape(words, quote=True)
    root = re.match(r"<svg .*?>", text, flags=re.DOTALL)
    assert root is not None  # noqa: S101 - matplotlib's SVG begins so
    size = " ".join(re.findall(r'(?:width|height|viewBox)="[^"]*"', root[0]))
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{label}">'
    return f"{opening}{text[root.end() :].strip()}\n"


def _rounded(found: re.Match[str]) -> str:
    return f"{float(found[0]):.2f}".rstrip("0").rstrip(".")


def matrix_axes(axes: Axes, columns: Sequence[str], rows: Sequence[str]) -> None:
    """Make `axes` those of a matrix whose cells are centred on whole numbers, the first row on top."""
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(visible=False)
    axes.tick_params(length=0, labelcolor=INK)
    axes.spines[:].set_visible(False)


def opacity(share: float) -> float:
    """Return how opaque a cell is whose value is this share of the largest."""
    return OPACITIES[0] + (OPACITIES[1] - OPACITIES[0]) * share
