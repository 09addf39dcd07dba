from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vgg_ablation.device import Compute
from vgg_ablation.errors import StageError
from vgg_ablation.evaluate.protocols import Stored, View, count_view_gmacs, posteriors
from vgg_ablation.evaluate.trained import TrainedNet, load_net
from vgg_ablation.images.batches import Batches, Colour
from vgg_ablation.images.pixels import Pixels
from vgg_ablation.model.vgg import VGG
from vgg_ablation.model.weights import write_weights
from vgg_ablation.runtime.cost import Meter
from vgg_ablation.runtime.settings import ModelSettings
from vgg_ablation.runtime.state import file_digest

COMPUTE = Compute(torch.device("cpu"), torch.float32)
MODEL = ModelSettings(input_side=32, width=1 / 16, batch_norm=False, dropout=0.5, init="kaiming")
TRAINING, TEST = torch.tensor([0, 3, 4]), torch.tensor([1, 2, 5])
CENTRE = View("centre", 40)


@pytest.fixture(scope="module")
def stored(packed: Callable[..., Pixels]) -> Stored:
    rng = np.random.default_rng(0)
    fixed, larger = (
        packed([rng.integers(0, 256, (side, side, 3), np.uint8) for _ in range(6)], [0, 1, 0, 1, 0, 1])
        for side in (40, 64)
    )
    batches = Batches(fixed, Colour.measure(fixed, TRAINING), 32, COMPUTE.device)
    return Stored(batches, replace(batches, pixels=larger))


@pytest.fixture
def net(stored: Stored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainedNet:
    """Return a net of random weights, whose state is kept in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    network = VGG("C", 2, **MODEL.model_dump())
    return TrainedNet(network, "a digest", MODEL, stored, TRAINING, TEST, COMPUTE, pytest.fail, Meter())


def anew(net: TrainedNet) -> TrainedNet:
    """Return the net as another process has it."""
    return replace(net, meter=Meter())


def folders() -> set[Path]:
    return {path.parent for path in Path(".state/evaluate").glob("*/determinants.json")}


@pytest.mark.parametrize("view", [CENTRE, View("dense", 57), View("multi_crop", 40)])
def test_posteriors_of_the_runs_own_images_are_those_of_the_view(net: TrainedNet, view: View) -> None:
    for classify, images in ((net.classify_test, TEST), (net.classify_training, TRAINING)):
        assert torch.equal(classify(view), posteriors(net.network, net.stored, images, view, COMPUTE))


def test_each_part_and_view_is_classified_once(net: TrainedNet, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [
        lambda net: net.classify_test(CENTRE),
        lambda net: net.classify_test(View("dense", 40)),
        lambda net: net.classify_test(View("dense", 57)),
        lambda net: net.classify_training(CENTRE),
    ]
    before = [classify(net) for classify in asked]
    monkeypatch.setattr("vgg_ablation.evaluate.trained.posteriors", pytest.fail)
    assert all(torch.equal(classify(anew(net)), found) for classify, found in zip(asked, before, strict=True))


def test_work_is_counted_also_where_it_was_done_before(net: TrainedNet) -> None:
    for counted in (net, anew(net)):
        counted.classify_test(View("multi_crop", 57))
        counted.classify_training(CENTRE)
        gmacs = count_view_gmacs(net.network, net.stored, TEST, View("multi_crop", 57))
        gmacs += count_view_gmacs(net.network, net.stored, TRAINING, CENTRE)
        assert counted.meter.images == len(TEST) + len(TRAINING)
        assert counted.meter.operations == pytest.approx(2e9 * gmacs)
        assert counted.meter.seconds > 0


def test_the_state_has_the_determinants_by_which_it_is_judged(net: TrainedNet) -> None:
    net.classify_test(CENTRE)
    (folder,) = folders()


@pytest.mark.parametrize(
    "change",
    [
        lambda net: replace(net, weights="another digest"),
        lambda net: replace(net, model=MODEL.model_copy(update={"dropout": 0.0})),
        lambda net: replace(net, training=TEST),
        lambda net: replace(net, test=TRAINING),
        lambda net: replace(net, stored=replace(net.stored, fixed=of_other_images(net.stored.fixed))),
        lambda net: replace(net, stored=replace(net.stored, larger=of_other_images(net.stored.larger))),
        lambda net: replace(net, compute=replace(COMPUTE, precision=torch.bfloat16)),
    ],
    ids=["weights", "model", "training images", "test images", "images", "larger images", "precision"],
)
def test_whatever_else_posteriors_depend_on_has_another_folder(
    net: TrainedNet, change: Callable[[TrainedNet], TrainedNet]
) -> None:
    net.classify_test(CENTRE)
    change(net).classify_test(CENTRE)
    assert len(folders()) == 2


def of_other_images(batches: Batches) -> Batches:
    return replace(batches, pixels=replace(batches.pixels, digest="another"))


class TestLoading:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        torch.manual_seed(1)
        write_weights(tmp_path / "run-0.safetensors", VGG("C", 2, **MODEL.model_dump()))
        return tmp_path / "run-0.safetensors"

    def test_the_weights_are_those_of_the_file(self, path: Path) -> None:
        torch.manual_seed(1)
        written = VGG("C", 2, **MODEL.model_dump()).state_dict()
        found = load_net(path, file_digest(path), "C", 2, MODEL, COMPUTE).state_dict()
        assert found.keys() == written.keys()
        assert all(torch.equal(found[name], written[name]) for name in written)

    def test_a_file_with_a_changed_byte_is_refused(self, path: Path) -> None:
        digest, content = file_digest(path), path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(StageError, match=f"^{path}: damaged, its SHA-256 is not that in training.json"):
            load_net(path, digest, "C", 2, MODEL, COMPUTE)

    def test_the_weights_of_another_net_are_refused(self, path: Path) -> None:
        with pytest.raises(StageError, match="of another net than the settings describe"):
            load_net(path, file_digest(path), "D", 2, MODEL, COMPUTE)
