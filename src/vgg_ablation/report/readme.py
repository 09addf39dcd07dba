"""Keep the README's excerpts of reports true: `python -m vgg_ablation.report.readme` (make readme)."""

import re
from pathlib import Path

from vgg_ablation.pipeline.files import write_text

_BEGIN = "<!-- excerpt of {}: make readme -->\n"
_END = "<!-- end of excerpt -->"


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
    return between.sub(lambda _: excerpt, readme)


if __name__ == "__main__":
    file = Path("README.md")
    text = file.read_text(encoding="utf-8")
    for name in excerpts(text):
        text = with_excerpt(text, Path(name).read_text(encoding="utf-8"), name)
    write_text(file, text)
