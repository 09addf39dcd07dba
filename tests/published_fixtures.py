"""Fixtures for the nets that torchvision trained on ImageNet: narrow random nets in their place."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor, nn

from vgg_ablation.model.published import CLASSES, OFFICIAL, SHAPE, Official
from vgg_ablation.model.vgg import VGG


def random_net(net: str, seed: int = 0) -> VGG:
    """A net for ImageNet whose biases and batch normalisations are random too, in evaluation mode."""
    torch.manual_seed(seed)
    network = VGG(net, CLASSES, **SHAPE).eval()
    for layer in network.named_layers().values():
        nn.init.uniform_(layer.bias, -0.1, 0.1)  # pyright: ignore[reportArgumentType]
    for norm in network.named_norms().values():
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -0.5, 0.5)
        norm.running_mean = torch.randn(norm.num_features) / 10
        norm.running_var = torch.rand(norm.num_features) + 0.5
    return network


def random_weights(net: str, seed: int = 0) -> dict[str, Tensor]:
    return random_net(net, seed).state_dict()


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the published nets narrow ones for small images."""
    monkeypatch.setitem(SHAPE, "input_side", 32)
    monkeypatch.setitem(SHAPE, "width", 1 / 16)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder."""
    (tmp_path / "mine").mkdir()
    return tmp_path / "mine"


@pytest.fixture
def publish(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Return what saves weights under their official name and announces this file as torchvision's."""

    def save(net: str, tensors: object, **options: bool) -> Path:
        torch.save(tensors, folder / "new.pth", **options)
        content = (folder / "new.pth").read_bytes()
        name = f"{OFFICIAL[net].file.partition('-')[0]}-{hashlib.sha256(content).hexdigest()[:8]}.pth"
        announced = Official(name, round(len(content) / 2**20, 3), hashlib.sha256(content).hexdigest()[:8])
        monkeypatch.setitem(OFFICIAL, net, announced)
        return (folder / "new.pth").rename(folder / name)

    return save


@pytest.fixture
def weights_named(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Change to a folder whose params.yaml names the user's folder as that of the weights."""
    params = yaml.safe_load((Path(__file__).parents[1] / "params.yaml").read_text(encoding="utf-8"))
    params["appendix_b"]["weights"] = str(folder)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
