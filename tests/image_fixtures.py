"""Image files and archives made for the data's tests."""

import io
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

OFFICIAL = Path(__file__).parents[2] / "shared" / "data" / "caltech256-14.tar"


@pytest.fixture(scope="session")
def photographs() -> Path:
    """The tar of real images that is beside the repository where it is developed."""
    if not OFFICIAL.exists():
        pytest.skip(f"no {OFFICIAL}: 14 categories of the official archive")
    return OFFICIAL


@pytest.fixture(scope="session")
def picture() -> Callable[..., Image.Image]:
    """Return what draws a smooth RGB picture of a size, another for each seed."""

    def draw(width: int, height: int, seed: int = 0) -> Image.Image:
        coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
        return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)

    return draw


@pytest.fixture(scope="session")
def encoded() -> Callable[..., bytes]:
    """Return what encodes an image as a file's bytes."""

    def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        return buffer.getvalue()

    return encode


@pytest.fixture
def tar(tmp_path: Path) -> Callable[..., Path]:
    """Return what writes named contents, and entries of other kinds, as an uncompressed tar."""

    def write(files: Mapping[str, bytes], *others: tarfile.TarInfo, name: str = "images.tar") -> Path:
        path = tmp_path / name
        with tarfile.open(path, "w") as archive:
            for entry in others:
                archive.addfile(entry)
            for file_name, content in files.items():
                entry = tarfile.TarInfo(file_name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
        return path

    return write
