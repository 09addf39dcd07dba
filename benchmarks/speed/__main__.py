"""Measure how fast this is, and write reports/benchmark.json and reports/benchmark.md: `make bench`."""

import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.speed import stand_in
from benchmarks.speed.forms import (
    BATCH_SIZE,
    CONTESTANTS,
    FULL,
    NOOP,
    OURS,
    PREPROCESS,
    SHORT,
    STORED_SIDE,
    Case,
    Form,
    Images,
)
from benchmarks.speed.idle import IdleRepository
from benchmarks.speed.images import lay_out
from benchmarks.speed.machine import describe_machine, versions
from benchmarks.speed.page import write_page
from benchmarks.speed.repetition import Measured
from benchmarks.speed.results import BARE, REPRO, VERSION, Results, make_ratios, make_rows, make_targets
from benchmarks.speed.rounds import Training, alternate, measures_of
from benchmarks.speed.workers import Worker
from vgg_ablation.dataset.archive import obtain
from vgg_ablation.errors import StageError
from vgg_ablation.files import write_json, write_text
from vgg_ablation.runtime.console import Stage, stage
from vgg_ablation.runtime.state import repository_root

REPORTS = Path("reports")
BESIDE = Path("../shared/data/caltech256-14.tar")
"""Real images that lie beside the repository where it is developed."""
_PACKAGE = "benchmarks.speed"
_PREPROCESS_SIDE = STORED_SIDE[224]


def run(form: Form, archive: Path | None, folder: Path, voice: Stage) -> Results:
    """Measure everything, with `folder` for temporary files.

    Raises:
        StageError: a contestant failed, or the archive is of no use.
    """
    began = time.monotonic()
    libraries = versions()
    with Worker("device", f"{_PACKAGE}.device:Choice") as choice:
        device = choice.ask("describe")
    kind, precision = device.pop("kind"), device["precision"]
    machine = {**describe_machine(), **device}
    origin = archive.name if archive else "rendered sample"
    cases = lay_out_cases(form, kind, archive or _rendered(folder, voice), folder, voice)
    plan = measures_of(cases)
    rounds = sum(form.effort[measure].all_rounds for _, measures in plan for measure in measures)
    rounds += form.effort[PREPROCESS].all_rounds + form.effort[NOOP].all_rounds

    measured: list[Measured] = []
    rates: dict[str, list[float]] = {name: [] for name in dict.fromkeys([precision, "float32"])}
    with ExitStack() as processes, voice.task("measuring", rounds) as task:
        products = processes.enter_context(Worker("products", f"{_PACKAGE}.device:MatrixProducts", kind))
        workers = {
            name: processes.enter_context(Worker(name, f"{_PACKAGE}.measuring:Session", name, kind, precision))
            for name in CONTESTANTS
        }
        training = Training(workers, form, int(machine["cores"]), task.advance)
        for case, measures in plan:
            _note_rates(products, rates)
            measured += training.run(case, measures)
        _note_rates(products, rates)
        for worker in workers.values():  # their memory is not to stand in the way of what follows
            worker.close()
        measured += measure_preprocess(form, folder, task.advance)
        measured += measure_noop(form, folder, task.advance)

    rows = make_rows(measured, {name: median(values) for name, values in rates.items()})
    ratios = make_ratios(rows)
    return Results(
        form=form.name,
        command=f"python -m {_PACKAGE}" + ("" if form is FULL else f" --{form.name}"),
        seconds=time.monotonic() - began,
        machine=machine,
        versions=libraries,
        images={
            "origin": origin,
            "epochs": {f"{case.net} at {case.pixels} pixels": case.images.count for case in cases},
        },
        matrix_products=rates,
        loader_workers_tried={
            f"{name} at {pixels} pixels": seconds for (name, pixels), seconds in training.loader_workers.items()
        },
        batch_size=BATCH_SIZE[kind],
        rows=rows,
        ratios=ratios,
        targets=make_targets(rows, ratios, kind),
    )


def lay_out_cases(form: Form, kind: str, archive: Path, folder: Path, voice: Stage) -> list[Case]:
    """Write the images of each case; cases of the same size share them.

    Raises:
        StageError: the archive is of no use.
    """
    cases: list[Case] = []
    written: dict[tuple[int, int], Images] = {}
    for (net, pixels), count in form.images[kind].items():
        batch_size = BATCH_SIZE[kind][pixels]
        if (pixels, count) not in written:
            place = folder / f"{pixels}-{count}"
            written[pixels, count] = lay_out(archive, count, batch_size, STORED_SIDE[pixels], place, voice)
        cases.append(Case(net, pixels, batch_size, written[pixels, count]))
    return cases


def measure_preprocess(form: Form, folder: Path, report: Callable[[str], None]) -> list[Measured]:
    """Measure `pack` and decoding alone on the stand-in for the archive, each in a process of its own."""
    archive = folder / "stand-in" / "256_ObjectCategories.tar"
    archive.parent.mkdir()
    stand_in.write(archive, form.share_of_archive)
    with (
        Worker("preprocess", f"{_PACKAGE}.preprocessing:Preprocessing", archive, _PREPROCESS_SIDE) as preprocessing,
        Worker("decoding", f"{_PACKAGE}.preprocessing:Decoding", archive, _PREPROCESS_SIDE) as decoding,
    ):
        repetitions = alternate(
            {OURS: partial(preprocessing.ask, "repeat"), BARE: partial(decoding.ask, "repeat")},
            form.effort[PREPROCESS],
            lambda text: report(f"preprocess, {text} images/s"),
        )
    archive.unlink()
    return [Measured(PREPROCESS, name, done) for name, done in repetitions.items()]


def measure_noop(form: Form, folder: Path, report: Callable[[str], None]) -> list[Measured]:
    """Measure `dvc repro` with nothing to do and `dvc version`."""
    repository = IdleRepository(Path.cwd(), folder / "repository")
    repetitions = alternate(
        {REPRO: repository.repro, VERSION: repository.version},
        form.effort[NOOP],
        lambda text: report(f"noop, {text} s"),
    )
    return [Measured(NOOP, name, done) for name, done in repetitions.items()]


def _rendered(folder: Path, voice: Stage) -> Path:
    archive = folder / "sample.tar"
    obtain("sample", archive, voice)
    return archive


def _note_rates(products: Worker, rates: dict[str, list[float]]) -> None:
    for precision, values in rates.items():
        values.append(products.ask("rate", precision))


def main() -> None:
    """Read the command line, measure, write the report."""
    parser = ArgumentParser(
        prog=f"python -m {_PACKAGE}",
        description=__doc__,
        epilog="Temporary files, 10 GB in the full form, go where the environment's TMPDIR says.",
    )
    parser.add_argument("--short", action="store_true", help="less of everything, within five minutes on two cores")
    parser.add_argument(
        "--archive", type=Path, help=f"tar to take images from (default: {BESIDE} if there is one, else rendered ones)"
    )
    arguments = parser.parse_args()
    beside = repository_root() / BESIDE
    archive = arguments.archive or (beside if beside.is_file() else None)
    with stage("benchmark") as voice, tempfile.TemporaryDirectory(prefix="vgg-benchmark-") as folder:
        try:
            results = run(SHORT if arguments.short else FULL, archive, Path(folder), voice)
        except KeyboardInterrupt:
            raise StageError("interrupted; nothing was written") from None
        write_json(REPORTS / "benchmark.json", asdict(results))
        write_text(REPORTS / "benchmark.md", write_page(results))
        met = sum(target.met for target in results.targets)
        voice.made(f"{REPORTS}/benchmark.md: {met} of {len(results.targets)} promises met")


if __name__ == "__main__":
    main()
