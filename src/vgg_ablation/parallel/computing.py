"""Computation of one unit of work: whatever the stages will look up in the resume state, and nothing else."""

from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path

from vgg_ablation.device import Compute
from vgg_ablation.errors import StageError
from vgg_ablation.evaluate.metrics import measure
from vgg_ablation.evaluate.net import cached_net, classify_run, show_result
from vgg_ablation.files import file_digest
from vgg_ablation.images.batches import RunImages
from vgg_ablation.images.index import LARGE_FOLDER, PACKED, verify
from vgg_ablation.model.weights import write_weights
from vgg_ablation.parallel.units import Unit, Work
from vgg_ablation.runtime import messages, paths
from vgg_ablation.runtime.cost import Meter
from vgg_ablation.train.epoch import Epoch, describe_epoch
from vgg_ablation.train.experiment import Experiment, Start
from vgg_ablation.train.net import describe_net, recipe_at, run_folder, train_run
from vgg_ablation.train.run import Point, Recipe
from vgg_ablation.train.search import Trial, best
from vgg_ablation.train.tune import Search, describe_trial

WEIGHTS = "weights.safetensors"
"""Name of the weights of a finished run in its state folder."""


def count_steps(unit: Unit, work: Work) -> int:
    """Return how often `compute_unit` reports a step, if all epochs of the unit are run."""
    if unit.kind == "trial":
        return work.study.tune.epochs
    tested = sum(len(work.views(scale)) for scale in work.evaluated_scales)
    return sum(map(work.study.epochs_at, work.trained_scales)) + tested


def compute_unit(
    unit: Unit,
    work: Work,
    compute: Compute,
    say: Callable[[str], None],
    step: Callable[[str], None],
    use: Callable[[Path], None] = lambda _: None,
    found: Callable[[str], None] | None = None,
) -> str:
    """Compute a unit, or what an earlier attempt left of it, into the resume state.

    Args:
        unit: its needs are computed.
        work: the study.
        compute: device and precision.
        say: receives a line about a damaged file, or about a process that this one waits for.
        step: receives a line after each epoch and each view of the test images.
        use: receives each state folder before anything reads or writes it.
        found: receives in place of `step` a line about a step that was found in the resume state; None: `step` does.

    Returns:
        A line about the result.

    Raises:
        OSError: a file cannot be read or written.
        StageError: the images are damaged or do not fit the settings, or the disk is full.
    """
    _verify(paths.PROCESSED.absolute(), large=work.scale != "fixed" or unit.kind == "run")
    search = open_search(unit.arch, work, compute, say)
    use(search.folder)
    needed = unit.number // work.study.tune.round_size * work.study.tune.round_size
    if unit.kind == "run":
        needed = work.study.tune.trials
    if len(search.finished()) < needed:
        raise StageError(f"{search.folder} lacks trials that this needs: were they computed on another kind of device?")
    if unit.kind == "trial":
        use(search.trial_folder(unit.number))
        for size in work.study.tune.batch_size:  # whatever the rest of the trial's point
            _use_start(search.plan, search.recipe(Point(0.0, 0.0, size)), use)
        meter, images = search.plan.meter, len(search.plan.images.training)
        tell = _route_by_origin(meter, step, found or step)

        def watch(epoch: Epoch) -> None:
            meter.add(epoch.seconds, 0)
            tell(describe_epoch(epoch, images))

        return describe_trial(search.finish(unit.number, watch))
    meter, tuned = _meter(), best(search.finished())
    del search  # its images may be in the memory of the GPU
    tell = _route_by_origin(meter, step, found or step)
    return _compute_run(unit, work, compute, tuned, say, tell, use, meter)


def _route_by_origin(meter: Meter, step: Callable[[str], None], found: Callable[[str], None]) -> Callable[[str], None]:
    """Return a function that passes a line to `found` if its step came from the resume state, else to `step`."""
    before = meter.taken_over

    def tell(text: str) -> None:
        nonlocal before
        here, before = meter.taken_over == before, meter.taken_over
        (step if here else found)(text)

    return tell


def _meter() -> Meter:
    """Return a meter that is never written: its commit, for which git would run, is not asked for."""
    return Meter(commit="")


def open_search(arch: str, work: Work, compute: Compute, say: Callable[[str], None]) -> Search:
    """Return the search of a net."""
    study = work.study
    images = RunImages.open(paths.PROCESSED, 0, study.model.input_side, compute.device)
    plan = Experiment(arch, 0, images, study.model, compute, say, _meter())
    return Search(plan, study.train, study.tune)


def _use_start(plan: Experiment, recipe: Recipe, use: Callable[[Path], None]) -> None:
    if folder := plan.start_folder(recipe):
        use(folder)


def _compute_run(
    unit: Unit,
    work: Work,
    compute: Compute,
    tuned: Trial,
    say: Callable[[str], None],
    step: Callable[[str], None],
    use: Callable[[Path], None],
    meter: Meter,
) -> str:
    study, start = work.study, None
    side, refit = study.model.input_side, study.train.refit
    stored = RunImages.open(paths.PROCESSED, unit.number, side, compute.device, refit=refit)
    result = ""
    for scale in work.trained_scales:
        sides = study.scales.of(scale)
        images = stored if scale == "fixed" else stored.rescaled(paths.PROCESSED, sides.train, sides.single)
        plan = Experiment(unit.arch, unit.number, images, study.model, compute, say, meter, scale=scale, start=start)
        recipe = recipe_at(scale, tuned.point, study.train, study.fine_tune)

        def watch(epoch: Epoch, scale: str = scale, count: int = len(images.training)) -> None:
            step(f"{scale}, epoch {epoch.epoch}: {describe_epoch(epoch, count)}")

        _use_start(plan, recipe, use)
        use(folder := run_folder(plan, recipe))
        network, _, reason = train_run(plan, recipe, watch)
        weights = folder / WEIGHTS
        write_weights(weights, network, describe_net(network, images))
        start = Start(weights, file_digest(weights))
        if scale in work.evaluated_scales:
            protocols = study.evaluate.protocols.of(scale)
            net = cached_net(network, start.sha256, stored, sides, study.model, compute, say, meter)
            use(net.folder)
            posteriors, fitted = classify_run(net, protocols, sides, lambda scale=scale: step(f"{scale}, testing"))
            labels = net.labels("test")
            errors = {name: measure(found, labels)["top1_error"] or 0.0 for name, found in posteriors.items()}
            fit = measure(fitted, net.labels("training"))["top1_error"] or 0.0
            show_result(
                net, f"{scale}/run-{unit.number}", {**asdict(recipe.point), "epochs": recipe.epochs}, fit, errors
            )
            result = reason or messages.top1_errors(errors)
            del net
        del images, plan, network  # as in `train_net`: frees memory of the device for the next scale
    return result


@cache
def _verify(folder: Path, *, large: bool) -> None:
    """Compare the packed images with their checksums, once per process."""
    verify(folder)
    if large:
        verify(folder / LARGE_FOLDER, PACKED)
