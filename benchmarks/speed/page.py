"""The results as a page for people: `reports/benchmark.md`."""

from collections.abc import Iterator, Sequence
from statistics import median

from benchmarks.speed.forms import ARTICLE, EPOCH, GOOD_PRACTICE, INPUT, NOOP, OURS, PREPROCESS, STEP, TIMM
from benchmarks.speed.results import BARE, REPRO, VERSION, Ratio, Results, Row
from vgg_ablation.report.markdown import aligned
from vgg_ablation.report.tables import Table
from vgg_ablation.runtime.console import duration

_NAMES = {
    ARTICLE: "the article's program",
    GOOD_PRACTICE: "good practice",
    TIMM: "timm",
    OURS: "ours",
    BARE: "decoding alone",
    REPRO: "`dvc repro`",
    VERSION: "`dvc version`",
}
_CONTESTANTS = {
    ARTICLE: "the article that this project starts from, its slips mended and nothing else: PIL and a loader without "
    "processes of its own, float32, plain SGD, `loss.item()` each step. It squashes images to the side that we store "
    "them in; its own 512 pixels would cost it more.",
    GOOD_PRACTICE: "torchvision's nets, `ImageFolder` and `transforms.v2`, as many loader processes as pay, the "
    "processor's fast precision, channels-last, fused SGD.",
    TIMM: "timm's nets, dataset and loader, its own crops set as near to ours as they go; trained as good practice.",
    OURS: "`Batches` over packed pixels, `VGG` and `TrainingStep`, as `train` uses them.",
}
_TITLES = {
    INPUT: "Input path alone",
    STEP: "Training step alone",
    EPOCH: "Whole epoch",
    PREPROCESS: "Decoding the archive, for both sizes that images are stored at",
    NOOP: "Nothing to do",
}
_EXPLANATIONS = {
    INPUT: "Images from disk (in the system's cache) or packed pixels to batches on the device, without a net.",
    STEP: "Forward, backward and optimiser on one batch that is loaded already. Utilisation: 6 FLOP a multiply-"
    "accumulate of the net's layers, against the rate of large matrix products in the same precision. The short form "
    "leaves out the article's program, one step of which takes long, and timm.",
    EPOCH: "Input path and steps, no validation. Input: what the images alone take of the time. Memory: the peak of "
    "the contestant's process, or on the GPU; a loader's processes are not counted.",
    PREPROCESS: "What the stage does with a stand-in for the archive (in the short form a twentieth of it), against "
    "decoding and rescaling the same files to the same two sizes on the same cores.",
    NOOP: "`dvc repro` where everything is up to date, against `dvc version`, which does next to nothing but start.",
}


_LIMIT = (
    "The limit is what the ratio would be if ours took all its operations at the rate of plain matrix products and no "
    "time for anything else: the precision's advantage on this processor, over what the article's program makes of "
    "float32."
)


def write_page(results: Results) -> str:
    """Return the page."""
    blocks = ["# Benchmark", _lead(results), "## What is promised", aligned(_target_table(results)), _LIMIT]
    for measure in (EPOCH, STEP, INPUT, PREPROCESS, NOOP):
        rows = [row for row in results.rows if row.measure == measure]
        blocks += [f"## {_TITLES[measure]}", _EXPLANATIONS[measure], aligned(_table(measure, rows, results.ratios))]
    blocks += ["## Who is compared", *_contestants(results)]
    return "\n\n".join(blocks) + "\n"


def _lead(results: Results) -> str:
    machine = results.machine
    device = "" if machine["device"] == "cpu" else f", {machine['device']}"
    libraries = ", ".join(f"{name} {number}" for name, number in results.versions.items())
    rates = ", ".join(f"{_tera(rates)} TFLOP/s in {name}" for name, rates in results.matrix_products.items())
    epochs = ", ".join(f"{count} ({case})" for case, count in results.images["epochs"].items())  # pyright: ignore[reportAttributeAccessIssue]
    return (
        f"{machine['processor']}{device}, {machine['cores']} cores, {machine['memory_gib']} GiB; matrix products: "
        f"{rates}. {libraries}. Form: {results.form}, by `{results.command}`, in "
        f"{duration(results.seconds)}.\n\n"
        f"Images: {results.images['origin']}; an epoch has {epochs} of them, the same for all contestants. Nets have "
        "256 classes. Each contestant has a process of its own; they take turns, round by round, while the others "
        "sleep. Figures are medians over the rounds, with the lowest and the highest in brackets."
    )


def _target_table(results: Results) -> Table:
    rows = [(target.promise, target.text, "met" if target.met else "not met") for target in results.targets]
    return Table("targets", "Promises", ("promise", "measured", ""), rows, frozenset({0, 2}))


def _table(measure: str, rows: Sequence[Row], ratios: Sequence[Ratio]) -> Table:
    """Lay out one measure, with the columns that have anything in them."""
    columns: dict[str, list[str]] = {
        "net": [row.net or "" for row in rows],
        "pixels": [str(row.pixels or "") for row in rows],
        "contestant": [_NAMES[row.contestant] for row in rows],
        "seconds" if measure == NOOP else "images/s": [_spread(row) for row in rows],
        f"{_NAMES[REPRO]} / it" if measure == NOOP else "ours / it": [_against(row, ratios) for row in rows],
        "precision": [row.precision or "" if measure == STEP else "" for row in rows],
        "utilisation": [_optional(row.utilisation, "{:.2f}") for row in rows],
        "loader processes": [_optional(row.loader_workers, "{}") for row in rows],
        "input": ["" if row.input_share is None else f"{100 * row.input_share:.2f} %" for row in rows],
        "memory, MiB": [_optional(row.peak_memory_mib, "{:,.0f}") for row in rows],
    }
    shown = {name: cells for name, cells in columns.items() if any(cells)}
    words = {place for place, name in enumerate(shown) if name in ("net", "contestant", "precision")}
    return Table(measure, _TITLES[measure], tuple(shown), list(zip(*shown.values(), strict=True)), frozenset(words))


def _spread(row: Row) -> str:
    middle = row.seconds if row.images_per_second is None else row.images_per_second
    assert middle is not None  # noqa: S101 - a row has one or the other
    low, high = min(row.repetitions), max(row.repetitions)
    several = len(row.repetitions) > 1
    return _figures(middle) + (f" [{_figures(low)}, {_figures(high)}]" if several else "")


def _against(row: Row, ratios: Sequence[Ratio]) -> str:
    key = (row.measure, row.net, row.pixels, row.contestant)
    found = (one.ratio for one in ratios if (one.measure, one.net, one.pixels, one.other) == key)
    return _optional(next(found, None), "{:.2f}")


def _optional(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def _figures(value: float) -> str:
    """Return three significant digits, and all of those before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _tera(rates: Sequence[float]) -> str:
    return f"{median(rates) / 1e12:.2f}"


def _contestants(results: Results) -> Iterator[str]:
    sizes = ", ".join(f"{size} at {pixels} pixels" for pixels, size in results.batch_size.items())
    yield f"All train nets A and E with dropout 0.5 and batches of {sizes}, and have the same number of parameters."
    yield "\n".join(f"* **{_NAMES[name]}**: {text}" for name, text in _CONTESTANTS.items())
