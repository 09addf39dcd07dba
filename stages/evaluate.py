"""Classify the test images with one net's trained weights: `python stages/evaluate.py C fixed`."""

import sys
from itertools import chain
from pathlib import Path

import numpy as np
import torch

from vgg_ablation.device import choose_compute, product_rate
from vgg_ablation.evaluate.arrays import writing
from vgg_ablation.evaluate.metrics import measure
from vgg_ablation.evaluate.outcomes import write_outcomes, write_split
from vgg_ablation.evaluate.predictions import array_name
from vgg_ablation.evaluate.protocols import Stored, View, average, views
from vgg_ablation.evaluate.trained import TrainedNet, load_net
from vgg_ablation.files import read_json, require_space, write_json
from vgg_ablation.images.batches import RunImages
from vgg_ablation.images.index import LARGE_FOLDER, PACKED, TEST, Index, images_in, read_splits, verify
from vgg_ablation.model.table1 import ARCHITECTURES, count_gmacs, count_parameters, weight_layers
from vgg_ablation.runtime.console import stage
from vgg_ablation.runtime.cost import Meter
from vgg_ablation.runtime.params import read_arguments, read_params
from vgg_ablation.runtime.settings import SCALES, ComputeSettings, EvaluateSettings, ModelSettings, ScalesSettings

PROCESSED = Path("data/processed")

with stage(" ".join(["evaluate", *sys.argv[1:]])) as report:
    arch, scale = read_arguments(arch=ARCHITECTURES, scale=SCALES)
    params = read_params()
    at = params.section("scales", ScalesSettings).of(scale)
    model = params.section("model", ModelSettings)
    protocols = params.section("evaluate", EvaluateSettings).protocols.of(scale)
    results = Path("results") / arch / scale
    report.alone()
    trained = read_json(results / "training.json")
    tuned = read_json(results.parent / "best.json")
    viewed = {protocol: views(protocol, at.test) for protocol in protocols}
    tested = list(dict.fromkeys(chain.from_iterable(viewed.values())))
    centre = View("centre", at.single)
    verify(PROCESSED)
    verify(PROCESSED / LARGE_FOLDER, PACKED)
    splits, classes = read_splits(PROCESSED), len(Index.read(PROCESSED).categories)
    test_images = sum(len(images_in(splits, outcome["run"], TEST)) for outcome in trained["runs"])
    require_space(results, test_images * classes * 4 * len(protocols))

    compute = choose_compute(params.section("compute", ComputeSettings).threads)
    report.say(f"computing on {compute}")
    runs = []
    meter = Meter()
    with (
        writing(results / "predictions.npz") as predict,
        writing(results / "outcomes.npz") as write,
        report.task("run", len(trained["runs"])) as task,
    ):
        for outcome in trained["runs"]:
            run = outcome["run"]
            weights, digest = results / "weights" / f"run-{run}.safetensors", outcome["weights_sha256"]
            network = load_net(weights, digest, arch, classes, model, compute)
            images = RunImages.open(PROCESSED, run, model.input_side, compute.device)
            stored = Stored(images.batches, images.rescaled(PROCESSED, None, centre.scale).batches)
            parts = (images.training, images.test)
            net = TrainedNet(network, digest, model, stored, *parts, compute, report.say, meter)
            labels = images.batches.pixels.labels[images.test]
            predict(array_name(run, "images"), images.test.numpy())
            predict(array_name(run, "labels"), labels.numpy())
            write_split(write, run, images.test.numpy(), labels.numpy())
            found = {view: net.classify_test(view) for view in tested}
            measured = {}
            for protocol in protocols:
                posteriors = average(found[view] for view in viewed[protocol])
                predict(array_name(run, protocol), posteriors.numpy())
                write_outcomes(write, f"{arch}/{scale}/{run}/{protocol}", posteriors, labels)
                measured[protocol] = measure(posteriors, labels)
            fitted = measure(net.classify_training(centre), images.batches.pixels.labels[images.training])
            of_run = {"test_images": len(labels), "training_error": fitted["top1_error"], "protocols": measured}
            runs.append({**outcome, **of_run})
            task.advance(", ".join(f"{name} {errors['top1_error']:.1f} %" for name, errors in measured.items()))
            del images, stored, net  # their pixels, on the device, make room for those of the next run

    description = {
        "arch": arch,
        "scale": scale,
        "weight_layers": weight_layers(arch),
        "params": count_parameters(arch, classes, model.input_side, model.width, batch_norm=model.batch_norm),
        "gmacs": round(count_gmacs(arch, classes, model.input_side, model.width), 6),
        "train_scale": at.train,
        "test_scales": at.test,
        "input_side": model.input_side,
        "classes": classes,
        "tuned": tuned,
        "training": trained["training"],
        "runs": runs,
    }
    write_json(results / "metrics.json", {"nets": [description], "fusions": []})
    threads, rate = torch.get_num_threads(), product_rate(compute)
    meter.write(results / "cost", "evaluate", arch=arch, scale=scale, **compute.names, threads=threads, rate=rate)
    mean = {name: np.mean([run["protocols"][name]["top1_error"] for run in runs]) for name in protocols}
    report.made(
        f"{results / 'metrics.json'}: top-1 error " + ", ".join(f"{name} {error:.1f} %" for name, error in mean.items())
    )
