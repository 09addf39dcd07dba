"""The report on appendix B: Table 11 beside the paper's, claims, a figure of recall by depth, and the cost."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from vgg_ablation.analysis.statistics import CONFIDENCE
from vgg_ablation.appendix_b.findings import RULES, Classified, Findings, Result
from vgg_ablation.appendix_b.table11 import OTHERS, TABLE_11, WITHOUT_WEIGHTS
from vgg_ablation.files import read_table, write_bytes
from vgg_ablation.model.table1 import weight_layers
from vgg_ablation.report.figures import style
from vgg_ablation.report.table import NONE, Number, Table, decimal, inert, interval, probability, whole
from vgg_ablation.runtime.console import duration
from vgg_ablation.runtime.names import NORMS, chosen, named, norm_of, plain
from vgg_ablation.runtime.paths import appendix_b

PAGE = "report.md"
ROWS = ("A", "A_LRN", "B", "C", "D", "E", "D+E")


def write_report(findings: Findings, norm: str, summary: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write report.md, table-11.csv, recall-by-depth.svg, claims.json and cost.md to `folder`; return their paths.

    Args:
        findings: results of the selected nets.
        norm: one of `NORMS`, or all.
        summary: that `pack_images` returned.
        folder: to write to.

    Raises:
        OSError: a file cannot be read or written.
    """
    contents = render(findings, norm, summary) | {"cost.md": _cost(findings)}
    paths = {folder / name: content for name, content in contents.items()}
    for path, content in paths.items():
        write_bytes(path, content if isinstance(content, bytes) else content.encode())
    return list(paths)


def render(findings: Findings, norm: str, summary: Mapping[str, Any]) -> dict[str, str | bytes]:
    """Return the content of each file by its name, but for the cost; the same results give the same bytes."""
    table, variants = table_11(findings, norm), by_variant(findings)
    environment = Environment(
        loader=PackageLoader("vgg_ablation.appendix_b", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: value if isinstance(value, Markup) else Markup(inert(str(value))),  # noqa: S704
    )
    first = next(iter(findings.classified.values())).info
    features = {info["net"]: info for one in findings.classified.values() for info in one.info["features"]}
    text = environment.get_template("page.md.jinja").render(
        summary=summary,
        official=summary["source"] == "caltech256",
        first=first,
        held_out=f"{100 * summary['validation'] / (summary['train'] + summary['validation']):.3g}",
        others=[info for info in features.values() if not info["weights"]["published"]],
        features=features.values(),
        table=Markup(table.markdown()),  # noqa: S704 (cells are inert)
        variants=Markup(variants.markdown()),  # noqa: S704
        compared=", ".join(f"{name} {one.mean:.1f} ± {one.deviation:.1f}" for name, one in OTHERS.items()),
        missing=WITHOUT_WEIGHTS,
        judgements=findings.judgements,
        rules=RULES,
        probability=probability,
        confidence=f"{100 * CONFIDENCE:.0f}",
        edges=_listed(findings, "at_edge", wanted=True),
        unfinished=_listed(findings, "converged", wanted=False),
    )
    return {
        PAGE: text.rstrip() + "\n",
        "table-11.csv": pd.concat([table.frame(), variants.frame()]).to_csv(index=False, float_format="%.6g"),
        "recall-by-depth.svg": recall_by_depth(findings),
        "claims.json": json.dumps(_claims(findings), indent=2, allow_nan=False) + "\n",
    }


def table_11(findings: Findings, norm: str) -> Table:
    """Return a row for each net of Table 1 and for D and E together: recall here, and the paper's."""
    rows = []
    for name in (named(arch, one) for one in chosen(norm, NORMS) for arch in ROWS):
        one = findings.classified.get(name)
        published = TABLE_11.get(plain(name)) if norm_of(name) == "none" else None
        paper = (
            Number(f"{published.mean:.1f} ± {published.deviation:.1f}", published.mean) if published else decimal(None)
        )
        if one is None and plain(name) not in WITHOUT_WEIGHTS:
            continue
        variant = _shown_variant(one) if one else ""
        cells = _cells(findings.results[name, variant]) if one else [decimal(None)] * 3
        layers = NONE if "+" in name else str(weight_layers(name))
        rows.append([name, layers, variant or NONE, *cells, paper])
    header = ["net", "layers", "descriptor", "mean class recall, %", "± over splits", "C", "paper, %"]
    return Table("table-11", "Table 11", header, rows)


def by_variant(findings: Findings) -> Table:
    """Return a row for each net and descriptor."""
    rows = [
        [net, NONE if "+" in net else str(weight_layers(net)), variant, *_cells(result)]
        for (net, variant), result in findings.results.items()
    ]
    header = ["net", "layers", "descriptor", "mean class recall, %", "± over splits", "C"]
    return Table("descriptors", "By descriptor", header, rows)


def _shown_variant(one: Classified) -> str:
    """Return the paper's descriptor where it was computed, else the first."""
    return "stacked" if "stacked" in one.variants else one.variants[0]


def _cells(result: Result) -> list[str]:
    recall = interval(result.mean, result.low, result.high)
    penalties = dict.fromkeys(f"{row['penalty']:g}{'*' if row['at_edge'] else ''}" for row in result.splits)
    return [recall, decimal(result.deviation), ", ".join(penalties)]


def _listed(findings: Findings, key: str, *, wanted: bool) -> list[str]:
    return [
        f"{net} {variant}"
        for (net, variant), result in findings.results.items()
        if any(row[key] is wanted for row in result.splits)
    ]


def recall_by_depth(findings: Findings) -> bytes:
    """Draw mean class recall against depth, plain nets and those with batch normalisation, and the paper's, as SVG."""
    with mpl.rc_context(style.STYLE):
        fig = Figure(figsize=(style.NARROW, 3.2))
        axes = fig.add_subplot()
        for norm, colour, label in (("none", style.BLUE, "plain"), ("batch", style.GREEN, "batch normalisation")):
            nets = [name for arch in ROWS if "+" not in arch and (name := named(arch, norm)) in findings.classified]
            results = [findings.results[net, _shown_variant(findings.classified[net])] for net in nets]
            if nets:
                means = [one.mean for one in results]
                bars = [[one.mean - one.low for one in results], [one.high - one.mean for one in results]]
                depths = [weight_layers(net) for net in nets]
                axes.errorbar(depths, means, bars, color=colour, marker="o", capsize=2, label=label)
        published = [arch for arch in TABLE_11 if "+" not in arch]
        depths, means = [weight_layers(arch) for arch in published], [TABLE_11[arch].mean for arch in published]
        axes.plot(depths, means, color=style.VERMILLION, marker="D", linestyle="none", label="the paper")
        axes.set_xlabel("weight layers")
        axes.set_ylabel("mean class recall, %")
        axes.set_xticks([11, 13, 16, 19])
        axes.legend()
        return style.save(fig)[0]


def _claims(findings: Findings) -> list[dict[str, Any]]:
    return [
        {
            "key": one.claim.key,
            "norm": one.norm,
            "text": one.claim.text,
            "rule": RULES[one.claim.rule],
            "verdict": one.verdict,
            "differences": [
                {
                    "label": part.label,
                    "estimate": round(part.difference.mean, 4),
                    "low": round(part.difference.low, 4),
                    "high": round(part.difference.high, 4),
                    "p_adjusted": None if part.p_adjusted is None else round(part.p_adjusted, 6),
                }
                for part in one.components
            ],
        }
        for one in findings.judgements
    ]


def _cost(findings: Findings) -> str:
    """Return what each stage of each net cost, as Markdown: it differs from one run to the next."""
    rows = []
    for net in findings.classified:
        for part in ("features", "classification"):
            path = appendix_b(net, part) / "cost.csv"
            if path.exists():
                cost = {name: values[0] for name, values in read_table(path).items()}
                seconds = float(cost["work_seconds"])
                shown = Number(duration(seconds), seconds)
                device = f"{cost['device']}, {cost['precision']}"
                rows.append([net, cost["stage"], whole(int(cost["images"])), shown, device, cost["machine"]])
    header = ["net", "stage", "images", "time", "device", "machine"]
    return f"# Cost of appendix B\n\n{Table('cost', 'Cost', header, rows).markdown()}\n"
