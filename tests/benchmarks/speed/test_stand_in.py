import tarfile
from pathlib import Path

import pytest

from benchmarks.speed import stand_in
from benchmarks.speed.images import lay_out
from benchmarks.speed.preprocessing import Decoding, Preprocessing
from vgg_ablation.dataset.archive import members
from vgg_ablation.images.pixels import Pixels
from vgg_ablation.runtime.console import Stage

OFFICIAL_FILES = 30_607


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-in's every 3000th file, each in a category of its own."""
    path = tmp_path_factory.mktemp("archive") / "images.tar"
    stand_in.write(path, 3000)
    return path


def test_the_whole_stand_in_has_the_official_number_of_files_and_categories() -> None:
    paths = stand_in.listing()
    assert len(set(paths)) == len(paths) == OFFICIAL_FILES
    assert len({path.split("/")[1] for path in paths}) == 257
    assert paths == sorted(paths)


def test_the_tar_holds_the_listing_and_is_the_same_each_time(archive: Path, tmp_path: Path) -> None:
    with tarfile.open(archive) as tar:
        assert tar.getnames() == stand_in.listing(3000)
    assert len(members(archive)) == 11
    stand_in.write(tmp_path / "again.tar", 3000)
    assert (tmp_path / "again.tar").read_bytes() == archive.read_bytes()


def test_the_pictures_are_of_the_official_archives_size_and_the_commonest_is_not_the_largest() -> None:
    jpegs, shares = stand_in._pictures()
    sizes = [len(jpeg) for jpeg in jpegs]
    mean = sum(size * share for size, share in zip(sizes, shares, strict=True))
    assert 1.1e9 < OFFICIAL_FILES * mean < 1.25e9
    assert max(sizes) > 20 * mean


def test_every_file_is_preprocessed_and_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two categories, as some images of each are to train on and some to test on."""
    monkeypatch.setattr(stand_in, "CATEGORIES", 2)
    archive = tmp_path / "images.tar"
    stand_in.write(archive, 3000)
    for done in (Preprocessing(archive, 32).repeat(), Decoding(archive, 32).repeat()):
        assert done.images == 11
        assert done.seconds > 0
        assert done.peak_memory_mib is None or done.peak_memory_mib > 10


def test_files_and_packed_images_are_the_same_images_in_the_same_order(archive: Path, tmp_path: Path) -> None:
    images = lay_out(archive, 7, 3, 32, tmp_path, Stage("test"))
    assert images.count == 6  # whole batches
    files = sorted(path.relative_to(images.files).as_posix() for path in images.files.rglob("*.jpg"))
    pixels = Pixels.open(images.packed)
    assert [path.split("/")[0] for path in files] == [pixels.categories[label] for label in pixels.labels[:6].tolist()]
    by_path = {member.path: member for member in members(archive)}
    for path in files:
        with archive.open("rb") as tar:
            tar.seek(by_path[path].offset)
            assert (images.files / path).read_bytes() == tar.read(by_path[path].size)
