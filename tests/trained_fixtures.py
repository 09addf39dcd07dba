"""A tiny study run by the real stages in a folder: one net with batch normalisation, at two training scales."""

import io
import runpy
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from PIL import Image

ROOT = Path(__file__).parents[1]
PARAMS = ROOT / "params.yaml"
CATEGORIES = ("001.red", "002.green", "003.blue")
TINT = ((120, 0, 0), (0, 120, 0), (0, 0, 120))
IMAGES = 10  # of each category


@dataclass(frozen=True)
class Trained:
    """Where the study is, and the files of its images by path in the index."""

    folder: Path
    files: dict[str, Path]


def run_stages(*commands: str) -> None:
    """Run stage scripts in this process, in the current folder."""
    argv = sys.argv
    try:
        for command in commands:
            sys.argv = command.split()
            runpy.run_path(str(ROOT / "stages" / sys.argv[0]) + ".py")
    finally:
        sys.argv = argv


@pytest.fixture(scope="session")
def trained_study(
    tmp_path_factory: pytest.TempPathFactory, picture: Callable[..., Image.Image], encoded: Callable[..., bytes]
) -> Trained:
    """A_BN after a few epochs on pictures with a tint, two runs, tested dense at the fixed and the large scale."""
    folder = tmp_path_factory.mktemp("trained")
    files: dict[str, Path] = {}
    with tarfile.open(folder / "images.tar", "w") as tar:
        for label, category in enumerate(CATEGORIES):
            for number in range(IMAGES):
                image = picture(61 + number, 90 - 3 * number, seed=100 * label + number)
                image = Image.blend(image, Image.new("RGB", image.size, TINT[label]), 0.3)
                kind = ("JPEG", "PNG")[number % 2]
                name = f"{category}/{label + 1:03d}_{number + 1:04d}.jpg"
                content = encoded(image if number else image.convert("L"), kind)
                files[name] = folder / "photos" / name
                files[name].parent.mkdir(parents=True, exist_ok=True)
                files[name].write_bytes(content)
                entry = tarfile.TarInfo(f"256_ObjectCategories/{name}")
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    params = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
    block = params["studies"]["sample"]
    block["data"] |= {"source": "images.tar", "train_per_class": 5, "validation_fraction": 0.4, "splits": 2}
    block["scales"] = {
        "fixed": {"train": 40, "test": [36, 40, 44]},
        "large": {"train": 50, "test": [44, 48, 52]},
        "jitter": {"train": [40, 56], "test": [40, 48, 56]},
    }
    block["model"] |= {"width": 0.125}
    block["train"] |= {"epochs": 16}
    block["fine_tune"]["epochs"] = 2
    block["tune"] |= {"trials": 1, "epochs": 1, "random_trials": 1, "round_size": 1, "batch_size": [4]}
    block["evaluate"]["protocols"] |= {"fixed": ["centre"], "large": ["centre", "dense"]}
    params |= {"study": "tiny", "arch": "A", "norm": "batch", "studies": {"tiny": block}}
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        patched.setenv("DVC_ROOT", str(folder))
        for module in ("train.net", "train.tune", "evaluate.net"):
            patched.setattr(f"vgg_ablation.{module}.matmul_rate", lambda _: 1e9)  # takes a second
        run_stages(
            "download", "preprocess", "near_duplicates", "tune A batch", "train A batch fixed", "train A batch large",
            "evaluate A batch fixed", "evaluate A batch large",
        )  # fmt: skip
    return Trained(folder, files)


@pytest.fixture
def trained(trained_study: Trained, monkeypatch: pytest.MonkeyPatch) -> Trained:
    """Change to the study's folder; change no file there."""
    monkeypatch.chdir(trained_study.folder)
    return trained_study
