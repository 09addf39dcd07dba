import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
import torch

from described import write_described
from vgg_ablation.device import Compute
from vgg_ablation.errors import StageError
from vgg_ablation.evaluate import cache
from vgg_ablation.evaluate.arrays import read_arrays
from vgg_ablation.evaluate.net import evaluate_net
from vgg_ablation.evaluate.protocols import PackedImages, View, posteriors
from vgg_ablation.files import file_digest
from vgg_ablation.images.batches import RunImages
from vgg_ablation.model.vgg import VGG
from vgg_ablation.model.weights import read_weights
from vgg_ablation.runtime.console import Console
from vgg_ablation.runtime.settings import FixedScale, ModelSettings, Protocol

PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
COMPUTE = Compute(torch.device("cpu"), torch.float32)
MODEL = ModelSettings(input_side=32, width=1 / 16, dropout=0.5, init="kaiming")
SIDES = FixedScale(train=48, test=(36, 40, 57))
TRAINING = Path("results/none/C/large/training")
RESULTS = Path("results/none/C/large/evaluation")
VIEWS = 8
"""Views of a run: the test images' centre, dense and multi-crop at three scales; the training images' centre."""

RECORDED = {"epochs": 3, "learning_rate": 0.01, "batch_size": 4, "refit": False}
TUNED = {"learning_rate": 0.1, "weight_decay": 5e-4}


@pytest.fixture(autouse=True)
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_processed: Callable[[Path], None]) -> None:
    """Work in a folder with packed images and two runs of C, of random weights."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("vgg_ablation.evaluate.net.matmul_rate", lambda compute: 1e9)  # takes a second
    write_processed(Path("data/processed"))
    runs = []
    for run in range(2):
        torch.manual_seed(run)
        path = TRAINING / "weights" / f"run-{run}.safetensors"
        write_described(path, VGG("C", 2, **MODEL.model_dump()))
        runs.append({"run": run, "did_not_train": False, "weights_sha256": file_digest(path)})
    (TRAINING / "training.json").write_text(json.dumps({"training": RECORDED, "runs": runs}))
    Path("results/none/C/search").mkdir()
    Path("results/none/C/search/best.json").write_text(json.dumps(TUNED))


@pytest.fixture
def evaluate(console: Console) -> Callable[..., dict[str, Any]]:
    """Return a function that evaluates the net, and returns its entry in metrics.json."""

    def run(protocols: tuple[Protocol, ...] = PROTOCOLS, model: ModelSettings = MODEL) -> dict[str, Any]:
        evaluate_net("C", "large", sides=SIDES, model=model, protocols=protocols, compute=COMPUTE, console=console)
        (net,) = json.loads((RESULTS / "metrics.json").read_text())["nets"]
        return net

    return run


def test_posteriors_are_the_mean_over_the_protocols_views(evaluate: Callable) -> None:
    evaluate()
    predictions = read_arrays(RESULTS / "predictions.npz")
    network = VGG("C", 2, **MODEL.model_dump())
    for run in range(2):
        read_weights(TRAINING / "weights" / f"run-{run}.safetensors", network)
        images = RunImages.open(Path("data/processed"), run, 32, COMPUTE.device)
        packed = PackedImages(images.batches, images.rescaled(Path("data/processed"), None, 40).batches)
        np.testing.assert_array_equal(predictions[f"run_{run}_images"], images.test)
        np.testing.assert_array_equal(predictions[f"run_{run}_labels"], images.batches.pixels.labels[images.test])
        for protocol, views in {
            "centre": [View("centre", 40)],
            "dense": [View("dense", 40)],
            "combined": [View(method, side) for method in ("dense", "multi_crop") for side in (36, 40, 57)],
        }.items():
            found = [posteriors(network, packed, images.test, view, COMPUTE).numpy() for view in views]
            np.testing.assert_allclose(predictions[f"run_{run}_{protocol}"], np.mean(found, axis=0), atol=1e-6)


def test_errors_and_decisions_follow_from_the_posteriors_and_the_cost_counts_each_view_once(evaluate: Callable) -> None:
    net = evaluate()
    (cost,) = pd.read_csv(RESULTS / "cost.csv").to_dict("records")
    assert (cost["stage"], cost["arch"], cost["scale"]) == ("evaluate", "C", "large")
    assert cost["images"] == 2 * (7 * 2 + 8)  # 2 test and 8 training images a run
    predictions, decisions = read_arrays(RESULTS / "predictions.npz"), read_arrays(RESULTS / "decisions.npz")
    for run in range(2):
        labels = predictions[f"run_{run}_labels"]
        assert net["runs"][run]["test_images"] == len(labels)
        np.testing.assert_array_equal(decisions[f"split/{run}/images"], predictions[f"run_{run}_images"])
        for protocol in PROTOCOLS:
            found = predictions[f"run_{run}_{protocol}"]
            stem = f"C/large/{run}/{protocol}"
            np.testing.assert_array_equal(decisions[f"{stem}/class"], found.argmax(1))
            error = net["runs"][run]["protocols"][protocol]["top1_error"]
            assert error == pytest.approx(100 * np.mean(found.argmax(1) != labels), abs=1e-4)


def test_metrics_describe_net_training_and_runs(evaluate: Callable) -> None:
    net = evaluate(("centre",))
    assert {name: net[name] for name in ("arch", "scale", "weight_layers", "train_scale", "test_scales")} == {
        "arch": "C", "scale": "large", "weight_layers": 16, "train_scale": 48, "test_scales": [36, 40, 57],
    }  # fmt: skip
    assert net["params"] == sum(weights.numel() for weights in VGG("C", 2, **MODEL.model_dump()).parameters())
    assert (net["tuned"], net["training"]) == (TUNED, RECORDED)
    assert [(run["run"], run["did_not_train"], list(run["protocols"])) for run in net["runs"]] == [
        (run, False, ["centre"]) for run in range(2)
    ]


def test_the_live_result_of_a_run_has_its_hyper_parameters_and_errors(evaluate: Callable) -> None:
    run = evaluate(("centre", "dense"))["runs"][1]
    (path,) = Path("live").glob("C/large/run-1-test-*/result.json")
    assert json.loads(path.read_text()) == {
        "hyper_parameters": {"net": "C", "learning_rate": 0.01, "batch_size": 4, "epochs": 3, "weight_decay": 5e-4},
        "errors": {
            "training_error": run["training_error"],
            "test_error_centre": run["protocols"]["centre"]["top1_error"],
            "test_error_dense": run["protocols"]["dense"]["top1_error"],
        },
    }


def test_after_refit_the_training_error_is_of_the_validation_images_too(evaluate: Callable) -> None:
    path = TRAINING / "training.json"
    path.write_text(path.read_text().replace('"refit": false', '"refit": true'))
    net = evaluate(("centre",))
    network = VGG("C", 2, **MODEL.model_dump())
    read_weights(TRAINING / "weights/run-0.safetensors", network)
    images = RunImages.open(Path("data/processed"), 0, 32, COMPUTE.device, refit=True)
    assert len(images.training) == 8 + 2
    packed = PackedImages(images.batches, images.rescaled(Path("data/processed"), None, 40).batches)
    found = posteriors(network, packed, images.training, View("centre", 40), COMPUTE).argmax(1)
    wrong = (found != images.batches.pixels.labels[images.training]).double().mean().item()
    assert net["runs"][0]["training_error"] == pytest.approx(100 * wrong, abs=1e-4)


def test_an_interrupted_evaluation_computes_the_rest_and_writes_the_same_bytes(
    evaluate: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    computed: list[View] = []
    stops = [3, 11]

    def compute(*arguments: Any) -> torch.Tensor:
        if len(computed) in stops:
            stops.remove(len(computed))
            raise KeyboardInterrupt
        computed.append(arguments[3])
        return posteriors(*arguments)

    monkeypatch.setattr(cache, "posteriors", compute)
    while stops:
        with pytest.raises(KeyboardInterrupt):
            evaluate()
        assert list(RESULTS.iterdir()) == []
    evaluate()
    assert len(computed) == 2 * VIEWS
    resumed = {path.name: path.read_bytes() for path in RESULTS.iterdir() if path.name != "cost.csv"}
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "elsewhere"))  # no state there
    evaluate()
    assert len(computed) == 4 * VIEWS
    assert resumed == {path.name: path.read_bytes() for path in RESULTS.iterdir() if path.name != "cost.csv"}


def test_damaged_weights_are_refused(evaluate: Callable) -> None:
    path = TRAINING / "weights/run-1.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(StageError, match=f"^{path}: checksum mismatch"):
        evaluate()
    assert list(RESULTS.iterdir()) == []


def test_weights_of_another_net_are_refused(evaluate: Callable) -> None:
    with pytest.raises(StageError, match="of another net than the settings describe"):
        evaluate(model=MODEL.model_copy(update={"width": 1 / 8}))
