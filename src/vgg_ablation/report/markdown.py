"""The report as GitHub-flavoured Markdown, with tables that line up in plain text too."""

import re
from collections.abc import Sequence

from vgg_ablation.report.sections import Section
from vgg_ablation.report.tables import Table

LONGEST = 25
"""Lines of a table; of a longer one the file is named instead."""
WIDEST = 110
"""Characters of a cell; a table with a longer one becomes a list."""
_ACTIVE = re.compile(r"\](?=\()|<(?=[A-Za-z/!?])")
"""What makes a link, an image or HTML; a category out of an archive may have any name."""


def document(title: str, sections: Sequence[Section], links: str) -> str:
    """Return the whole file: title, the first section with the links, the other sections under their own titles."""
    blocks = [f"# {_inert(title)}"]
    for number, section in enumerate(sections):
        blocks += [f"## {section.title}"] if number else []
        blocks += map(_inert, section.paragraphs)
        blocks += [] if number else [links]
        for table in section.tables:
            blocks += [f"**{table.caption}**"] if len(section.tables) > 1 else []
            blocks += [laid_out(table)]
        blocks += map(_inert, section.notes)
    return "\n\n".join(blocks) + "\n"


def laid_out(table: Table) -> str:
    """Return a table as such, as a list where its cells are paragraphs, or the name of its file where it is long."""
    if len(table.rows) > LONGEST:
        return f"{len(table.rows)} lines: [tables/{table.name}.csv](tables/{table.name}.csv)."
    if max(len(cell) for row in table.rows for cell in row) > WIDEST:
        return "\n".join(_item(table.header, row) for row in table.rows)
    return aligned(table)


def _item(header: Sequence[str], row: Sequence[str]) -> str:
    named = [f"  *{name.capitalize()}*: {_cell(cell)}" for name, cell in zip(header[1:], row[1:], strict=True)]
    return "\n".join([f"* **{_cell(row[0])}**", *named])


def aligned(table: Table) -> str:
    """Return a table, its columns padded to one width."""
    lines = [[_cell(cell) for cell in line] for line in (table.header, *table.rows)]
    # GitHub wants three dashes; with the colon of a right-hand column that makes four.
    widths = [max(4, *map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * width if index in table.words else "-" * (width - 1) + ":" for index, width in enumerate(widths)]
    return "\n".join(
        "| " + " | ".join(_pad(cell, widths[index], index in table.words) for index, cell in enumerate(line)) + " |"
        for line in (lines[0], rule, *lines[1:])
    )


def _cell(text: str) -> str:
    return _inert(" ".join(text.split())).replace("|", "\\|")


def _inert(text: str) -> str:
    return _ACTIVE.sub(r"\\\g<0>", text)


def _pad(cell: str, width: int, left: bool) -> str:
    return cell.ljust(width) if left else cell.rjust(width)
