"""The exported folder of a tiny study's net: its card's code, its ONNX, and what the card says."""

import csv
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from markdown_it import MarkdownIt
from PIL import Image

from trained_fixtures import CATEGORIES, Trained
from vgg_ablation.analysis.statistics import expected_error
from vgg_ablation.analysis.study import read_study
from vgg_ablation.device import choose_compute
from vgg_ablation.errors import StageError
from vgg_ablation.evaluate.protocols import View
from vgg_ablation.export.__main__ import main
from vgg_ablation.export.card import layers
from vgg_ablation.model.table1 import ARCHITECTURES
from vgg_ablation.model.vgg import VGG
from vgg_ablation.model.weights import Description
from vgg_ablation.predict.classify import classify
from vgg_ablation.predict.nets import TrainedNet
from vgg_ablation.runtime.params import read_params
from vgg_ablation.runtime.settings import StudySettings

SIDE = 32


@pytest.fixture(scope="session")
def exported(trained_study: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the command writes."""
    folder = tmp_path_factory.mktemp("exported") / "A_BN"
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(trained_study.folder)
        main(["A", "--folder", str(folder)])
    return folder


def code(card: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", card, re.DOTALL)


def networks(folder: Path) -> list[VGG]:
    return [run.network for run in TrainedNet.open(str(folder)).read()]


def test_the_cards_code_loads_a_net_that_answers_as_ours(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(exported)
    names: dict[str, object] = {}
    exec(code((exported / "README.md").read_text())[0], names)  # noqa: S102
    net, images = names["net"], torch.randn(3, 3, SIDE, SIDE)
    assert isinstance(net, torch.nn.ModuleDict)
    with torch.no_grad():
        found = net["classifier"](net["features"](images).flatten(1))
        torch.testing.assert_close(found, networks(exported)[0](images))
    assert found.std() > 0.01


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_the_numbers_of_the_cards_code_are_those_of_every_net(arch: str) -> None:
    """A_LRN has a layer without weights that the others lack."""
    described = Description(
        arch=arch, width=1 / 16, input_side=64, classes=("a", "b", "c"), stored_side=64, test_scale=64,
        mean=(0.0,) * 3, deviation=(1.0,) * 3,
    )  # fmt: skip
    numbers = layers(described)
    torch.manual_seed(0)
    network = VGG(arch, 3, input_side=64, width=1 / 16).eval()
    modules: list[torch.nn.Module] = []
    for convolution in numbers["convolutions"]:
        inputs, outputs, kernel, after = eval(convolution, dict(vars(torch.nn)))  # noqa: S307
        modules += [torch.nn.Conv2d(inputs, outputs, kernel, padding="same")]
        modules += [torch.nn.BatchNorm2d(outputs)] * arch.endswith("_BN") + [torch.nn.ReLU(), *after]
    features = torch.nn.Sequential(*modules).eval()
    features.load_state_dict(network.features.state_dict())
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(features(images), network.features(images))
    first, hidden, last, classes = numbers["sizes"]
    linear = [layer for layer in network.classifier if isinstance(layer, torch.nn.Linear)]
    sizes = [(layer.in_features, layer.out_features) for layer in linear]
    assert sizes == [(first, hidden), (hidden, last), (last, classes)]


def test_the_cards_code_answers_for_a_photo_as_the_project_does(
    exported: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The photo has the test's size, so that no rescaling differs."""
    monkeypatch.chdir(exported)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    blocks = "\n".join(code((exported / "README.md").read_text()))
    names: dict[str, object] = {}
    exec(blocks.replace("photo.jpg", str(tmp_path / "photo.png")), names)  # noqa: S102
    runs, compute = TrainedNet.open(str(exported)).read(), choose_compute(1)
    expected = classify(runs[:1], [pixels], View("centre", 40), compute)[0]
    tolerance = 5e-3 if compute.precision == torch.bfloat16 else 1e-5
    torch.testing.assert_close(names["posteriors"], expected, atol=tolerance, rtol=0)
    name, share = capsys.readouterr().out.split()
    assert name == CATEGORIES[int(expected.argmax())]
    assert float(share.rstrip("%")) == pytest.approx(100 * expected.max().item(), abs=1)


def test_onnx_takes_any_number_of_crops_of_pixels_and_gives_posteriors(exported: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="group export is not installed")
    runs = TrainedNet.open(str(exported)).read()
    for number, run in enumerate(runs):
        session = onnxruntime.InferenceSession(exported / f"run-{number}.onnx", providers=["CPUExecutionProvider"])
        for count in (1, 5):
            pixels = np.random.default_rng(0).integers(0, 256, (count, 3, SIDE, SIDE)).astype(np.float32)
            (found,) = session.run(None, {"pixels": pixels})
            mean, deviation = (
                torch.tensor(values).view(3, 1, 1) for values in (run.description.mean, run.description.deviation)
            )
            with torch.no_grad():
                expected = run.network((torch.from_numpy(pixels) / 255 - mean) / deviation).softmax(1)
            np.testing.assert_allclose(found, expected, atol=1e-5)


def test_an_onnx_file_that_answers_otherwise_is_refused(exported: Path) -> None:
    pytest.importorskip("onnxruntime", reason="group export is not installed")
    from vgg_ablation.export.onnx import FromPixels, require_equal

    content, other = (exported / "run-0.onnx").read_bytes(), TrainedNet.open(str(exported)).read()[1]
    with pytest.raises(StageError, match=r"^run-0.onnx: onnxruntime's posteriors differ from torch's by "):
        require_equal(content, FromPixels(other).eval(), Path("run-0.onnx"))


def test_the_folder_has_the_classes_and_the_same_weights(exported: Path, trained: Trained) -> None:
    assert (exported / "classes.txt").read_text().split() == list(CATEGORIES)
    for run in range(2):
        original = Path(f"results/batch/A/fixed/training/weights/run-{run}.safetensors")
        assert (exported / f"weights/run-{run}.safetensors").read_bytes() == original.read_bytes()


def cells(card: str) -> list[list[str]]:
    """The rows of the card's tables."""
    lines = [line for line in card.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_card_gives_the_errors_of_the_report_with_their_intervals(exported: Path, trained: Trained) -> None:
    params = read_params()
    study = read_study("A_BN", "fixed", params.study, params.whole(StudySettings))
    errors = study.measurements("A_BN", "fixed", "centre")
    assert errors is not None
    found = expected_error(errors)
    (row,) = [row for row in cells((exported / "README.md").read_text()) if row[0] == "centre crop"]
    metrics = json.loads((exported / "metrics.json").read_text())["nets"][0]
    by_run = [run["protocols"]["centre"]["top1_error"] for run in metrics["runs"]]
    assert row[1:3] == ["40", f"{np.mean(by_run):.1f} [{found.low:.1f}, {found.high:.1f}]"]


def test_the_card_says_data_recipe_and_licence(exported: Path, trained: Trained) -> None:
    card = " ".join((exported / "README.md").read_text().split())
    with Path("results/batch/A/search/trials.csv").open() as file:
        (trial,) = csv.DictReader(file)
    for said in (
        "# VGG A_BN on 3 categories of images.tar",
        "30 images of 3 classes",
        "a run trains on 15 and is tested on 15",
        f"learning rate {float(trial['learning_rate']):.3g}, weight decay {float(trial['weight_decay']):.3g}",
        "Weights and code: MIT",
        "Images: from images.tar; their licence is not known",
    ):
        assert said in card


def test_the_card_is_a_page_with_sections(exported: Path) -> None:
    text = (exported / "README.md").read_text()
    tokens = MarkdownIt().parse(text.split("---\n", 2)[2])
    headings = [tokens[place + 1].content for place, token in enumerate(tokens) if token.type == "heading_open"]
    assert headings[1:] == ["Errors", "Data", "Recipe", "Use", "Licence"]
    assert all(line == line.rstrip() for line in text.splitlines())


def test_without_onnx_the_rest_is_written_and_the_command_that_installs_it_is_named(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.delitem(sys.modules, "vgg_ablation.export.onnx", raising=False)
    main(["A", "--folder", str(tmp_path / "A")])
    assert sorted(path.name for path in (tmp_path / "A").iterdir()) == [
        "README.md", "classes.txt", "metrics.json", "weights",
    ]  # fmt: skip
    assert ".onnx" not in (tmp_path / "A/README.md").read_text()
    assert "are not installed" in capsys.readouterr().out
