"""Features against torchvision's modules, and against themselves after an interruption."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import vgg as torchvision_vgg
from torchvision.transforms import Normalize

from published_fixtures import random_net
from vgg_ablation.appendix_b import features
from vgg_ablation.appendix_b.descriptors import open_features
from vgg_ablation.appendix_b.features import extract_net, pooled
from vgg_ablation.appendix_b.nets import features_name
from vgg_ablation.device import Compute
from vgg_ablation.errors import StageError
from vgg_ablation.files import read_json, write_bytes, write_json, write_table
from vgg_ablation.images.index import INDEX_COLUMNS, INDEX_FILE, PACKED, PIXELS_FILE, write_checksums
from vgg_ablation.images.pixels import Pixels
from vgg_ablation.model.published import CLASSES, SHAPE
from vgg_ablation.model.vgg import VGG
from vgg_ablation.model.weights import pack
from vgg_ablation.runtime.console import Console

# One image.


@pytest.mark.parametrize("net", ["A", "B_BN"])
def test_features_of_a_crop_are_torchvisions_penultimate_activations(
    net: str, exact: Compute, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, console: Console
) -> None:
    """At full width, from pixels on; with crops of 32 pixels, so that fc6 sees one cell in place of 7 x 7."""
    monkeypatch.setitem(SHAPE, "input_side", 32)
    torch.manual_seed(0)
    with torch.device("meta"):
        reference = torchvision_vgg.VGG(nn.Sequential(), num_classes=CLASSES, init_weights=False)
    reference.features = torchvision_vgg.make_layers(torchvision_vgg.cfgs[net[0]], net.endswith("_BN"))
    reference.avgpool = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
    reference.classifier[0] = nn.Linear(512, 4096)
    reference.classifier[3] = nn.Linear(4096, 4096)
    for layer in reference.features:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    reference.classifier[6] = nn.Linear(4096, CLASSES)
    reference.eval()
    (tmp_path / "weights").mkdir()
    write_bytes(tmp_path / "weights" / "weights.safetensors", pack(reference.state_dict()))
    write_json(tmp_path / "weights" / "source.json", {})
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    images = written(tmp_path / "images", [(32, 32)] * 3)
    extract_net(
        net, tmp_path / "weights", images, tmp_path / "out", scales=(32,), relu=True, compute=exact, console=console
    )

    pixels = Pixels.open(images)
    crops = torch.stack([pixels.image(number).permute(2, 0, 1) for number in range(3)]) / 255
    inputs = Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))(crops)
    reference.classifier = reference.classifier[:5]
    with torch.no_grad():
        expected = (reference(inputs) + reference(inputs.flip(3))) / 2
    assert expected.std() > 0.01
    np.testing.assert_allclose(open_features(tmp_path / "out", 32, 3), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("relu", [True, False])
def test_dense_features_are_the_mean_over_positions_of_the_last_map(relu: bool, exact: Compute) -> None:
    network = random_net("A")
    inputs = torch.randn(2, 3, 64, 96)
    maps = [network.features(shown) for shown in (inputs, inputs.flip(3))]
    assert maps[0].shape[2:] == (2, 3)
    with torch.no_grad():
        cells = [maps[flip][:, :, row, column] for flip in (0, 1) for row in range(2) for column in range(3)]
        expected = torch.stack([network.classifier[: 5 if relu else 4](cell) for cell in cells]).mean(0)
    torch.testing.assert_close(pooled(network, inputs, exact, relu=relu), expected)
    assert bool((expected < 0).any()) is not relu


@pytest.mark.usefixtures("narrow")
def test_a_net_is_whole_after_its_features_are_taken(exact: Compute) -> None:
    network = random_net("A")
    before = list(network.state_dict())
    pooled(network, torch.randn(1, 3, 32, 32), exact, relu=True)
    assert list(network.state_dict()) == before


# All images.


def written(folder: Path, sizes: list[tuple[int, int]]) -> Path:
    """Write random images of these heights and widths as `pack_images` does."""
    folder.mkdir()
    generator, content, rows = np.random.default_rng(0), b"", []
    for number, size in enumerate(sizes):
        row = (number, f"{number}.jpg", "001.x", 0, *size, len(content), str(number))
        rows.append(dict(zip(INDEX_COLUMNS, row, strict=True)))
        content += generator.integers(0, 256, (*size, 3), dtype=np.uint8).tobytes()
    (folder / PIXELS_FILE).write_bytes(content)
    write_table(folder / INDEX_FILE, INDEX_COLUMNS, rows)
    write_checksums(folder, PACKED)
    return folder


class Job(NamedTuple):
    """Features of seven images of three sizes at two scales."""

    weights: Path
    images: Path
    run: Callable[[Path], None]


@pytest.fixture
def job(narrow: None, exact: Compute, tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setattr(features, "_PIXELS", 4 * 32 * 32)  # four images a batch at one scale, two or four at the other
    weights = tmp_path / "weights"
    weights.mkdir()
    write_bytes(weights / "weights.safetensors", pack(random_net("A").state_dict()))
    write_json(weights / "source.json", {"file": "A.pth"})
    images = written(tmp_path / "images", [(48, 64), (64, 48), (48, 64), (48, 48), (48, 64), (48, 64), (64, 48)])

    def run(folder: Path) -> None:
        extract_net("A", weights, images, folder, scales=(32, 48), relu=True, compute=exact, console=console)

    return Job(weights, images, run)


def test_each_row_holds_the_features_of_its_image_at_the_scale(job: Job, exact: Compute, tmp_path: Path) -> None:
    job.run(tmp_path / "out")
    network, pixels = random_net("A"), Pixels.open(job.images)
    deviation, mean = torch.tensor(features.DEVIATION), torch.tensor(features.MEAN)
    for scale in (32, 48):
        found = open_features(tmp_path / "out", scale, 7)
        assert found.shape == (7, 256)
        for number in range(7):
            image = pixels.image(number).permute(2, 0, 1)[None].float()
            height, width = (round(side * scale / 48) for side in image.shape[2:])
            small = nn.functional.interpolate(image, (height, width), mode="bilinear", antialias=True)
            top, left = height % 32 // 2, width % 32 // 2
            small = small[:, :, top : top + height // 32 * 32, left : left + width // 32 * 32]
            inputs = (small / 255 - mean[:, None, None]) / deviation[:, None, None]
            expected = pooled(network, inputs, exact, relu=True)[0]
            np.testing.assert_allclose(found[number], expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("kill_at", [1, 3, 6])
def test_interrupted_features_resume_and_equal_those_of_one_run(
    job: Job, kill_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Features of two batches at the first scale and four at the second; a checkpoint is written after each."""
    calls: list[int] = []

    def counted(network: VGG, inputs: Tensor, compute: Compute, *, relu: bool) -> Tensor:
        calls.append(len(inputs))
        if len(calls) == kill_at:
            raise KeyboardInterrupt
        return pooled(network, inputs, compute, relu=relu)

    monkeypatch.setattr(features, "pooled", counted)
    with pytest.raises(KeyboardInterrupt):
        job.run(tmp_path / "out")
    assert not (tmp_path / "out" / features_name(32)).exists()
    job.run(tmp_path / "out")
    assert len(calls) == 2 + 4 + 1  # the interrupted batch alone was computed twice
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "elsewhere"))
    job.run(tmp_path / "whole")
    for scale in (32, 48):
        one, other = (tmp_path / folder / features_name(scale) for folder in ("out", "whole"))
        assert one.read_bytes() == other.read_bytes()


def test_features_that_are_there_are_not_computed_again(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job.run(tmp_path / "out")
    monkeypatch.setattr(features, "pooled", None)
    job.run(tmp_path / "again")
    info = read_json(tmp_path / "again" / "features.json")
    assert info == read_json(tmp_path / "out" / "features.json")
    assert (info["net"], info["weights"], info["scales"], info["relu"]) == ("A", {"file": "A.pth"}, [32, 48], True)


def test_other_weights_have_other_features(job: Job, tmp_path: Path) -> None:
    job.run(tmp_path / "out")
    write_bytes(job.weights / "weights.safetensors", pack(random_net("A", seed=1).state_dict()))
    job.run(tmp_path / "other")
    assert (tmp_path / "out" / features_name(32)).read_bytes() != (tmp_path / "other" / features_name(32)).read_bytes()


def test_damaged_images_are_refused_in_one_line(job: Job, tmp_path: Path) -> None:
    content = bytearray((job.images / "pixels.uint8").read_bytes())
    content[0] ^= 1
    (job.images / "pixels.uint8").write_bytes(content)
    with pytest.raises(StageError, match="is damaged"):
        job.run(tmp_path / "out")


def test_a_file_of_another_number_of_images_is_refused(tmp_path: Path) -> None:
    np.zeros(12, np.float32).tofile(tmp_path / features_name(32))
    assert open_features(tmp_path, 32, 4).shape == (4, 3)
    with pytest.raises(StageError, match="12 values, which 5 images cannot have"):
        open_features(tmp_path, 32, 5)
