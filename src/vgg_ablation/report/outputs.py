"""The report's files, and the only place that writes them."""

import json
from pathlib import Path

from vgg_ablation.pipeline.files import write_text
from vgg_ablation.report import markdown, page, tables
from vgg_ablation.report.cost import cost_lead, cost_sections
from vgg_ablation.report.inputs import Study
from vgg_ablation.report.order import compare_neighbours
from vgg_ablation.report.sections import lead, sections, summary, title

LINKS = (
    "Figures: [index.html](index.html). All numbers: [ablation.csv](ablation.csv). What it cost: [cost.md](cost.md)."
)
COST_LINKS = "All numbers: [cost.csv](cost.csv). The result: [ablation.md](ablation.md)."


def render(study: Study) -> dict[str, str]:
    """Return the content of each file by its name; the same study gives the same text."""
    rows = tables.ablation(study)
    compared = [row for row in rows if row.protocol == study.protocols[0]]
    heading, opening, parts = title(study), lead(study), sections(study, rows)
    finding = summary(study, compare_neighbours(study.nets, study.protocols[0]))
    return {
        "ablation.md": markdown.document(heading, opening, parts, LINKS),
        "ablation.csv": tables.frame(rows).to_csv(index=False, float_format="%.6g", lineterminator="\n"),
        "metrics.json": json.dumps(tables.headline(compared), indent=2, allow_nan=False) + "\n",
        "cost.md": markdown.document(f"What it cost: {heading}", cost_lead(study), cost_sections(study), COST_LINKS),
        "cost.csv": study.costs.to_csv(index=False, lineterminator="\n"),
        "index.html": page.document(heading, opening, finding, parts, study, compared),
    }


def write_report(study: Study, folder: Path) -> list[Path]:
    """Write the report on `study` into `folder` and return the files' paths, the one to read first first.

    Raises:
        OSError: a file cannot be written; those written before it are whole.
    """
    paths = []
    for name, text in render(study).items():
        write_text(folder / name, text)
        paths.append(folder / name)
    return paths
