"""Keep the README's excerpt of the report true: `python -m vgg_ablation.report.readme` (make readme)."""

import re
from pathlib import Path

from vgg_ablation.pipeline.files import write_text

_EXCERPT = re.compile(
    r"(?<=<!-- excerpt of reports/ablation\.md: make readme -->\n).*?(?=<!-- end of excerpt -->)", re.DOTALL
)


def with_excerpt(readme: str, report: str) -> str:
    """Return `readme` with the title and the first table of `report` between its two markers.

    Raises:
        ValueError: the README has no such markers.
    """
    title = report.splitlines()[0].removeprefix("# ")
    table = "\n".join(re.findall(r"^\|.*$", report.split("\n\n**")[1], re.MULTILINE))
    excerpt = f"> {title}\n\n{table}\n"
    if not _EXCERPT.search(readme):
        raise ValueError("the README has no markers for the excerpt")
    return _EXCERPT.sub(lambda _: excerpt, readme)


if __name__ == "__main__":
    file = Path("README.md")
    write_text(file, with_excerpt(file.read_text(), Path("reports/ablation.md").read_text()))
