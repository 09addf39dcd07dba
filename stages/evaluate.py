"""Classify the test images with one net's trained weights: `python stages/evaluate.py C`."""

import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from vgg_ablation.data.batches import RunImages
from vgg_ablation.data.settings import DataSettings
from vgg_ablation.evaluate.metrics import measure
from vgg_ablation.evaluate.protocols import count_protocol_gmacs, posteriors
from vgg_ablation.evaluate.settings import EvaluateSettings
from vgg_ablation.model.configurations import ARCHITECTURES, count_gmacs, count_parameters, weight_layers
from vgg_ablation.model.settings import ModelSettings
from vgg_ablation.model.vgg import VGG
from vgg_ablation.pipeline.compute import choose_compute
from vgg_ablation.pipeline.console import stage
from vgg_ablation.pipeline.cost import Meter
from vgg_ablation.pipeline.errors import StageError
from vgg_ablation.pipeline.files import read_json, replacing, write_json
from vgg_ablation.pipeline.limit import product_rate
from vgg_ablation.pipeline.params import one_of, read_params

PROCESSED = Path("data/processed")

with stage(" ".join(["evaluate", *sys.argv[1:]])) as report:
    one_of("arch", arch := "".join(sys.argv[1:]), ARCHITECTURES)
    params = read_params()
    data = params.section("data", DataSettings)
    model = params.section("model", ModelSettings)
    protocols = params.section("evaluate", EvaluateSettings).protocols
    results = Path("results") / arch
    trained = read_json(results / "training.json")

    compute = choose_compute()
    arrays: dict[str, np.ndarray] = {}
    runs = []
    meter, classes = Meter(), 0
    with report.task("run", len(trained["runs"])) as task:
        for outcome in trained["runs"]:
            run = outcome["run"]
            images = RunImages.open(PROCESSED, run, model.input_side, compute.device)
            classes = len(images.batches.pixels.categories)
            network = VGG(arch, classes, **model.model_dump())
            weights = results / "weights" / f"run-{run}.safetensors"
            try:
                network.load_state_dict(load_file(weights))
            except RuntimeError:
                raise StageError(f"{weights}: of another net than the settings describe; run train again") from None
            network.to(compute.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
            labels = images.batches.pixels.labels[images.test]
            arrays |= {f"run_{run}_images": images.test.numpy(), f"run_{run}_labels": labels.numpy()}
            measured = {}
            for protocol in protocols:
                gmacs = count_protocol_gmacs(network, images.batches, images.test, protocol)
                with meter.work(len(images.test), gmacs):
                    found = posteriors(network, images.batches, images.test, protocol, compute)
                arrays[f"run_{run}_{protocol}"] = found.numpy()
                measured[protocol] = measure(found, labels)
            runs.append({**outcome, "test_images": len(images.test), "protocols": measured})
            task.advance(", ".join(f"{name} {errors['top1_error']:.1f} %" for name, errors in measured.items()))

    with replacing(results / "predictions.npz") as beside, beside.open("wb") as file:
        np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]
    net = {
        "arch": arch,
        "weight_layers": weight_layers(arch),
        "params": count_parameters(arch, classes, model.input_side, model.width, batch_norm=model.batch_norm),
        "gmacs": round(count_gmacs(arch, classes, model.input_side, model.width), 6),
        "train_scale": data.side,
        "test_scale": data.side,
        "input_side": model.input_side,
        "classes": classes,
        "tuned": read_json(results / "best.json"),
        "training": trained["training"],
        "runs": runs,
    }
    write_json(results / "metrics.json", {"nets": [net]})
    threads = torch.get_num_threads()
    meter.write(results / "cost", "evaluate", arch=arch, **compute.names, threads=threads, rate=product_rate(compute))
    mean = {name: np.mean([run["protocols"][name]["top1_error"] for run in runs]) for name in protocols}
    report.made(
        f"{results / 'metrics.json'}: top-1 error " + ", ".join(f"{name} {error:.1f} %" for name, error in mean.items())
    )
