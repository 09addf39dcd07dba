"""Copy excerpts of reports into Markdown files: `python -m vgg_ablation.report.readme` (make readme)."""

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path

from vgg_ablation.files import write_text

_BEGIN = "<!-- excerpt of {}: make readme -->\n"
_END = "<!-- end of excerpt -->"
_TRAINING = "<!-- training errors of {}: make readme -->\n"
FILES = ("README.md", "docs/studies/office10/README.md")
"""Files that hold excerpts."""


def excerpts(readme: str) -> list[str]:
    """Return the paths of the reports that `readme` has excerpts of, in their order."""
    return re.findall(_BEGIN.format("(.+)"), readme)


def with_excerpt(readme: str, report: str, path: str = "reports/ablation.md") -> str:
    """Return `readme` with the title, the answer and the first table of `report` between the markers that name `path`.

    Raises:
        ValueError: the README has no such markers, or the report no table.
    """
    heading, answer, *blocks = report.split("\n\n")
    table = next((block for block in blocks if block.startswith("|")), None)
    if table is None:
        raise ValueError(f"{path} has no table")
    excerpt = f"> {heading.removeprefix('# ')}\n\n{answer}\n\n{table.strip()}\n"
    between = re.compile(f"(?<={re.escape(_BEGIN.format(path))}).*?(?={re.escape(_END)})", re.DOTALL)
    if not between.search(readme):
        raise ValueError(f"the README has no markers for an excerpt of {path}")
    return between.sub(lambda _: excerpt, readme, count=1)


def with_training_errors(text: str, table: str, path: str) -> str:
    """Return `text` with the nets' training errors at the fixed scale between the markers that name `path`.

    Args:
        text: the Markdown file.
        table: content of an `ablation.csv`.
        path: of that table.
    """
    rows = [row for row in csv.DictReader(io.StringIO(table)) if (row["scale"], row["protocol"]) == ("fixed", "dense")]
    errors = ", ".join(f"{row['arch']} {float(row['training_error']):.1f} %" for row in rows if row["training_error"])
    between = re.compile(f"(?<={re.escape(_TRAINING.format(path))}).*?(?={re.escape(_END)})", re.DOTALL)
    return between.sub(f"Errors on the training images: {errors}.\n", text, count=1)


def updated(text: str, read: Callable[[str], str]) -> str:
    """Return a Markdown file with its excerpts renewed; `read` returns the content of a file by its path."""
    for path in excerpts(text):
        text = with_excerpt(text, read(path), path)
    for path in re.findall(_TRAINING.format("(.+)"), text):
        text = with_training_errors(text, read(path), path)
    return text


if __name__ == "__main__":
    for name in FILES:
        file = Path(name)
        renewed = updated(file.read_text(encoding="utf-8"), lambda path: Path(path).read_text(encoding="utf-8"))
        write_text(file, renewed)
