"""Check this program on a GPU, without DVC: `make gpu-check`, or `python -m benchmarks.gpu_check`.

Runs the tests that need a GPU beside a pilot of all stages, then measures steps, epochs, evaluation and checkpoints,
and estimates the study `caltech256-paper` and the share of `caltech256` that is not training or evaluation. It ends
with a table of targets. Without a GPU, or with --tiny, it rehearses this with small nets, and the table says nothing.

Needs the packages of requirements-bench.lock, and those of pytest, pytest-timeout, pytest-xdist and hypothesis; no dvc.
"""

import copy
import json
import os
import re
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from ruamel.yaml import YAML
from tabulate import tabulate

from benchmarks.checkpoints import measure
from benchmarks.speed.__main__ import run as run_benchmark
from benchmarks.speed.cases import CLASSES, EPOCH, GPU, INPUT, OURS, STEP, TORCHVISION, Effort, Plan
from benchmarks.speed.results import Target
from vgg_ablation.dataset.sample import CATEGORIES
from vgg_ablation.device import choose_compute
from vgg_ablation.errors import StageError
from vgg_ablation.evaluate.protocols import PackedImages, View, count_view_gmacs, posteriors
from vgg_ablation.files import read_table
from vgg_ablation.model.table1 import ABLATION
from vgg_ablation.model.vgg import VGG
from vgg_ablation.parallel.counts import count_images
from vgg_ablation.parallel.estimate import estimate
from vgg_ablation.parallel.pace import random_batches
from vgg_ablation.parallel.units import Work
from vgg_ablation.runtime.console import Console, duration, stage
from vgg_ablation.runtime.params import read_studies
from vgg_ablation.runtime.settings import StudySettings

ROOT = Path(__file__).parents[1]
_IN_TIME = 240.0  # seconds of everything
_PILOT = {
    "scales": {
        "fixed": {"train": 36, "test": [32, 36, 40]},
        "large": {"train": 44, "test": [40, 44, 48]},
        "jitter": {"train": [36, 48], "test": [36, 44, 48]},
    },
    "data": {"categories": [*CATEGORIES[:3]], "train_per_class": 20, "splits": 1},
    "train": {"epochs": 4},
    "fine_tune": {"epochs": 2},
    "tune": {"trials": 2, "epochs": 2},
}
"""Settings of the pilot that differ from the study `sample`."""
_STAGES = (
    "check", "download", "preprocess", "near_duplicates", "tune A batch",
    *(f"{stage} A batch {scale}" for scale in ("fixed", "large", "jitter") for stage in ("train", "evaluate")),
    "aggregate scales A batch", "report",
)  # fmt: skip
_TINY = replace(
    GPU,
    effort={INPUT: Effort(1, 5.0), STEP: Effort(1, 5.0), EPOCH: Effort(1, 5.0)},
    images={kind: {("A", 64): 64} for kind in ("cpu", "cuda")},
    programs=dict.fromkeys((INPUT, EPOCH), (TORCHVISION, OURS)),
    epochs_at=(64,),
    archive_step=300,
)


def run_tests() -> Target:
    """Run the tests that need a GPU, in processes side by side."""
    options = ["-m", "gpu", "--numprocesses=4", "--quiet", "tests/images", "tests/train"]
    command = [sys.executable, "-m", "pytest", *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    print(done.stdout[-3000:] if done.returncode else "", end="")
    last = (done.stdout.strip().splitlines() or [done.stderr.strip()[-200:]])[-1].strip("= ")
    return Target("gpu tests: all pass", last, done.returncode == 0 and "passed" in last and "skipped" not in last)


def run_pilot(folder: Path) -> list[Target]:
    """Run every stage of a tiny study of one net, each in a process as `dvc repro` does, and estimate it.

    Raises:
        StageError: a stage failed.
    """
    folder.mkdir()
    content = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    block = copy.deepcopy(content["studies"]["sample"])
    for section, values in _PILOT.items():
        block[section] |= values
    content |= {"arch": "A", "norm": "batch", "scale": "all", "study": "pilot", "studies": {"pilot": block}}
    (folder / "params.yaml").write_text(json.dumps(content), encoding="utf-8")  # JSON is YAML
    paths = [str(ROOT / "src"), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "DVC_ROOT": str(folder), "PYTHONPATH": os.pathsep.join(paths)}

    def run(*command: str) -> str:
        done = subprocess.run(  # noqa: S603
            [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise StageError(f"{' '.join(command)}: {done.stderr.strip()[-400:]}")
        return done.stdout

    began = time.monotonic()
    for script in _STAGES:
        name, *arguments = script.split()
        run(str(ROOT / "stages" / f"{name}.py"), *arguments)
    seconds = time.monotonic() - began
    work = sum(float(row) for table in folder.glob("results/**/cost.csv") for row in read_table(table)["work_seconds"])
    found = re.findall(r"(\d+) s in all", run("-m", "vgg_ablation.parallel", "--dry-run", "--slots", "1"))
    off = int(found[-1]) / seconds - 1
    return [
        Target("pilot: all stages end well", f"{seconds:.0f} s, training and evaluation {work:.0f} s", True),
        Target("estimate of the pilot: within 25 %", f"{found[-1]} s ({off:+.0%})", abs(off) <= 0.25),
    ]


def benchmark(plan: Plan, folder: Path, console: Console) -> tuple[list[Target], float]:
    """Measure steps, epochs and input; return the targets, and the seconds of the shortest epoch of ours."""
    results = run_benchmark(plan, None, folder, console)
    rows = [
        (
            row.net or "",
            row.pixels,
            row.measure,
            row.program,
            f"{row.median:,.0f}",
            f"{results.utilisation(row):.2f}" if row.measure == STEP else "",
        )
        for row in results.rows
    ]
    print(tabulate(rows, headers=["net", "pixels", "measure", "program", "images/s", "utilisation"]))
    epochs = [row for row in results.rows if (row.measure, row.program) == (EPOCH, OURS)]
    shortest = min(next(iter(results.images.values())) / row.median for row in epochs)
    return results.targets() if plan is GPU else [], shortest


def measure_evaluation(arch: str, side: int, count: int) -> Target:
    """Compare the dense test of images of many sizes with crops: seconds for the same multiply-accumulates."""
    compute, scale = choose_compute(torch.get_num_threads()), side * 8 // 7
    draws = torch.Generator().manual_seed(0)
    longer = scale + torch.randint(0, scale, (count,), generator=draws)
    upright = torch.rand(count, generator=draws) < 0.3
    heights, widths = torch.where(upright, longer, scale), torch.where(upright, scale, longer)
    batches = random_batches(heights, widths, side, CLASSES, compute)
    packed, numbers = PackedImages(batches, batches), torch.arange(count)
    network = VGG(arch, CLASSES, input_side=side).to(compute.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def seconds_per_gmac(view: View) -> float:
        began = time.perf_counter()
        posteriors(network, packed, numbers, view, compute)
        return (time.perf_counter() - began) / count_view_gmacs(network, packed, numbers, view)

    seconds_per_gmac(View("centre", scale))
    crops = seconds_per_gmac(View("centre", scale))
    dense = seconds_per_gmac(View("dense", scale)) / crops
    again = seconds_per_gmac(View("dense", scale)) / crops
    text = f"dense test of {arch} at {scale} pixels, {count} images of many sizes: at most 1.5 times a crop's time"
    return Target(text, f"{dense:.2f} (again: {again:.2f})", dense <= 1.5)


def measure_checkpoints(arch: str, width: float, epoch: float) -> Target:
    """Compare the seconds that an epoch stops for the copy of a net with the seconds of the epoch."""
    times = measure(VGG(arch, CLASSES, width=width), choose_compute(torch.get_num_threads()))
    share = times.copied / epoch
    text = f"checkpoint of {arch}: its copy takes less than 2 % of the shortest epoch"
    return Target(text, f"{share:.2%} ({times.copied:.3f} s; written after {times.written:.1f} s)", share < 0.02)


def estimate_studies(console: Console, studies: dict[str, tuple[str, ...]]) -> list[Target]:
    """Estimate studies of params.yaml on one GPU: time, and the share that is not training or evaluation."""
    settings = read_studies(StudySettings, ROOT / "params.yaml")
    rows: list[Target] = []
    for name, archs in studies.items():
        study = settings[name]
        arch = "all" if archs == ABLATION else archs[0]
        with console.task(f"{name}, net", len(archs)) as task:
            compute = choose_compute(study.compute.threads)
            work, images = Work(study, "fixed"), count_images(study.data)
            _, seconds, share = estimate(work, images, arch, "none", archs, 1, compute, task.advance)
        nets = "all nets" if arch == "all" else f"net {arch}"
        text = f"estimate of {name}, {nets}, fixed scale, {study.train.epochs} epochs"
        hours = Target(f"{text}: below 3 hours", duration(seconds), seconds < 3 * 3600)
        rows += [hours] if arch == "all" else []
        rows.append(Target(f"{text}: other than training and evaluation below 10 %", f"{1 - share:.1%}", share > 0.9))
    return rows


def check(folder: Path, console: Console, *, tiny: bool) -> list[Target]:
    """Run everything; what fails is a row of its own, and the rest goes on."""
    rows: list[Target] = []

    def attempt(name: str, part: Callable[[], list[Target]]) -> list[Target]:
        began = time.monotonic()
        try:
            found = part()
        except Exception as error:
            found = [Target(name, f"{type(error).__name__}: {error}".splitlines()[0][:200], met=False)]
        console.say(f"{name}, {time.monotonic() - began:.0f} s")
        for row in found:
            console.say(f"{row.text}: {row.measured}")
        return found

    with ThreadPoolExecutor(2) as pool:
        beside = [
            pool.submit(attempt, "tests", lambda: [run_tests()]),
            pool.submit(attempt, "pilot", lambda: run_pilot(folder / "pilot")),
        ]
        rows += [row for future in beside for row in future.result()]
    shortest = 1.0

    def steps_and_epochs() -> list[Target]:
        nonlocal shortest
        found, shortest = benchmark(_TINY if tiny else GPU, folder, console)
        return found

    rows += attempt("steps and epochs", steps_and_epochs)
    rows += attempt(
        "evaluation", lambda: [measure_evaluation("A", 64, 16) if tiny else measure_evaluation("E", 224, 2048)]
    )
    rows += attempt("checkpoints", lambda: [measure_checkpoints("A", 1 / 16 if tiny else 1.0, shortest)])
    studies = {"sample": ("A",)} if tiny else {"caltech256-paper": ABLATION, "caltech256": ("A",)}
    rows += attempt("estimates", lambda: estimate_studies(console, studies))
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Run everything and print the table of targets."""
    parser = ArgumentParser(prog="python -m benchmarks.gpu_check", description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="rehearse with small nets")
    tiny = parser.parse_args(arguments).tiny or not torch.cuda.is_available()
    began = time.monotonic()
    with stage("gpu-check", saved="") as console, TemporaryDirectory(prefix="vgg-gpu-check-") as name:
        # Neither the repository's resume state nor a user's cache of compiled programs is used.
        os.environ |= {"DVC_ROOT": name, "TORCHINDUCTOR_CACHE_DIR": str(Path(name, "compiled"))}
        rows = check(Path(name), console, tiny=tiny)
        seconds = time.monotonic() - began
        rows.append(Target("all of this: less than 4 minutes", duration(seconds), seconds < _IN_TIME))
        table = [(row.text, row.measured, "met" if row.met else "not met") for row in rows]
        print(tabulate(table, headers=["target", "measured", ""]))
        console.made(f"{sum(row.met for row in rows)} of {len(rows)} targets met on {choose_compute(1)}")


if __name__ == "__main__":
    main()
