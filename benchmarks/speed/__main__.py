"""Measure how fast this program is, and write docs/benchmark.json and docs/benchmark.md: `make bench`."""

import os
import platform
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.speed import stand_in
from benchmarks.speed.cases import (
    BATCH_SIZE,
    COMPILED,
    FULL,
    NOOP,
    OURS,
    PREPROCESS,
    SHORT,
    STEP,
    STORED_SIDE,
    Case,
    Images,
    Plan,
    programs_on,
)
from benchmarks.speed.images import lay_out
from benchmarks.speed.page import write_page
from benchmarks.speed.results import BARE, REPRO, VERSION, Results, Row, make_row
from benchmarks.speed.turns import Say, TrainingMeasures, alternate, measures_of
from benchmarks.speed.worker import Worker
from vgg_ablation.dataset.source import obtain
from vgg_ablation.errors import StageError
from vgg_ablation.files import write_text
from vgg_ablation.runtime.console import Console, stage
from vgg_ablation.runtime.provenance import processor
from vgg_ablation.runtime.state import repository_root

DOCS = Path("docs")
DEFAULT_ARCHIVE = Path("../shared/data/caltech256-14.tar")
"""Real images beside the repository, where it is developed."""
_AT_ONCE = 8
"""Processes that compile: the GPU holds a step of each."""
_LIBRARIES = ("torch", "torchvision", "timm", "dvc", "pillow")


def run(plan: Plan, archive: Path | None, folder: Path, console: Console) -> Results:
    """Measure everything, with `folder` for temporary files.

    Raises:
        StageError: a library is missing, a program failed, or the archive cannot be used.
    """
    start = time.monotonic()
    libraries = [name for name in _LIBRARIES if name != "dvc" or NOOP in plan.effort]
    try:
        versions = {"python": platform.python_version(), **{name: version(name) for name in libraries}}
    except PackageNotFoundError as error:
        raise StageError(f"{error.name} is not installed; `make bench` installs it") from None
    with Worker("device", "benchmarks.speed.timing:Device") as worker:
        device = worker.ask("describe")
    kind, precision, cores = device.pop("kind"), device["precision"], os.cpu_count() or 1
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    machine = {"processor": processor(), "cores": cores, "memory_gib": round(memory / 2**30, 1), **device}
    if plan.name == "gpu":
        stand_in.write(source := folder / "stand-in.tar", plan.archive_step)
    elif archive is None:
        obtain("sample", source := folder / "rendered-sample.tar", console)
    else:
        source = archive
    cases = lay_out_cases(plan, kind, source, folder, console)
    todo = list(measures_of(cases, plan))
    rounds = sum(plan.effort[measure].all_rounds for _, measures in todo for measure in measures)
    rounds += sum(plan.effort[measure].all_rounds for measure in (PREPROCESS, NOOP) if measure in plan.effort)
    if kind == "cuda":
        compile_ahead(cases, precision, console)

    rows: list[Row] = []
    rates: dict[str, list[float]] = {name: [] for name in dict.fromkeys([precision, "float32"])}
    with ExitStack() as processes, console.task("measuring", rounds) as task:
        products = processes.enter_context(Worker("products", "benchmarks.speed.timing:MatrixProducts", kind))
        workers = {
            name: processes.enter_context(Worker(name, "benchmarks.speed.timing:Session", name, kind, precision))
            for name in programs_on(kind)
        }
        training = TrainingMeasures(workers, plan, cores, task.advance)
        for case, measures in todo:
            for name, values in rates.items():
                values.append(round(products.ask("rate", name)))
            rows += training.run(case, measures)
        for worker in workers.values():  # free their memory
            worker.close()
        if PREPROCESS in plan.effort:
            rows += measure_preprocess(plan, folder, task.advance)
        if NOOP in plan.effort:
            rows += measure_noop(plan, folder, task.advance)

    return Results(
        plan=plan.name,
        seconds=round(time.monotonic() - start, 1),
        kind=kind,
        machine=machine,
        versions=versions,
        archive=source.name,
        images={f"{case.net} at {case.pixels} pixels": case.images.count for case in cases},
        batch_size=BATCH_SIZE[kind],
        matrix_products=rates,
        loader_processes_tried=training.loader_processes_tried,
        rows=rows,
    )


def lay_out_cases(plan: Plan, kind: str, archive: Path, folder: Path, console: Console) -> list[Case]:
    """Write the images of each case; cases of the same size share them.

    Raises:
        StageError: the archive cannot be used.
    """
    written: dict[tuple[int, int], Images] = {}
    cases: list[Case] = []
    for (net, pixels), count in plan.images[kind].items():
        batch_size = BATCH_SIZE[kind][pixels]
        if (pixels, count) not in written:
            place = folder / f"{pixels}-{count}"
            written[pixels, count] = lay_out(archive, count, batch_size, STORED_SIDE[pixels], place, console)
        cases.append(Case(net, pixels, batch_size, written[pixels, count]))
    return cases


def compile_ahead(cases: Sequence[Case], precision: str, console: Console) -> None:
    """Compile every step at once, each in a process of its own: the processes that measure then load the programs."""

    def compile_step(job: tuple[str, Case]) -> None:
        name, case = job
        # One that fails, as several together fill the memory, is compiled when it is measured.
        with suppress(StageError), Worker(name, "benchmarks.speed.timing:Session", name, "cuda", precision) as worker:
            worker.ask("open", case)
            worker.ask("repeat", STEP)

    jobs = [(name, case) for case in cases for name in (COMPILED, OURS)]
    with console.task("compiling", len(jobs)) as task, ThreadPoolExecutor(_AT_ONCE) as pool:
        for (name, case), _ in zip(jobs, pool.map(compile_step, jobs), strict=True):
            task.advance(f"{name}, {case.net} at {case.pixels} pixels")


def measure_preprocess(plan: Plan, folder: Path, say: Say) -> list[Row]:
    """Measure `preprocess`, and decoding alone, on the stand-in archive, each in its own process."""
    archive = folder / "stand-in" / "256_ObjectCategories.tar"
    archive.parent.mkdir()
    stand_in.write(archive, plan.archive_step)
    classes = {OURS: "Preprocessing", BARE: "Decoding"}
    with ExitStack() as processes:
        work = {
            name: partial(
                processes.enter_context(
                    Worker(name, f"benchmarks.speed.preprocessing:{target}", archive, STORED_SIDE[224])
                ).ask,
                "repeat",
            )
            for name, target in classes.items()
        }
        timings = alternate(work, plan.effort[PREPROCESS], lambda text: say(f"preprocess, {text} images/s"))
    archive.unlink()
    return [make_row(PREPROCESS, name, found) for name, found in timings.items()]


def measure_noop(plan: Plan, folder: Path, say: Say) -> list[Row]:
    """Measure `dvc repro` with nothing to do, and `dvc version`."""
    from benchmarks.speed.dvc_idle import IdleRepository  # imports dvc, which the other measures do without

    repository = IdleRepository(Path.cwd(), folder / "repository")
    work = {REPRO: repository.repro, VERSION: repository.version}
    timings = alternate(work, plan.effort[NOOP], lambda text: say(f"noop, {text} s"))
    return [make_row(NOOP, name, found) for name, found in timings.items()]


def main() -> None:
    """Read the command line, measure, write the results and the page."""
    parser = ArgumentParser(
        prog="python -m benchmarks.speed",
        description=__doc__,
        epilog="Temporary files, 10 GB in the full form, are written to TMPDIR.",
    )
    parser.add_argument("--short", action="store_true", help="less of everything: five minutes on two cores")
    parser.add_argument(
        "--archive", type=Path, help=f"tar to take images from (default: {DEFAULT_ARCHIVE} if it exists, else rendered)"
    )
    arguments = parser.parse_args()
    default = repository_root() / DEFAULT_ARCHIVE
    archive = arguments.archive or (default if default.is_file() else None)
    with stage("benchmark", saved="") as console, tempfile.TemporaryDirectory(prefix="vgg-benchmark-") as folder:
        try:
            results = run(SHORT if arguments.short else FULL, archive, Path(folder), console)
        except KeyboardInterrupt:
            raise StageError("interrupted; nothing was written") from None
        write_text(DOCS / "benchmark.json", results.to_json())
        write_text(DOCS / "benchmark.md", write_page(results))
        targets = results.targets()
        console.made(f"{DOCS}/benchmark.md: {sum(one.met for one in targets)} of {len(targets)} targets met")


if __name__ == "__main__":
    main()
