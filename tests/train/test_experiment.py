from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from described import write_described
from published_fixtures import random_weights
from vgg_ablation.device import Compute
from vgg_ablation.errors import StageError
from vgg_ablation.files import file_digest
from vgg_ablation.imagenet import kept_weights, obtain_start
from vgg_ablation.images.batches import RunImages
from vgg_ablation.model import table1
from vgg_ablation.model.published import OFFICIAL
from vgg_ablation.model.start import SHALLOW_LAYERS
from vgg_ablation.model.vgg import VGG
from vgg_ablation.runtime.checkpoints import BackgroundCheckpoints
from vgg_ablation.runtime.console import Console
from vgg_ablation.runtime.cost import Meter
from vgg_ablation.runtime.settings import ModelSettings
from vgg_ablation.train import experiment as experiment_module
from vgg_ablation.train import memory
from vgg_ablation.train.experiment import CHECKPOINT, Experiment, Start
from vgg_ablation.train.run import Recipe

MODEL = ModelSettings(input_side=32, width=1 / 16, dropout=0.5, init="kaiming")
PAPER = MODEL.model_copy(update={"init": "paper"})
IMAGENET = MODEL.model_copy(update={"init": "imagenet"})


def silent(_: str) -> None:
    pass


@pytest.fixture
def experiment(
    images: RunImages, compute: Compute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Experiment]:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    plain = Experiment("C", 0, images, MODEL, compute, silent, Meter())
    return lambda **changes: replace(plain, **changes)


@pytest.fixture
def short(recipe: Recipe) -> Recipe:
    return replace(recipe, epochs=2)


Make = Callable[..., Experiment]


def at(recipe: Recipe, **point: float) -> Recipe:
    return replace(recipe, point=replace(recipe.point, **point))  # pyright: ignore[reportArgumentType]


def equal(one: VGG, other: VGG, layer: str) -> bool:
    pair = one.named_layers()[layer].state_dict(), other.named_layers()[layer].state_dict()
    return all(torch.equal(pair[0][name], pair[1][name]) for name in pair[0])


def trained(experiment: Experiment, recipe: Recipe, file: Path) -> VGG:
    with BackgroundCheckpoints(file, silent) as checkpoints:
        network, epochs = experiment.train(recipe, checkpoints)
        assert len(list(epochs)) == recipe.epochs
    return network


# State.


@pytest.mark.parametrize(
    "what",
    [
        *("arch", "run", "model", "training", "validation", "pixels", "precision", "recipe", "kind", "border"),
        *("scale", "sides", "other sides", "start", "net", "threads"),
    ],
)
def test_a_run_that_differs_in_anything_has_another_state_folder(
    experiment: Make, images: RunImages, compute: Compute, short: Recipe, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = experiment().folder("train", 8, recipe=asdict(short))
    assert experiment().folder("train", 8, recipe=asdict(short)) == before
    if what == "net":
        monkeypatch.setitem(table1.NETS, "C", table1.NETS["D"])
    if what == "threads":
        monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    both = torch.cat([images.training, images.validation])
    other_pixels = replace(images.batches, pixels=replace(images.batches.pixels, digest="of other images"))
    changes = {
        "arch": {"arch": "D"},
        "run": {"run": 1},
        "model": {"model": MODEL.model_copy(update={"dropout": 0.4})},
        "training": {"images": replace(images, training=images.training.flip(0))},
        "validation": {"images": replace(images, validation=images.test)},
        "border": {"images": replace(images, training=both[:15], validation=both[15:])},
        "pixels": {"images": replace(images, batches=other_pixels)},
        "scale": {"scale": "large"},
        "sides": {"images": replace(images, batches=replace(images.batches, training_scale=33))},
        "other sides": {"images": replace(images, batches=replace(images.batches, test_scale=33))},
        "start": {"start": Start(Path("weights"), "of other weights")},
        "precision": {"compute": replace(compute, precision=torch.bfloat16)},
    }.get(what, {})
    recipe = asdict(at(short, learning_rate=0.02) if what == "recipe" else short)
    other = experiment(**changes).folder("tune" if what == "kind" else "train", 8, recipe=recipe)
    assert other != before


def test_another_net_does_not_change_the_state_folder(experiment: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    before = experiment().folder("train", 8)
    monkeypatch.setitem(table1.NETS, "F", table1.NETS["E"])
    assert experiment().folder("train", 8) == before


def test_changed_source_changes_the_state_folder(experiment: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    before = experiment().folder("train", 8)
    monkeypatch.setattr(experiment_module, "source_digest", lambda *names: "/".join(names))
    assert experiment().folder("train", 8) != before


@pytest.fixture
def small_memory(experiment: Make, monkeypatch: pytest.MonkeyPatch) -> int:
    """A memory that holds three to five images of the net at once; return how many."""
    parameters = sum(value.numel() for value in experiment()._random_network().parameters())
    monkeypatch.setattr(memory, "total_memory", lambda device: 2 * (14 * parameters + 500_000))
    found = experiment().images_at_once
    assert 3 <= found <= 5
    return found


def test_another_split_of_the_batches_changes_the_state_folder(
    experiment: Make, request: pytest.FixtureRequest
) -> None:
    """It decides the last digits; where the batch fits, the size of the memory does not matter."""
    before = experiment().folder("train", 8), experiment().folder("train", 2)
    request.getfixturevalue("small_memory")
    assert experiment().folder("train", 8) != before[0]
    assert experiment().folder("train", 2) == before[1]


def test_a_batch_that_does_not_fit_goes_in_parts(
    experiment: Make, short: Recipe, small_memory: int, tmp_path: Path
) -> None:
    sizes: list[int] = []
    with BackgroundCheckpoints(tmp_path / "file", silent) as checkpoints:
        network, epochs = experiment().train(short, checkpoints)
        network.register_forward_pre_hook(lambda net, inputs: sizes.append(len(inputs[0])) if net.training else None)
        assert len(list(epochs)) == short.epochs
    assert max(sizes) <= small_memory
    assert sum(sizes) == 2 * 16


def test_batch_normalisation_refuses_parts(experiment: Make, small_memory: int) -> None:
    with pytest.raises(StageError, match=r"tune\.batch_size = 8: the memory holds \d images of net C_BN at once"):
        experiment(arch="C_BN").folder("train", 8)


def test_the_test_images_do_not_determine_the_work(experiment: Make, images: RunImages) -> None:
    other = replace(images, test=images.test[:2])
    assert experiment(images=other).folder("train", 8) == experiment().folder("train", 8)


# The start.


def test_a_run_starts_from_the_same_weights_each_time(experiment: Make, short: Recipe, tmp_path: Path) -> None:
    torch.manual_seed(1)
    one = experiment().train(short, BackgroundCheckpoints(tmp_path / "file", silent))[0]
    torch.manual_seed(2)
    other = experiment().train(short, BackgroundCheckpoints(tmp_path / "file", silent))[0]
    assert all(equal(one, other, layer) for layer in one.layer_names)


# The start from a trained A (section 3.1).


@pytest.fixture
def shallow(experiment: Make, short: Recipe, tmp_path: Path) -> VGG:
    """Train A at the paper's point."""
    point = at(short, learning_rate=1e-2, weight_decay=5e-4)
    return trained(experiment(arch="A", model=PAPER), point, tmp_path / "shallow")


@pytest.fixture
def deep(experiment: Make, short: Recipe, tmp_path: Path) -> VGG:
    """Make C as it starts, by a training that leaves the weights where they are."""
    recipe = at(short, learning_rate=1e-30, weight_decay=0.0)
    return trained(experiment(model=PAPER), recipe, tmp_path / "deep")


def test_a_deep_nets_outer_layers_start_as_those_of_a_trained_a(shallow: VGG, deep: VGG) -> None:
    for name in SHALLOW_LAYERS:
        one, other = deep.named_layers()[name].state_dict(), shallow.named_layers()[name].state_dict()
        torch.testing.assert_close(one, other, rtol=0, atol=1e-25)  # biases that were all but zero moved by less


def test_a_deep_net_with_batch_normalisation_starts_from_a_with_it(experiment: Make, short: Recipe) -> None:
    of_c, of_a = experiment(arch="C_BN", model=PAPER), experiment(arch="A_BN", model=PAPER)
    paper = replace(short, point=replace(short.point, learning_rate=1e-2, weight_decay=5e-4))
    assert of_c.start_folder(short) == of_a.folder("shallow", short.point.batch_size, recipe=asdict(paper))


def test_a_deep_nets_other_layers_start_at_random(deep: VGG) -> None:
    others = [layer.weight for name, layer in deep.named_layers().items() if name not in SHALLOW_LAYERS]
    assert len(others) == 13 - 4  # convolutions of C, less those it takes from A
    assert torch.cat([weight.flatten() for weight in others]).std().item() == pytest.approx(0.01, rel=0.05)


@pytest.mark.parametrize("arch", ["A", "B_5x5"])
def test_a_shallow_net_starts_at_random(experiment: Make, short: Recipe, tmp_path: Path, arch: str) -> None:
    network, _ = experiment(arch=arch, model=PAPER).train(short, BackgroundCheckpoints(tmp_path / "file", silent))
    assert network.named_layers()["fc6"].weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert not (tmp_path / ".state").exists()


@pytest.mark.parametrize("model", [PAPER, IMAGENET], ids=lambda model: model.init)
def test_a_net_with_weights_to_start_from_starts_from_those_and_needs_no_others(
    experiment: Make, short: Recipe, tmp_path: Path, model: ModelSettings
) -> None:
    torch.manual_seed(5)
    start = VGG("C", 2, **model.model_dump())
    write_described(tmp_path / "start", start)
    going_on = experiment(model=model, start=Start(tmp_path / "start", file_digest(tmp_path / "start")))
    network = trained(going_on, at(short, learning_rate=1e-30, weight_decay=0.0), tmp_path / "file")
    torch.testing.assert_close(network.state_dict(), start.state_dict(), rtol=0, atol=1e-25)
    assert not (tmp_path / ".state").exists()


def test_a_is_trained_once_for_all_nets_at_the_papers_point_counted_and_reported(
    experiment: Make, short: Recipe, tmp_path: Path
) -> None:
    """16 images an epoch; the second net that starts from it takes it from the state, at no further time."""
    written, lines, meters = [], [], (Meter(), Meter())
    for arch, rate, meter in zip(("C", "D"), (0.02, 0.05), meters, strict=True):
        plan = experiment(arch=arch, model=PAPER, meter=meter, say=lines.append)
        trained(plan, at(short, learning_rate=rate), tmp_path / arch)
        written.append([(path, path.stat().st_mtime_ns) for path in tmp_path.glob(f".state/shallow/*/{CHECKPOINT}.*")])
    assert written[0] == written[1]
    assert len(written[0]) == 2, "the two latest states of one run"
    assert [meter.images for meter in meters] == [2 * 16, 2 * 16]
    assert meters[0].taken_over < meters[1].taken_over <= meters[1].seconds == meters[0].seconds
    a = [f"net A (initial weights): epoch {epoch}/2" for epoch in (1, 2)]
    assert [line.split(",")[0] for line in lines] == [*a, "resuming after epoch 2/2", *a]


# The start from ImageNet's weights.


@pytest.fixture
def published(
    narrow: None, weights_named: None, experiment: Make, publish: Callable[..., Path], console: Console
) -> dict[str, torch.Tensor]:
    """The weights of a random D, which C starts from, as the published ones."""
    publish("D", weights := random_weights("D"))
    obtain_start("C", IMAGENET, console)
    return weights


def test_c_starts_from_the_published_d(
    experiment: Make, short: Recipe, tmp_path: Path, published: dict[str, torch.Tensor]
) -> None:
    network = trained(experiment(model=IMAGENET), at(short, learning_rate=1e-30, weight_decay=0.0), tmp_path / "file")
    layers = network.named_layers()
    assert torch.equal(layers["conv5_2"].weight, published["features.26.weight"])  # torchvision's vgg16: conv5_2
    assert torch.equal(layers["fc7"].weight, published["classifier.3.weight"])
    torch.testing.assert_close(layers["conv5_3"].weight[:, :, 0, 0], torch.eye(32), rtol=0, atol=1e-25)
    colour = experiment().images.batches.colour
    expected = published["features.0.weight"][0, 0, 0, 0] * colour.deviation[0] / 0.229
    assert layers["conv1_1"].weight[0, 0, 0, 0].item() == pytest.approx(expected.item())


def test_the_state_is_that_of_the_published_file(
    experiment: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = experiment(model=IMAGENET).folder("train", 8)
    monkeypatch.setitem(OFFICIAL, "E", OFFICIAL["D"])
    assert experiment(model=IMAGENET).folder("train", 8) == before
    monkeypatch.setitem(OFFICIAL, "D", OFFICIAL["D"]._replace(sha256="00"))
    assert experiment(model=IMAGENET).folder("train", 8) != before


def test_a_node_of_a_cluster_is_told_which_folder_the_weights_are_in(experiment: Make, short: Recipe) -> None:
    assert experiment(model=IMAGENET).start_folder(short) == kept_weights("D")
