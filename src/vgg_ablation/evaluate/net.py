"""Evaluation of one net, trained at one scale: posteriors of its test images, and the errors that follow from them."""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from statistics import mean
from typing import Any

import torch
from torch import Tensor

from vgg_ablation.device import Compute, matmul_rate
from vgg_ablation.evaluate.arrays import Write, writing
from vgg_ablation.evaluate.cache import CachedNet, cache_folder
from vgg_ablation.evaluate.decisions import prediction_name, write_decisions, write_split
from vgg_ablation.evaluate.metrics import measure
from vgg_ablation.evaluate.protocols import PackedImages, View, average, views
from vgg_ablation.files import read_json, require_space, write_json
from vgg_ablation.images.batches import RunImages
from vgg_ablation.images.index import LARGE_FOLDER, PACKED, TEST, Index, images_in, read_splits, verify
from vgg_ablation.model.table1 import count_gmacs, count_parameters, weight_layers
from vgg_ablation.model.vgg import VGG
from vgg_ablation.model.weights import read_weights, verify_weights
from vgg_ablation.runtime import messages
from vgg_ablation.runtime.console import Console
from vgg_ablation.runtime.cost import Meter
from vgg_ablation.runtime.live import LiveCurves
from vgg_ablation.runtime.locks import locked
from vgg_ablation.runtime.paths import PROCESSED, evaluation, search, training, weights_file
from vgg_ablation.runtime.settings import FixedScale, JitteredScale, ModelSettings, Protocol


def evaluate_net(
    arch: str,
    scale: str,
    *,
    sides: FixedScale | JitteredScale,
    model: ModelSettings,
    protocols: Sequence[Protocol],
    compute: Compute,
    console: Console,
) -> None:
    """Test each run of a net on its test images; write metrics.json, predictions.npz, decisions.npz and cost.csv.

    Args:
        arch: name of the net.
        scale: name of its training scale.
        sides: S and Q of that scale in pixels.
        model: settings of the net.
        protocols: the test protocols.
        compute: device and precision.
        console: receives progress.

    Raises:
        OSError: a file cannot be read or written.
        StageError: an input is missing, damaged or of another net, or the disk is full.
    """
    trained = read_json(training(arch, scale) / "training.json")
    tuned = read_json(search(arch) / "best.json")
    verify(PROCESSED)
    verify(PROCESSED / LARGE_FOLDER, PACKED)
    splits, classes = read_splits(PROCESSED), len(Index.read(PROCESSED).categories)
    folder = evaluation(arch, scale)
    test_images = sum(len(images_in(splits, run["run"], TEST)) for run in trained["runs"])
    require_space(folder, test_images * classes * 4 * len(protocols))
    console.say(messages.computing_on(compute))
    meter, refit = Meter(), trained["training"]["refit"]
    runs: list[dict[str, Any]] = []
    with (
        writing(folder / "predictions.npz") as predict,
        writing(folder / "decisions.npz") as decide,
        console.task("run", len(trained["runs"])) as task,
    ):
        for run in trained["runs"]:
            network = VGG(arch, classes, **model.model_dump())
            weights, digest = weights_file(training(arch, scale), run["run"]), run["weights_sha256"]
            verify_weights(weights, digest)
            read_weights(weights, network)
            network.to(compute.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
            images = RunImages.open(PROCESSED, run["run"], model.input_side, compute.device, refit=refit)
            net = cached_net(network, digest, images, sides, model, compute, console.say, meter)
            posteriors, fitted = classify_run(net, protocols, sides)
            _write_run(predict, decide, f"{arch}/{scale}", run["run"], net, posteriors)
            measures = {
                "test_images": len(net.labels("test")),
                "training_error": measure(fitted, net.labels("training"))["top1_error"],
                "protocols": {protocol: measure(found, net.labels("test")) for protocol, found in posteriors.items()},
            }
            runs.append(run | measures)
            recipe = {name: trained["training"][name] for name in ("learning_rate", "batch_size", "epochs")}
            recipe["weight_decay"] = tuned["weight_decay"]
            errors = _mean_errors([measures])
            show_result(net, f"{scale}/run-{run['run']}", recipe, measures["training_error"], errors)
            task.advance(messages.top1_errors(errors))
            del network, images, net  # frees their memory on the device for the next run
    metrics = {
        "arch": arch,
        "scale": scale,
        "weight_layers": weight_layers(arch),
        "params": count_parameters(arch, classes, model.input_side, model.width),
        "gmacs": round(count_gmacs(arch, classes, model.input_side, model.width), 6),
        "train_scale": sides.train,
        "test_scales": sides.test,
        "input_side": model.input_side,
        "classes": classes,
        "tuned": tuned,
        "training": trained["training"],
        "runs": runs,
    }
    write_json(folder / "metrics.json", {"nets": [metrics], "fusions": []})
    threads, rate = torch.get_num_threads(), matmul_rate(compute)
    meter.write(folder, "evaluate", arch=arch, scale=scale, **compute.names, threads=threads, rate=rate)
    console.made(messages.evaluated(folder, _mean_errors(runs)))


def cached_net(
    network: VGG,
    sha256: str,
    images: RunImages,
    sides: FixedScale | JitteredScale,
    model: ModelSettings,
    compute: Compute,
    say: Callable[[str], None],
    meter: Meter,
) -> CachedNet:
    """Return a trained net whose file of weights has the digest `sha256`, with the images of its run."""
    packed = PackedImages(images.batches, images.rescaled(PROCESSED, None, sides.single).batches)
    parts = {"training": images.training, "test": images.test}
    folder = cache_folder(network.arch, model, sha256, packed, parts, compute)
    return CachedNet(network, packed, parts, compute, folder, say, meter)


def classify_run(
    net: CachedNet,
    protocols: Sequence[Protocol],
    sides: FixedScale | JitteredScale,
    watch: Callable[[], None] = lambda: None,
) -> tuple[dict[str, Tensor], Tensor]:
    """Compute the posteriors of a run, or take them from its cache, and call `watch` after each view.

    Returns:
        Posteriors (N, K) of the test images by protocol, where protocols share their views; posteriors (M, K) of the
        centre crops of the training images.
    """
    views_of = {protocol: views(protocol, sides.test) for protocol in protocols}
    found: dict[View, Tensor] = {}
    with locked(net.folder, net.say):
        for view in dict.fromkeys(chain.from_iterable(views_of.values())):
            found[view] = net.classify("test", view)
            watch()
        fitted = net.classify("training", View("centre", sides.single))
    return {protocol: average(found[view] for view in averaged) for protocol, averaged in views_of.items()}, fitted


def show_result(
    net: CachedNet, run: str, recipe: Mapping[str, float], training_error: float, test_errors: Mapping[str, float]
) -> None:
    """Write the live result of a run, such as `fixed/run-0`: hyper-parameters and top-1 errors in percent."""
    errors = {"training_error": training_error} | {f"test_error_{name}": error for name, error in test_errors.items()}
    with LiveCurves(f"{net.network.arch}/{run}-test", net.folder, net.say) as live:
        live.finish({"net": net.network.arch, **recipe}, errors)


def _write_run(predict: Write, decide: Write, name: str, run: int, net: CachedNet, found: Mapping[str, Tensor]) -> None:
    """Write the test images of one run, their posteriors by protocol and the decisions; `name` is NET/SCALE."""
    images, labels = net.parts["test"].numpy(), net.labels("test").numpy()
    predict(prediction_name(run, "images"), images)
    predict(prediction_name(run, "labels"), labels)
    write_split(decide, run, images, labels)
    for protocol, posteriors in found.items():
        predict(prediction_name(run, protocol), posteriors.numpy())
        write_decisions(decide, f"{name}/{run}/{protocol}", posteriors.numpy())


def _mean_errors(runs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the mean top-1 error in percent over runs of metrics.json, by protocol."""
    return {name: mean(run["protocols"][name]["top1_error"] for run in runs) for name in runs[0]["protocols"]}
