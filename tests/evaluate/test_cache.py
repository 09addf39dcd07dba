from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vgg_ablation.device import Compute
from vgg_ablation.evaluate.cache import CachedNet, cache_folder
from vgg_ablation.evaluate.protocols import PackedImages, View, count_view_gmacs, posteriors
from vgg_ablation.images.batches import Batches, Colour
from vgg_ablation.images.pixels import Pixels
from vgg_ablation.model.vgg import VGG
from vgg_ablation.runtime.cost import Meter
from vgg_ablation.runtime.settings import ModelSettings

COMPUTE = Compute(torch.device("cpu"), torch.float32)
MODEL = ModelSettings(input_side=32, width=1 / 16, dropout=0.5, init="kaiming")
PARTS = {"training": torch.tensor([0, 3, 4]), "test": torch.tensor([1, 2, 5])}
CENTRE, CROPS = View("centre", 40), View("multi_crop", 57)


@pytest.fixture(scope="module")
def images(packed: Callable[..., Pixels]) -> PackedImages:
    rng = np.random.default_rng(0)
    fixed, larger = (
        packed([rng.integers(0, 256, (side, side, 3), np.uint8) for _ in range(6)], [0, 1, 0, 1, 0, 1])
        for side in (40, 64)
    )
    batches = Batches(fixed, Colour.measure(fixed, PARTS["training"]), 32, COMPUTE.device)
    return PackedImages(batches, replace(batches, pixels=larger))


@pytest.fixture
def net(images: PackedImages, tmp_path: Path) -> CachedNet:
    """Return a net of random weights with an empty cache."""
    torch.manual_seed(0)
    return CachedNet(VGG("C", 2, **MODEL.model_dump()), images, PARTS, COMPUTE, tmp_path, pytest.fail, Meter())


def in_another_process(net: CachedNet) -> CachedNet:
    return replace(net, meter=Meter())


@pytest.mark.parametrize("view", [CENTRE, View("dense", 57)])
def test_posteriors_are_those_of_the_parts_images_in_the_view(net: CachedNet, view: View) -> None:
    for part, images in PARTS.items():
        assert torch.equal(net.classify(part, view), posteriors(net.network, net.packed, images, view, COMPUTE))


def test_posteriors_of_each_part_and_view_are_computed_once(net: CachedNet, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [("test", CENTRE), ("test", View("dense", 40)), ("test", View("dense", 57)), ("training", CENTRE)]
    first = [net.classify(part, view) for part, view in asked]
    monkeypatch.setattr("vgg_ablation.evaluate.cache.posteriors", pytest.fail)
    again = [in_another_process(net).classify(part, view) for part, view in asked]
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))


def test_damaged_posteriors_are_computed_again(net: CachedNet) -> None:
    said: list[str] = []
    first = net.classify("test", CENTRE)
    path = net.folder / "test-centre-40.0"
    path.write_bytes(path.read_bytes()[:-1])
    assert torch.equal(replace(net, say=said.append).classify("test", CENTRE), first)
    assert len(said) == 1
    assert str(path) in said[0]


def test_cached_work_costs_what_it_took_at_first(net: CachedNet) -> None:
    meters = []
    for counted in (net, in_another_process(net)):
        counted.classify("test", CROPS)
        counted.classify("training", CENTRE)
        meters.append(counted.meter)
    gmacs = count_view_gmacs(net.network, net.packed, PARTS["test"], CROPS)
    gmacs += count_view_gmacs(net.network, net.packed, PARTS["training"], CENTRE)
    assert [meter.images for meter in meters] == [6, 6]
    assert [meter.operations for meter in meters] == pytest.approx([2e9 * gmacs] * 2)
    assert meters[0].seconds == meters[1].seconds > 0


def of_other_pixels(batches: Batches) -> Batches:
    return replace(batches, pixels=replace(batches.pixels, digest="other"))


@pytest.mark.parametrize(
    ("argument", "change"),
    [
        ("arch", lambda _: "D"),
        ("model", lambda model: model.model_copy(update={"dropout": 0.0})),
        ("weights", lambda _: "other digest"),
        ("packed", lambda images: replace(images, fixed=of_other_pixels(images.fixed))),
        ("packed", lambda images: replace(images, larger=of_other_pixels(images.larger))),
        ("parts", lambda parts: {**parts, "training": parts["test"]}),
        ("parts", lambda parts: {**parts, "test": parts["training"]}),
        ("compute", lambda compute: replace(compute, precision=torch.bfloat16)),
    ],
)
def test_all_that_determines_posteriors_is_in_the_key_of_their_folder(
    images: PackedImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argument: str, change: Callable
) -> None:
    monkeypatch.chdir(tmp_path)
    keyed = {
        "arch": "C", "model": MODEL, "weights": "digest", "packed": images, "parts": PARTS, "compute": COMPUTE,
    }  # fmt: skip
    folder = cache_folder(**keyed)
    assert cache_folder(**keyed) == folder
    assert cache_folder(**{**keyed, argument: change(keyed[argument])}) != folder
