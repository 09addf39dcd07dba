"""Scaling of a study over slots: `python -m benchmarks.scaling` (make scaling).

The times of the units are estimated on this machine, as `make estimate` does; the real scheduler then places them on
1 to 64 slots. Writes the table of docs/clusters.md and its data, docs/scaling.json.
"""

import re
from pathlib import Path
from typing import Any

from vgg_ablation.device import choose_compute
from vgg_ablation.files import write_json, write_text
from vgg_ablation.model.table1 import ABLATION
from vgg_ablation.parallel.counts import count_images
from vgg_ablation.parallel.estimate import unit_seconds
from vgg_ablation.parallel.pace import measure_pace
from vgg_ablation.parallel.schedule import longest_chains, makespan
from vgg_ablation.parallel.units import Work
from vgg_ablation.runtime.console import Console, duration, stage
from vgg_ablation.runtime.names import named
from vgg_ablation.runtime.params import read_studies
from vgg_ablation.runtime.provenance import describe_machine
from vgg_ablation.runtime.settings import StudySettings

STUDIES = {"sample": "batch", "caltech256": "none"}
"""Normalisation of the nets by study."""
SLOTS = (1, 2, 4, 8, 16, 64)
DATA, PAGE = Path("docs/scaling.json"), Path("docs/clusters.md")
_MARKED = re.compile(r"(<!-- scaling: make scaling -->\n).*?(<!-- end of scaling -->)", re.DOTALL)


def measure(console: Console) -> dict[str, Any]:
    """Return the seconds of each unit of the studies, by name, and the machine."""
    studies = read_studies(StudySettings)
    seconds: dict[str, dict[str, float]] = {}
    device = ""
    with console.task("net", len(STUDIES) * len(ABLATION)) as task:
        for name, norm in STUDIES.items():
            work = Work(studies[name], "fixed")
            compute = choose_compute(work.study.compute.threads)
            device = f"{compute}, {work.study.compute.threads} thread, {describe_machine()}"
            images = count_images(work.study.data)
            seconds[name] = {}
            for arch in (named(each, norm) for each in ABLATION):
                paces = {"fixed": measure_pace(arch, "fixed", work.study, images, compute)}
                for unit in work.units([arch]):
                    seconds[name][unit.name] = round(unit_seconds(unit, work, images, paces), 1)
                task.advance(f"{name}, {arch}")
    return {"machine": device, "seconds": seconds}


def table(data: dict[str, Any]) -> str:
    """Return the Markdown table of the data in docs/scaling.json."""
    studies = read_studies(StudySettings)
    about = (
        "Time of a study on a number of slots, by the scheduler that starts the units. Unit times: estimated on "
        f"{data['machine']}; on a GPU they are much shorter, in about the same proportions. The longest chain of units "
        "takes its time on any number of slots."
    )
    lines = [
        about,
        "",
        "| slots | " + " | ".join(f"`{name}` | speed-up" for name in STUDIES) + " |",
        "|---:|" + "---:|---:|" * len(STUDIES),
    ]
    times = data["seconds"]
    units = {}
    for name, norm in STUDIES.items():
        archs = (named(arch, norm) for arch in ABLATION)
        measured = [arch for arch in archs if any(unit.startswith(f"{arch} ") for unit in times[name])]
        units[name] = Work(studies[name], "fixed").units(measured)
    for slots in SLOTS:
        took = {name: makespan(units[name], times[name], slots) for name in STUDIES}
        alone = {name: sum(times[name].values()) for name in STUDIES}
        cells = (f"{duration(took[name])} | {alone[name] / took[name]:.1f}" for name in STUDIES)
        lines.append(f"| {slots} | {' | '.join(cells)} |")
    chains = (f"{duration(max(longest_chains(units[name], times[name]).values()))} | " for name in STUDIES)
    lines.append(f"| longest chain | {' | '.join(chains)} |")
    return "\n".join(lines) + "\n"


def updated(page: str, data: dict[str, Any]) -> str:
    """Return docs/clusters.md with the table of the data."""
    return _MARKED.sub(lambda found: found[1] + table(data) + found[2], page)


if __name__ == "__main__":
    with stage("scaling", saved="") as console:
        write_json(DATA, measured := measure(console))
        write_text(PAGE, updated(PAGE.read_text(encoding="utf-8"), measured))
        console.made(str(PAGE))
