"""The files of the report."""

import json
from pathlib import Path

import pandas as pd

from vgg_ablation.analysis import classes, rows
from vgg_ablation.analysis.findings import Findings, find
from vgg_ablation.analysis.fit import FITTED
from vgg_ablation.analysis.statistics import CONFIDENCE, LEVEL, MARGIN, POWER
from vgg_ablation.analysis.study import Study
from vgg_ablation.files import write_bytes
from vgg_ablation.report import document, latex, words
from vgg_ablation.report.figures.draw import draw
from vgg_ablation.report.table import possible
from vgg_ablation.report.tables import all_tables


def render(study: Study) -> dict[str, bytes]:
    """Return the content of each file by its path; the same study gives the same bytes.

    index.html, cost.md and tables/cost.csv also depend on what a run cost, its machine and its commit.
    """
    findings = find(study)
    tables = all_tables(findings)
    sections, cost = document.sections(findings, tables), document.cost_sections(study)
    figures = draw(findings)
    command = "python stages/report.py --partial" if study.partial else "dvc repro"
    page = document.page(f"VGG depth ablation: {study.name}", [*sections, *cost], figures, command)
    texts = {
        "ablation.md": document.joined(sections),
        "ablation.csv": _csv(rows.frame(findings.rows)),
        "metrics.json": json.dumps(rows.headline(findings.lead_rows), indent=2, allow_nan=False) + "\n",
        "claims.json": json.dumps(_claims(findings), indent=2, allow_nan=False) + "\n",
        "index.html": page,
        "cost.md": document.joined(cost).removeprefix("#"),
        "tables/cost.csv": study.costs.to_csv(index=False, lineterminator="\n"),
        "tables/curves.csv": _csv(study.curves),
        "tables/trials.csv": _csv(study.trials),
        "tables/reliability.csv": _csv(classes.reliabilities(study, *study.lead)),
        "tables/published.csv": _csv(rows.published_table()),
        "tables/error-by-depth.csv": _csv(rows.by_depth(findings.lead_rows)),
        "tables/tables.tex": latex.main_tables(tables),
        **{f"tables/{name}.csv": _csv(table.frame()) for name, table in tables.items()},
    }
    images = {f"figures/{figure.file_name}": figure.data for figure in figures}
    return {name: text.encode() for name, text in texts.items()} | images


def _claims(findings: Findings) -> dict[str, object]:
    """Return `claims.json`: errors in percent, differences in points, with six digits; null where not judged."""
    judged = []
    for one in findings.judgements:
        sensitivity = findings.sensitivities.get(one.name)
        training_errors: dict[str, dict[str, float]] = {}
        for (arch, scale), error in one.training_errors.items():
            training_errors.setdefault(scale, {})[arch] = error
        components = [
            {
                "label": part.label,
                "runs": part.difference.runs,
                "estimate": part.difference.mean,
                "low": part.difference.low,
                "high": part.difference.high,
                "p_adjusted": part.p_adjusted,
                "detectable": possible(part.detectable),
            }
            for part in one.components
        ]
        judged.append(
            {
                "key": one.claim.key,
                "norm": one.norm,
                "section": one.claim.section,
                "text": words.CLAIMS[one.claim.key],
                "expects": one.claim.expects,
                "verdict": one.verdict,
                "fragile": sensitivity and sensitivity.fragile,
                "fragile_because": words.fragility(sensitivity),
                "training_errors": training_errors,
                "components": components,
            }
        )
    values = {
        "level": LEVEL,
        "confidence": CONFIDENCE,
        "margin": MARGIN,
        "largest_training_error": FITTED,
        "power": POWER,
        "detectable_between_two_nets": possible(findings.detectable),
        "claims": judged,
    }
    return json.loads(json.dumps(values), parse_float=lambda number: float(f"{float(number):.6g}"))


def _csv(frame: pd.DataFrame) -> str:
    return frame.to_csv(index=False, float_format="%.6g", lineterminator="\n")


def write_report(study: Study, folder: Path) -> list[Path]:
    """Write the report on `study` into `folder` and return its files, ablation.md first.

    Other files in tables/ and figures/, of an earlier report, are deleted.

    Raises:
        OSError: a file cannot be written; those written before it are complete.
    """
    contents = {folder / name: content for name, content in render(study).items()}
    for path, content in contents.items():
        write_bytes(path, content)
    for stale in {*(folder / "tables").iterdir(), *(folder / "figures").iterdir()} - contents.keys():
        stale.unlink()
    return list(contents)
