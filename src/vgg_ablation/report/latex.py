r"""The main tables as one LaTeX file, for `\input` in a document that loads booktabs."""

from collections.abc import Mapping

import pandas as pd

from vgg_ablation.report.table import Table

MAIN = ("result", "claims", "table-1", "table-3", "table-4", "table-5", "table-6", "pairs")
"""Names of the tables, in order."""

_WIDE = 40  # characters of a cell from which its column is a paragraph
_SYMBOLS = str.maketrans({"–": "--", "→": r"$\rightarrow$"})


def main_tables(tables: Mapping[str, Table]) -> str:
    """Return each of `MAIN` that is there as a floating table with caption and label `tab:NAME`."""
    return "\n".join(_floating(tables[name]) for name in MAIN if name in tables)


def _floating(table: Table) -> str:
    frame = pd.DataFrame([list(map(str, row)) for row in table.rows], columns=list(table.header))
    longest = [max(map(len, frame[column])) for column in table.header]
    kinds = ["r" if numeric else "l" for numeric in table.numeric()]
    style = frame.style.hide(axis="index").format(escape="latex").format_index(escape="latex", axis="columns")
    text = style.to_latex(
        hrules=True,
        column_format="".join(
            kind if length < _WIDE else r"p{0.3\linewidth}" for kind, length in zip(kinds, longest, strict=True)
        ),
        position="ht",
        position_float="centering",
        caption=table.caption,
        label=f"tab:{table.name}",
    )
    return text.translate(_SYMBOLS)
