"""Classify the test images with one net's trained weights: `python stages/evaluate.py C`."""

import hashlib
import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch

from vgg_ablation.data.batches import RunImages
from vgg_ablation.data.packed import verify
from vgg_ablation.data.settings import DataSettings
from vgg_ablation.evaluate.kept import compute_once
from vgg_ablation.evaluate.metrics import measure
from vgg_ablation.evaluate.protocols import count_protocol_gmacs, posteriors
from vgg_ablation.evaluate.settings import EvaluateSettings
from vgg_ablation.model.configurations import ARCHITECTURES, count_gmacs, count_parameters, weight_layers
from vgg_ablation.model.settings import ModelSettings
from vgg_ablation.model.vgg import VGG
from vgg_ablation.model.weights import read_weights
from vgg_ablation.pipeline.compute import choose_compute
from vgg_ablation.pipeline.console import stage
from vgg_ablation.pipeline.cost import Meter
from vgg_ablation.pipeline.errors import StageError
from vgg_ablation.pipeline.files import read_json, replacing, write_json
from vgg_ablation.pipeline.limit import product_rate
from vgg_ablation.pipeline.params import one_of, read_params
from vgg_ablation.pipeline.slots import Slots
from vgg_ablation.pipeline.state import file_digest, locked, source_digest, state_folder

PROCESSED = Path("data/processed")

with stage(" ".join(["evaluate", *sys.argv[1:]])) as report:
    one_of("arch", arch := "".join(sys.argv[1:]), ARCHITECTURES)
    params = read_params()
    data = params.section("data", DataSettings)
    model = params.section("model", ModelSettings)
    protocols = params.section("evaluate", EvaluateSettings).protocols
    results = Path("results") / arch
    report.alone()
    verify(PROCESSED)
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
            if (digest := file_digest(weights)) != outcome["weights_sha256"]:
                raise StageError(f"{weights}: damaged, its SHA-256 is not that in training.json; run train again")
            read_weights(weights, network)
            network.to(compute.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
            labels = images.batches.pixels.labels[images.test]
            arrays |= {f"run_{run}_images": images.test.numpy(), f"run_{run}_labels": labels.numpy()}
            state = state_folder(
                "evaluate",
                {
                    "arch": arch,
                    "model": model.model_dump(),
                    "weights": digest,
                    "images": images.batches.pixels.digest,
                    # The colours that inputs are normalised by are those of the training images.
                    "split": [
                        hashlib.sha256(part.numpy().tobytes()).hexdigest() for part in (images.training, images.test)
                    ],
                    "source": source_digest("data", "evaluate", "model", "pipeline"),
                    **compute.names,
                    "threads": torch.get_num_threads(),
                },
            )
            measured = {}
            for protocol in protocols:
                with locked(state, report.say):
                    found, seconds = compute_once(
                        Slots(state / protocol, report.say),
                        partial(posteriors, network, images.batches, images.test, protocol, compute),
                    )
                gmacs = count_protocol_gmacs(network, images.batches, images.test, protocol)
                meter.add(seconds, len(images.test), gmacs)
                arrays[f"run_{run}_{protocol}"] = found.numpy()
                measured[protocol] = measure(found, labels)
            runs.append({**outcome, "test_images": len(images.test), "protocols": measured})
            task.advance(", ".join(f"{name} {errors['top1_error']:.1f} %" for name, errors in measured.items()))

    needed = sum(array.nbytes for array in arrays.values())
    with replacing(results / "predictions.npz", needed=needed) as beside, beside.open("wb") as file:
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
