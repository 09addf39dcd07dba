r"""The report's tables as LaTeX, for `\input` in a document that loads booktabs."""

import re

import pandas as pd

from vgg_ablation.report.tables import Table

WIDE = 40
"""Characters of a cell from which its column is a paragraph."""

_SYMBOLS = {"–": "--", "−": "--", "→": r"$\rightarrow$", "×": r"$\times$", "±": r"$\pm$", "≤": r"$\leq$", "²": r"$^2$"}


def tabular(table: Table) -> str:
    """Return a floating `table` with its caption and the label `tab:NAME`.

    What LaTeX would take for a command is escaped; letters beyond ASCII need an engine or an encoding that has them.
    """
    frame = pd.DataFrame([[_cell(cell) for cell in row] for row in table.rows], columns=[*map(_cell, table.header)])
    columns = "".join(
        ("l" if place in table.words else "r") if longest < WIDE else r"p{0.3\linewidth}"
        for place in range(len(table.header))
        for longest in [max(len(row[place]) for row in table.rows)]
    )
    return frame.style.hide(axis="index").to_latex(
        hrules=True,
        column_format=columns,
        position="ht",
        position_float="centering",
        caption=_cell(table.caption),
        label=f"tab:{table.name}",
    )


def _cell(text: str) -> str:
    plain = " ".join(text.split())
    escaped = "".join(_escaped(character) for character in plain)
    escaped = re.sub(r"`([^`]*)`", r"\\texttt{\1}", escaped)
    # After a line break, an opening bracket would be taken for the break's own argument.
    return f"{{{escaped[0]}}}{escaped[1:]}" if escaped.startswith(("[", "*")) else escaped


def _escaped(character: str) -> str:
    if character in "&%$#_{}":
        return f"\\{character}"
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {"<": r"\textless{}", ">": r"\textgreater{}"}
    return special.get(character) or _SYMBOLS.get(character, character)
