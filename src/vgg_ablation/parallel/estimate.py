"""Time that a study will take on this machine, before any of it is run: a few steps of each net, and counting."""

from collections.abc import Callable, Mapping, Sequence

from rich.table import Table

from vgg_ablation.device import Compute
from vgg_ablation.model.table1 import NETS
from vgg_ablation.parallel.counts import (
    Images,
    count_shared_stages,
    count_trial_epochs,
    of_run,
    typical_batch,
)
from vgg_ablation.parallel.pace import Pace, measure_pace, measure_rendering, measure_start
from vgg_ablation.parallel.schedule import longest_chains, makespan
from vgg_ablation.parallel.units import Unit, Work
from vgg_ablation.runtime.console import duration
from vgg_ablation.runtime.names import named, norm_of


def epoch_seconds(work: Work, images: Images, pace: Pace) -> float:
    """Return the seconds of an epoch, its validation included."""
    steps = images.training // typical_batch(work.study.tune, images.training)
    return steps * pace.step + images.validation * pace.validation


def unit_seconds(unit: Unit, work: Work, images: Images, paces: Mapping[str, Pace]) -> float:
    """Return the seconds of a unit.

    Args:
        unit: a unit of the net whose paces are given.
        work: the study.
        images: image counts of one split.
        paces: paces of the net, by training scale.
    """
    if unit.kind == "trial":
        return count_trial_epochs(work.study.tune, unit.number) * epoch_seconds(work, images, paces["fixed"])
    images = of_run(images, work.study.train)
    trained = sum(
        work.study.epochs_at(scale) * epoch_seconds(work, images, paces[scale]) for scale in work.trained_scales
    )
    return trained + sum(
        images.test * paces[scale].evaluation + images.training * paces[scale].fitting
        for scale in work.evaluated_scales
    )


def overhead_seconds(unit: Unit, work: Work, paces: Mapping[str, Pace]) -> float:
    """Return the seconds that a unit takes besides its steps and images: preparation and checkpoints."""
    if unit.kind == "trial":
        epochs = {"fixed": count_trial_epochs(work.study.tune, unit.number)}
    else:
        epochs = {scale: work.study.epochs_at(scale) for scale in work.trained_scales}
    return sum(
        paces[scale].preparing + count * paces[scale].copying + paces[scale].writing for scale, count in epochs.items()
    )


def starting_net_seconds(work: Work, images: Images, archs: Sequence[str], compute: Compute) -> float:
    """Return the seconds of training the A or A_BN that deeper nets start from.

    Once a batch size in the search, and once a run.
    """
    study = work.study
    if study.model.init != "paper":
        return 0.0
    starts = dict.fromkeys(named("A", norm_of(arch)) for arch in archs if NETS[arch].starts_from_A)
    searched, runs = len(study.tune.batch_size) * study.tune.epochs, study.data.splits * study.train.epochs
    total = 0.0
    for start in starts:
        pace = measure_pace(start, "fixed", study, images, compute)
        total += searched * epoch_seconds(work, images, pace)
        total += runs * epoch_seconds(work, of_run(images, study.train), pace)
    return total


def estimate(
    work: Work,
    images: Images,
    arch: str,
    norm: str,
    archs: Sequence[str],
    slots: int,
    compute: Compute,
    advance: Callable[[str], None],
) -> tuple[Table, float, float]:
    """Return a table of the units with their times, the seconds from the first to the report, and a share.

    The share is that of training, validation and evaluation in all time, with one unit after the other.

    Args:
        work: the study.
        images: image counts of one split.
        arch: `arch` of params.yaml.
        norm: `norm` of params.yaml.
        archs: the nets that they choose.
        slots: units that run at the same time.
        compute: device and precision.
        advance: called after each net.
    """
    units, start = work.units(archs), measure_start()
    seconds: dict[str, float] = {}
    overhead = compiling = 0.0
    for each in archs:
        paces = {scale: measure_pace(each, scale, work.study, images, compute) for scale in work.trained_scales}
        own = {unit.name: unit_seconds(unit, work, images, paces) for unit in units if unit.arch == each}
        besides = {unit.name: overhead_seconds(unit, work, paces) for unit in units if unit.arch == each}
        overhead += sum(besides.values())
        compiling += paces["fixed"].compiling  # all scales have crops of one size
        seconds |= {name: own[name] + besides[name] for name in own}
        advance(f"{each}, {duration(sum(own.values()))}")
    # Besides the units: images, DVC's stages, which find the work done, and the A that other nets start from.
    of_net = 1 + len(work.trained_scales) + len(work.evaluated_scales)
    stages = count_shared_stages(arch, norm, work) + of_net * len(archs)
    starting = starting_net_seconds(work, images, archs, compute)
    other = (stages + 1) * start + starting + compiling
    if work.study.data.source == "sample":
        other += measure_rendering() * (images.training + images.validation + images.test)

    table = Table(box=None)
    table.add_column("unit")
    table.add_column("time", justify="right")
    for unit in units:
        table.add_row(unit.name, duration(seconds[unit.name]))
    together = makespan(units, seconds, slots)
    chain = max(longest_chains(units, seconds).values())
    table.add_section()
    table.add_row(f"{len(units)} units, one after the other", duration(sum(seconds.values())))
    table.add_row(f"{slots} at the same time", duration(together))
    table.add_row("as many as possible (longest chain)", duration(chain))
    table.add_row("images, compilation, stages, report", duration(other))
    everything = sum(seconds.values()) + other
    share = (sum(seconds.values()) - overhead + starting) / everything
    table.add_row("training, validation and evaluation, of all time", f"{share:.1%}")
    return table, together + other, share
