"""The results as a page for people: `docs/benchmark.md`."""

from collections.abc import Callable
from pathlib import Path
from statistics import median

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from tabulate import tabulate

from benchmarks.speed.cases import CLASSES, EPOCH, INPUT, NOOP, OURS, PREPROCESS, STEP
from benchmarks.speed.results import BARE, REPRO, VERSION, Results, Row
from vgg_ablation.runtime.console import duration

_LABELS = {BARE: "decoding only", REPRO: "`dvc repro`", VERSION: "`dvc version`"}
_LEFT = ("target", "", "net", "program", "precision")


def write_page(results: Results) -> str:
    """Return the page."""
    environment = Environment(  # noqa: S701 - Markdown
        loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, keep_trailing_newline=True
    )
    environment.filters["median"] = median
    targets = [
        {"target": one.text, "measured": one.measured, "": "met" if one.met else "not met"} for one in results.targets()
    ]
    return environment.get_template("page.md.jinja").render(
        results=results,
        classes=CLASSES,
        duration=duration(results.seconds),
        targets=_table(targets),
        tables={measure: _measure(measure, results) for measure in (EPOCH, STEP, INPUT, PREPROCESS, NOOP)},
    )


def _measure(measure: str, results: Results) -> str:
    """Return the table of one measure, without empty columns."""
    ours, figure = (REPRO, "seconds") if measure == NOOP else (OURS, "images/s")
    columns: dict[str, Callable[[Row], str]] = {
        "net": lambda row: row.net or "",
        "pixels": lambda row: str(row.pixels or ""),
        "program": lambda row: _LABELS.get(row.program, row.program),
        figure: _spread,
        f"{_LABELS.get(ours, ours)} / it": lambda row: "" if row.program == ours else f"{results.ratio(row):.2f}",
        "precision": lambda row: (row.precision or "") if measure == STEP else "",
        "utilisation": lambda row: f"{results.utilisation(row):.2f}" if measure == STEP else "",
        "loader processes": lambda row: "" if row.loader_processes is None else str(row.loader_processes),
        "input": lambda row: (
            f"{100 * results.input_share(row):.2f} %" if (measure, row.program) == (EPOCH, OURS) else ""
        ),
        "memory, MiB": lambda row: "" if row.peak_memory_mib is None else f"{row.peak_memory_mib:,.0f}",
    }
    rows = [row for row in results.rows if row.measure == measure]
    shown = {name: cell for name, cell in columns.items() if any(map(cell, rows))}
    return _table([{name: cell(row) for name, cell in shown.items()} for row in rows])


def _table(rows: list[dict[str, str]]) -> str:
    align = ["left" if name in _LEFT else "right" for name in rows[0]]
    return tabulate(rows, headers="keys", tablefmt="pipe", colalign=align, disable_numparse=True)


def _spread(row: Row) -> str:
    several = len(row.values) > 1
    return _figure(row.median) + (f" [{_figure(min(row.values))}, {_figure(max(row.values))}]" if several else "")


def _figure(value: float) -> str:
    """Return three significant digits, or all digits before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
