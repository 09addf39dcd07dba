"""The report's files, and the only place that writes them."""

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from vgg_ablation.analysis.study import Study
from vgg_ablation.files import write_text
from vgg_ablation.report import figures, latex, markdown, page, tables
from vgg_ablation.report.cost import cost_sections
from vgg_ablation.report.sections import Section, find, sections, title

LINKS = (
    "Figures: [index.html](index.html). All numbers: [ablation.csv](ablation.csv). What it cost: [cost.md](cost.md)."
)
COST_LINKS = "All numbers: [cost.csv](cost.csv). The result: [ablation.md](ablation.md)."
FOLDERS = ("tables", "figures")
"""What lies in these is of this report alone."""


def render(study: Study) -> dict[str, str]:
    """Return the content of each file by its path; the same study gives the same text.

    Only `index.html`, `cost.md` and `cost.csv` hold what differs from one run of a study to the next: cost, machine,
    commit and versions.
    """
    found = find(study)
    heading, parts, costs = title(study), sections(found), cost_sections(study)
    shown = [*parts[:-1], *costs, parts[-1]]  # where all of it comes from stands at the end
    drawings = figures.all_figures(found)
    return {
        "ablation.md": markdown.document(heading, parts, LINKS),
        "ablation.csv": _csv(tables.frame(found.rows)),
        "metrics.json": json.dumps(tables.headline(found.lead_rows), indent=2, allow_nan=False) + "\n",
        "index.html": page.document(study, shown, drawings),
        "cost.md": markdown.document(f"What it cost: {heading}", costs, COST_LINKS),
        "cost.csv": study.costs.to_csv(index=False, lineterminator="\n"),
        "tables/error-by-depth.csv": _csv(tables.by_depth(found.lead_rows)),
        **_tables(parts),
        **{f"figures/{name}.svg": drawing.svg for name, drawing in drawings.items()},
        **{f"figures/{name}.csv": _csv(drawing.data) for name, drawing in drawings.items()},
    }


def _tables(parts: Sequence[Section]) -> dict[str, str]:
    laid_out = [table for section in parts for table in section.tables]
    return {
        **{f"tables/{table.name}.csv": _csv(table.frame()) for table in laid_out},
        **{f"tables/{table.name}.tex": latex.tabular(table) for table in laid_out},
    }


def _csv(frame: pd.DataFrame) -> str:
    return frame.to_csv(index=False, float_format="%.6g", lineterminator="\n")


def write_report(study: Study, folder: Path) -> list[Path]:
    """Write the report on `study` into `folder` and return the files' paths, the one to read first first.

    What an earlier report left in the folders of tables and figures is deleted.

    Raises:
        OSError: a file cannot be written; those written before it are whole.
    """
    paths = []
    for name, text in render(study).items():
        write_text(folder / name, text)
        paths.append(folder / name)
    for place in FOLDERS:
        for stale in set((folder / place).iterdir()) - set(paths):
            stale.unlink()
    return paths
