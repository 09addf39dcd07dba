"""Real `dvc` on appendix B: six images, and random nets of half the width that this machine serves as torchvision's."""

import hashlib
import io
import re
import shutil
import signal
import tarfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
import yaml
from repository import Repository

from vgg_ablation.evaluate.arrays import read_arrays
from vgg_ablation.files import read_json
from vgg_ablation.model.published import CLASSES
from vgg_ablation.model.vgg import VGG

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(1800)]

SIZES = [(64, 64), (64, 66), (64, 68)]
"""Sides of the images of a category: no two in one batch."""
MODELS = {"A": "vgg11", "D": "vgg16", "E": "vgg19"}
SHAPE = {"input_side": 224, "width": 0.5}
SETTINGS = {
    "data": {
        "source": "images/tiny.tar", "categories": "all", "clutter": False, "train_per_class": 2,
        "validation_fraction": 0.5, "splits": 2, "seed": 0,
    },
    "weights": "torchvision", "scales": [224, 256], "relu": True, "normalise_scales": False,
    "descriptors": ["single", "averaged", "stacked"], "penalties": [1, 10], "threads": 1,
}  # fmt: skip
A = ["settings", "archive", "images", "weights@A-none", "features@A-none", "classify@A-none", "table-11"]


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


def publish(folder: Path, code: Path) -> None:
    """Save random nets to `folder`, and let the repository's code announce these files as torchvision's."""
    text = code.read_text()
    torch.manual_seed(0)
    for net, model in MODELS.items():
        torch.save(VGG(net, CLASSES, **SHAPE).state_dict(), folder / "new.pth")
        with (folder / "new.pth").open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        path = (folder / "new.pth").rename(folder / f"{model}-{digest[:8]}.pth")
        announced = f'"{net}": Official("{path.name}", {path.stat().st_size / 2**20:.3f}, "{digest}")'
        text, count = re.subn(rf'"{net}": Official\(.*\)', announced, text)
        assert count == 1
    text, count = re.subn("SHAPE: .*", f"SHAPE = {SHAPE}", text)
    assert count == 1
    code.write_text(text)


def draw_images(path: Path) -> None:
    """Write two categories of noise in two colours."""
    draws = np.random.default_rng(0)
    with tarfile.open(path, "w") as tar:
        for label in range(2):
            for number, size in enumerate(SIZES):
                pixels = draws.integers(0, 128, (*size, 3), dtype=np.uint8)
                pixels[:, :, label] += 120
                content = b"P6 %d %d 255\n" % size[::-1] + pixels.tobytes()
                entry = tarfile.TarInfo(f"256_ObjectCategories/{label + 1:03d}.x/{label + 1:03d}_{number + 1:04d}.ppm")
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))


@pytest.fixture(scope="module")
def repository(committed_copy, tmp_path_factory) -> Iterator[Repository]:
    """A repository whose appendix B takes seconds a net, while its server runs."""
    folder = tmp_path_factory.mktemp("published")
    served = ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(folder)))

    def prepare(copy: Path) -> None:
        publish(folder, copy / "src/vgg_ablation/model/published.py")
        code = copy / "src/vgg_ablation/imagenet.py"
        address = f"http://127.0.0.1:{served.server_port}/"
        code.write_text(code.read_text().replace("https://download.pytorch.org/models/", address))
        params = yaml.safe_load((copy / "params.yaml").read_text()) | {"arch": "A", "norm": "none"}
        params["appendix_b"] = SETTINGS
        (copy / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
        (copy / "images").mkdir()
        draw_images(copy / "images/tiny.tar")

    made = committed_copy("appendix-b", ("dvc.lock", "stages/dvc.lock", "tests/", "reports/"), prepare)
    with pytest.MonkeyPatch.context() as patched, served:
        patched.setenv("NO_PROXY", "127.0.0.1")
        patched.setenv("CHECKPOINT_SECONDS", "0")
        patched.delenv("TORCHVISION_MIRRORS", raising=False)
        thread = threading.Thread(target=served.serve_forever, args=(0.01,))
        thread.start()
        yield made
        served.shutdown()
        thread.join()
    for large in (folder, made.folder):
        shutil.rmtree(large)


def kill_during_features(repository: Repository, *command: str) -> None:
    """Run a command, and kill it with all its children once the features of the first image are saved."""
    state = repository.folder / ".state/appendix-b-features"
    with repository.start(*command) as process:
        while not list(state.glob("*/done-224*")):
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        for one in [*psutil.Process(process.pid).children(recursive=True), process]:
            one.send_signal(signal.SIGKILL)
        process.communicate()


@pytest.fixture(scope="module")
def of_a(repository) -> tuple[Repository, list[str]]:
    """The repository after `dvc repro` of appendix B, killed while it computes features; the stages that then ran."""
    kill_during_features(repository, "dvc", "repro", "appendix_b/dvc.yaml")
    assert not (repository.folder / "results/appendix-b/none/A/features").exists()
    done = repository.succeed("dvc", "repro", "appendix_b/dvc.yaml")
    return repository, [stage.rpartition(":")[2] for stage in done.stages]


def test_after_a_kill_the_remaining_stages_run_and_then_nothing(of_a):
    repository, stages = of_a
    assert stages == A[4:]
    assert repository.succeed("dvc", "repro", "appendix_b/dvc.yaml").stages == []


def test_the_features_after_a_kill_are_those_of_an_uninterrupted_run(of_a):
    repository, _ = of_a
    folder = repository.folder / "results/appendix-b/none/A/features"
    names = ("features-224.float32", "features-256.float32")
    resumed = [(folder / name).read_bytes() for name in names]
    assert [len(content) for content in resumed] == [6 * 2048 * 4] * 2
    shutil.rmtree(repository.folder / ".state/appendix-b-features")
    repository.succeed("python", "appendix_b/stages/features.py", "A", "none")
    assert [(folder / name).read_bytes() for name in names] == resumed


def test_the_report_has_the_net_and_says_what_it_was_made_from(of_a):
    lines = (of_a[0].folder / "reports/appendix-b/report.md").read_text().splitlines()
    assert "Images: **not the official archive of Caltech-256**, but `images/tiny.tar`, 2 classes." in lines
    assert any(line.startswith("Weights: torchvision's `IMAGENET1K_V1`.") for line in lines)
    assert any(re.match(r"\| A +\| 11 +\| stacked ", line) for line in lines)
    assert (of_a[0].folder / "reports/appendix-b/recall-by-depth.svg").exists()


def test_d_and_e_are_classified_together_from_the_features_of_each(of_a):
    repository, _ = of_a
    done = repository.succeed("dvc", "repro", "appendix_b/stages/dvc.yaml:classify-both@none")
    ran = [stage.rpartition(":")[2] for stage in done.stages]
    of_nets = [f"{part}@{net}-none" for part in ("features", "weights") for net in "DE"]
    assert sorted(ran) == ["classify-both@none", *of_nets]
    folder = repository.folder / "results/appendix-b/none"
    found = read_json(folder / "D+E/classification/results.json")
    own = [read_json(folder / net / "features/features.json") for net in "DE"]
    assert found["features"] == own
    assert [info["weights"]["published"] for info in own] == [True, True]
    assert list(found["variants"]) == ["single-224", "single-256", "averaged", "stacked"]
    decisions = read_arrays(folder / "D+E/classification/decisions.npz")
    assert {len(decisions[f"stacked/{split}"]) for split in range(2)} == {2}
