"""The report as GitHub-flavoured Markdown, with tables that line up in plain text too."""

from collections.abc import Sequence

from vgg_ablation.report.sections import Section
from vgg_ablation.report.tables import Table


def document(title: str, lead: str, sections: Sequence[Section], links: str) -> str:
    """Return the whole file: title, lead, links, sections."""
    blocks = [f"# {title}", lead, links]
    for section in sections:
        blocks += [f"## {section.title}", *section.text]
        for table in section.tables:
            blocks += [f"**{table.caption}**"] if len(section.tables) > 1 else []
            blocks += [aligned(table)]
        blocks += section.notes
    return "\n\n".join(blocks) + "\n"


def aligned(table: Table) -> str:
    """Return a table, its columns padded to one width."""
    lines = [[cell.replace("|", "\\|") for cell in line] for line in (table.header, *table.rows)]
    # GitHub wants three dashes; with the colon of a right-hand column that makes four.
    widths = [max(4, *map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * width if index in table.words else "-" * (width - 1) + ":" for index, width in enumerate(widths)]
    return "\n".join(
        "| " + " | ".join(_pad(cell, widths[index], index in table.words) for index, cell in enumerate(line)) + " |"
        for line in (lines[0], rule, *lines[1:])
    )


def _pad(cell: str, width: int, left: bool) -> str:
    return cell.ljust(width) if left else cell.rjust(width)
