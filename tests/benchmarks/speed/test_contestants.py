"""All contestants train the same net, on the same images."""

import io
import pkgutil
import tarfile
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import nn

from benchmarks.speed.contestants import article, good_practice, ours
from benchmarks.speed.forms import CLASSES, CONTESTANTS, EPOCH, INPUT, OURS, STEP, TIMM, Case
from benchmarks.speed.images import lay_out
from benchmarks.speed.measuring import Session
from benchmarks.speed.workers import Worker
from vgg_ablation.dataset.sample import render_sample
from vgg_ablation.model.table1 import count_parameters
from vgg_ablation.runtime.console import Stage

Build = Callable[[str, int], nn.Module]


def builder(name: str) -> Build:
    if name == TIMM:
        pytest.importorskip("timm", reason="`make bench` installs it")
        return pkgutil.resolve_name("benchmarks.speed.contestants.timm_library:build_network")
    return {"article": article, "good_practice": good_practice, "ours": ours}[name].build_network


@pytest.mark.parametrize("pixels", [64, 224])
@pytest.mark.parametrize("net", ["A", "E"])
@pytest.mark.parametrize("name", CONTESTANTS)
def test_every_contestant_has_the_parameters_of_the_same_net(name: str, net: str, pixels: int) -> None:
    with torch.device("meta"):
        network = builder(name)(net, pixels)
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == count_parameters(net, CLASSES, pixels, 1.0)


@pytest.mark.parametrize("name", ["article", "good_practice", "timm"])
def test_every_contestants_net_gives_our_logits_with_our_weights(name: str) -> None:
    torch.manual_seed(0)
    build = builder(name)
    with torch.device("meta"):  # no weights but ours are drawn
        theirs = build("A", 64)
    theirs = getattr(theirs, "model", theirs)  # the article's class holds every layer twice
    network = ours.build_network("A", 64).eval()
    shapes = {key: tensor.shape for key, tensor in theirs.state_dict().items()}
    weights = zip(shapes, network.state_dict().values(), strict=True)
    theirs.load_state_dict({key: tensor.view(shapes[key]) for key, tensor in weights}, assign=True)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        logits = network(images)
        torch.testing.assert_close(theirs.eval()(images), logits, rtol=1e-4, atol=1e-4)
    assert logits.std() > 0.1


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Net A on four images, two a batch."""
    folder = tmp_path_factory.mktemp("images")
    with tarfile.open(folder / "images.tar", "w") as tar:
        for path, content in render_sample(1):
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return Case("A", 64, 2, lay_out(folder / "images.tar", 4, 2, 72, folder, Stage("test")))


class Seen(NamedTuple):
    """What a session shows of its contestant."""

    shapes: list[tuple[int, ...]]
    labels: list[int]
    deviation: float
    images: dict[str, int]
    peak: float | None


class Looked:
    """A session that is looked into, here or in a process of its own."""

    def __init__(self, name: str) -> None:
        self._session = Session(name, "cpu", "float32")

    def look(self, case: Case) -> Seen:
        self._session.open(case)
        batches = list(self._session._opened.batches())
        done = {measure: self._session.repeat(measure) for measure in (INPUT, STEP, EPOCH)}
        return Seen(
            [tuple(images.shape) for images, _ in batches],
            sorted(label for _, labels in batches for label in labels.tolist()),
            torch.cat([images for images, _ in batches]).std().item(),
            {measure: repetition.images for measure, repetition in done.items()},
            done[EPOCH].peak_memory_mib,
        )


def looked(name: str, case: Case) -> Seen:
    if name == OURS:  # it changes its process
        with Worker(name, f"{__name__}:Looked", name) as process:
            return process.ask("look", case)
    return Looked(name).look(case)


# The article and timm leave it to the interpreter to close the files.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("name", CONTESTANTS)
def test_every_contestants_epoch_is_of_all_images_cropped_with_their_labels(case: Case, name: str) -> None:
    builder(name)  # skips
    seen = looked(name, case)
    assert seen.shapes == 2 * [(2, 3, 64, 64)]
    assert seen.labels == [0, 1, 2, 3]
    assert 0.2 < seen.deviation < 5  # normalised
    assert seen.images == {INPUT: 4, STEP: 2, EPOCH: 4}
    assert seen.peak is None or seen.peak > 100


def test_a_step_of_a_contestant_with_a_loader_changes_its_weights(case: Case) -> None:
    contestant = good_practice.GoodPractice(case, "cpu", "float32")
    before = [parameter.detach().clone() for parameter in contestant._network.parameters()]
    contestant.train(*next(contestant.batches()))
    assert not any(map(torch.equal, before, contestant._network.parameters()))
