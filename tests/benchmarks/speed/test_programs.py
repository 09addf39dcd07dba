"""All programs train the same net on the same images."""

import io
import pkgutil
import tarfile
from collections.abc import Callable

import pytest
import torch
from torch import nn

from benchmarks.speed.cases import CLASSES, EPOCH, INPUT, OURS, PROGRAMS, STEP, TIMM, Case
from benchmarks.speed.images import lay_out
from benchmarks.speed.programs.torchvision_library import Torchvision
from benchmarks.speed.timing import Session
from vgg_ablation.dataset.sample import render_sample
from vgg_ablation.model.table1 import count_parameters
from vgg_ablation.runtime.console import Console

MODULES = {"torchvision": "torchvision_library", "timm": "timm_library"}


def builder(name: str) -> Callable[[str, int], nn.Module]:
    if name == TIMM:
        pytest.importorskip("timm", reason="`make bench` installs it")
    return pkgutil.resolve_name(f"benchmarks.speed.programs.{MODULES.get(name, name)}:build_network")


@pytest.mark.parametrize(("net", "pixels"), [("A", 64), ("E", 224)])
@pytest.mark.parametrize("name", PROGRAMS)
def test_every_program_has_the_parameters_of_the_same_net(name: str, net: str, pixels: int) -> None:
    with torch.device("meta"):
        network = builder(name)(net, pixels)
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == count_parameters(net, CLASSES, pixels, 1.0)


@pytest.mark.parametrize("name", ["article", "torchvision", "timm"])
def test_every_programs_net_gives_our_logits_with_our_weights(name: str) -> None:
    torch.manual_seed(0)
    with torch.device("meta"):  # draws no weights
        theirs = builder(name)("A", 64)
    theirs = getattr(theirs, "model", theirs)  # the article's class registers every layer twice
    ours = builder(OURS)("A", 64).eval()
    shapes = {key: tensor.shape for key, tensor in theirs.state_dict().items()}
    weights = zip(shapes, ours.state_dict().values(), strict=True)
    theirs.load_state_dict({key: tensor.view(shapes[key]) for key, tensor in weights}, assign=True)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        logits = ours(images)
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
    return Case("A", 64, 2, lay_out(folder / "images.tar", 4, 2, 72, folder, Console("test")))


# The article and timm leave it to the interpreter to close files.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.usefixtures("torch_as_before")
@pytest.mark.parametrize("name", PROGRAMS)
def test_every_programs_epoch_has_all_images_cropped_and_normalised_with_their_labels(case: Case, name: str) -> None:
    builder(name)  # skips
    session = Session(name, "cpu", "float32")
    session.open(case)
    batches = list(session._opened.batches())
    assert [tuple(images.shape) for images, _ in batches] == 2 * [(2, 3, 64, 64)]
    assert sorted(label for _, labels in batches for label in labels.tolist()) == [0, 1, 2, 3]
    assert 0.2 < torch.cat([images for images, _ in batches]).std().item() < 5
    assert {name: session.repeat(name).images for name in (INPUT, STEP, EPOCH)} == {INPUT: 4, STEP: 2, EPOCH: 4}


def test_a_step_of_a_program_with_a_loader_changes_its_weights(case: Case) -> None:
    program = Torchvision(case, "cpu", "float32")
    before = [parameter.detach().clone() for parameter in program.network.parameters()]
    program.train(*next(program.batches()))
    assert not any(map(torch.equal, before, program.network.parameters()))
