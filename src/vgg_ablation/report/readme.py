"""Copy excerpts of reports and the README's picture into the documents: `make docs`."""

import re
from collections.abc import Callable
from pathlib import Path

from vgg_ablation.files import write_bytes, write_text
from vgg_ablation.runtime.console import stage

FILES = ("README.md", "docs/studies/office10/README.md", "docs/studies/office10-scales/README.md")
"""Files that hold excerpts."""
PICTURE = Path("reports/figures/error-by-depth.png")
"""The figure that README shows; it is copied to docs/."""

_MARKED = re.compile(
    r"(?P<begin><!-- excerpt of (?P<path>\S+): make docs -->\n)"
    r".*?(?P<end><!-- end of excerpt -->)",
    re.DOTALL,
)


def head(report: str) -> str:
    """Return title, headline and first table of an ablation.md. Raises ValueError if it has no table."""
    title, headline, *blocks = report.split("\n\n")
    if not (table := next((block for block in blocks if block.startswith("|")), None)):
        raise ValueError("the report has no table")
    return f"> {title.removeprefix('# ')}\n\n{headline}\n\n{table.strip()}\n"


def updated(text: str, read: Callable[[str], str]) -> str:
    """Return a Markdown file with new excerpts; `read` returns the text of a file by its path."""

    def renewed(marked: re.Match[str]) -> str:
        return f"{marked['begin']}{head(read(marked['path']))}{marked['end']}"

    return _MARKED.sub(renewed, text)


if __name__ == "__main__":
    with stage("readme", saved=""):
        if PICTURE.exists():  # an output of DVC, which a fresh clone does not have
            write_bytes(Path("docs", PICTURE.name), PICTURE.read_bytes())
        for name in FILES:
            text = Path(name).read_text(encoding="utf-8")
            write_text(Path(name), updated(text, lambda path: Path(path).read_text(encoding="utf-8")))
