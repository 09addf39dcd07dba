import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.speed import stand_in
from benchmarks.speed.images import lay_out
from benchmarks.speed.preprocessing import Decoding, Preprocessing
from vgg_ablation.dataset.archive import members
from vgg_ablation.images.pixels import Pixels
from vgg_ablation.runtime.console import Console

OFFICIAL_FILES = 30_607
Pictures = tuple[list[bytes], list[float]]


@pytest.fixture(scope="module", autouse=True)
def drawn_once() -> Iterator[Pictures]:
    """Draw the stand-in's pictures once, as that takes seconds."""
    pictures = stand_in.pictures()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(stand_in, "pictures", lambda: pictures)
        yield pictures


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-in's every 3000th file, each in a category of its own."""
    path = tmp_path_factory.mktemp("archive") / "images.tar"
    stand_in.write(path, 3000)
    return path


def test_the_stand_in_has_the_official_number_of_files_and_categories() -> None:
    paths = stand_in.listing()
    assert len(set(paths)) == len(paths) == OFFICIAL_FILES
    assert len({path.split("/")[1] for path in paths}) == 257


def test_the_stand_in_has_about_the_official_number_of_bytes(drawn_once: Pictures) -> None:
    mean = sum(len(jpeg) * share for jpeg, share in zip(*drawn_once, strict=True))
    assert 1.1e9 < OFFICIAL_FILES * mean < 1.25e9


def test_the_tar_holds_the_listing_and_has_the_same_bytes_each_time(archive: Path, tmp_path: Path) -> None:
    with tarfile.open(archive) as tar:
        assert tar.getnames() == stand_in.listing(3000)
    stand_in.write(tmp_path / "again.tar", 3000)
    assert (tmp_path / "again.tar").read_bytes() == archive.read_bytes()


def test_every_file_is_preprocessed_and_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stand_in, "CATEGORIES", 2)  # so that each has images to train on and to test on
    archive = tmp_path / "images.tar"
    stand_in.write(archive, 3000)
    assert [work(archive, 32).repeat().images for work in (Preprocessing, Decoding)] == [11, 11]


def test_files_and_packed_images_are_the_same_images_in_the_same_order(archive: Path, tmp_path: Path) -> None:
    images = lay_out(archive, 7, 3, 32, tmp_path, Console("test"))
    assert images.count == 6  # whole batches
    files = sorted(path.relative_to(images.files).as_posix() for path in images.files.rglob("*.jpg"))
    pixels = Pixels.open(images.packed)
    assert [path.split("/")[0] for path in files] == [pixels.categories[label] for label in pixels.labels[:6].tolist()]
    by_path = {member.path: member for member in members(archive)}
    for path in files:
        with archive.open("rb") as tar:
            tar.seek(by_path[path].offset)
            assert (images.files / path).read_bytes() == tar.read(by_path[path].size)
