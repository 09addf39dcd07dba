"""A table of the report: text for people, numbers for machines."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd
from tabulate import tabulate

NONE = "–"
"""Shown where there is no number."""
LONGEST = 36
"""Rows of the longest table in Markdown, such as twelve nets at three scales; of a longer one its CSV file is named."""

_ACTIVE = re.compile(
    r"[\\`*~|]"  # escapes, code, emphasis, columns
    r"|\](?=[(\[:])|<(?=[A-Za-z/!?])|&(?=[#\w])"  # links, images, HTML, entities
    r"|(?<!\w)_|_(?!\w)"  # emphasis: not within a word such as A_LRN
    r"|(?<=:)/(?=/)|(?<=www)\."  # addresses
)
"""Text that Markdown takes for markup, or GitHub for a link."""


class Number(str):
    """A formatted number that keeps its value, and its interval if it has one."""

    __slots__ = ("high", "low", "value")

    value: float | None
    low: float | None
    high: float | None

    def __new__(cls, text: str, value: float | None, low: float | None = None, high: float | None = None) -> "Number":
        """Return `text`, which shows `value`."""
        number = super().__new__(cls, text)
        number.value, number.low, number.high = value, low, high
        return number


@dataclass(frozen=True)
class Table:
    """Rows of cells; a column that holds a `Number` is a column of numbers, all others are words."""

    name: str
    """Name of its file in reports/tables, without suffix."""
    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def numeric(self) -> list[bool]:
        """Return for each column whether it holds numbers."""
        return [any(isinstance(row[place], Number) for row in self.rows) for place in range(len(self.header))]

    def only(self, columns: Sequence[str]) -> "Table":
        """Return the table with these columns alone. Raises ValueError if it lacks one."""
        places = [list(self.header).index(name) for name in columns]
        return replace(self, header=columns, rows=[[row[place] for place in places] for row in self.rows])

    def frame(self) -> pd.DataFrame:
        """Return the values: a number with an interval fills three columns, a missing one is empty."""
        columns: dict[str, list[str | float | None]] = {}
        for place, name in enumerate(self.header):
            cells = [row[place] for row in self.rows]
            columns[name] = [cell.value if isinstance(cell, Number) else cell for cell in cells]
            for bound in ("low", "high"):
                values = [getattr(cell, bound, None) for cell in cells]
                if any(value is not None for value in values):
                    columns[f"{name} ({bound})"] = values
        return pd.DataFrame(columns)

    def markdown(self) -> str:
        """Return the aligned table, or the name of its CSV file if it is long."""
        if len(self.rows) > LONGEST:
            return f"{len(self.rows)} rows: `tables/{self.name}.csv`."
        return tabulate(
            [list(map(inert, row)) for row in self.rows],
            headers=list(map(inert, self.header)),
            tablefmt="pipe",
            colalign=["right" if numeric else "left" for numeric in self.numeric()],
            disable_numparse=True,
        )


def inert(text: str) -> str:
    """Return text as one line of Markdown without markup: names in an archive may hold anything."""
    return _ACTIVE.sub(r"\\\g<0>", re.sub(r"\s+", " ", text))


def interval(mean: float, low: float, high: float, sign: str = "", digits: int = 1) -> Number:
    """Return `31.2 [29.8, 32.6]`; `sign` is `+` for differences."""
    shown = f"{sign}.{digits}f"
    return Number(f"{mean:{shown}} [{low:{shown}}, {high:{shown}}]", mean, low, high)


def decimal(value: float | None, digits: int = 1, sign: str = "") -> Number:
    """Return a number with so many decimals, a dash for None."""
    return Number(NONE if value is None else f"{value:{sign}.{digits}f}", value)


def detectable(points: float | None, digits: int = 1) -> Number:
    """Return a detectable difference between two errors, `none` if it is more than there can be."""
    return decimal(points, digits) if possible(points) == points else Number("none", None)


def possible(points: float | None) -> float | None:
    """Return a detectable difference, None if it is more than there can be between two errors in percent."""
    return None if points is None or points >= 100 else points


def whole(value: int | None) -> Number:
    """Return a whole number, `12,000`, a dash for None."""
    return Number(NONE if value is None else f"{value:,}", value)


def probability(p_value: float | None) -> Number:
    """Return a p-value with three decimals, a dash for None."""
    return Number("< 0.001", p_value) if p_value is not None and p_value < 0.001 else decimal(p_value, 3)


def count(number: int, noun: str, plural: str | None = None) -> str:
    """Return `1 run`, `5 runs`, `12,000 images`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def grouped(values: dict[str, str]) -> str:
    """Return the value that all holders share, else each value with its holders: `3 (A, B); 4 (C)`."""
    holders: dict[str, list[str]] = {}
    for holder, value in values.items():
        holders.setdefault(value, []).append(holder)
    if len(holders) == 1:
        return next(iter(holders))
    return "; ".join(f"{value} ({', '.join(names)})" for value, names in holders.items())
