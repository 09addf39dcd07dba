"""`python -m vgg_ablation.dataset`: what a source holds, and a study of it that the settings accept."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from ruamel.yaml import YAML

from vgg_ablation.dataset import __main__ as module
from vgg_ablation.dataset.__main__ import main
from vgg_ablation.dataset.splits import draw_splits
from vgg_ablation.runtime.params import read_studies
from vgg_ablation.runtime.settings import StudySettings

Draw = Callable[..., Image.Image]
Encode = Callable[..., bytes]


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Return what prints the report of a source."""
    monkeypatch.chdir(Path(__file__).parents[2])
    monkeypatch.setenv("DVC_ROOT", str(Path(__file__).parents[2]))

    def run(path: Path, *options: str) -> str:
        main([str(path), *options])
        return capsys.readouterr().out

    return run


@pytest.fixture
def photos(tmp_path: Path, picture: Draw, encoded: Encode) -> Path:
    """Twelve images of two categories in folders, a copy of one, and a text."""
    folder = tmp_path / "photos"
    for number in range(12):
        path = folder / ("cat", "dog")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(picture(40 + number, 60, number)))
    (folder / "dog" / "copy.png").write_bytes((folder / "dog" / "1.png").read_bytes())
    (folder / "dog" / "text.jpg").write_text("no image")
    return folder


def block(printed: str) -> StudySettings:
    """Return the printed study, pasted below `studies:`."""
    _, _, text = printed.partition("params.yaml")
    return StudySettings.model_validate(
        YAML(typ="safe").load("studies:\n" + text.partition("\n\n")[2])["studies"]["own"]
    )


def test_categories_sizes_formats_and_exclusions_are_printed(report: Callable[..., str], photos: Path) -> None:
    lines = report(photos).splitlines()
    assert {"  cat: 6", "  dog: 6", "formats: PNG 12", "smallest side, pixels: 40 to 51, median 46"} <= set(lines)
    assert {"left out: 2", "    dog/copy.png: duplicate of dog/1.png", "    dog/text.jpg: not an image"} <= set(lines)


def test_the_printed_study_is_valid_and_leaves_test_images(report: Callable[..., str], photos: Path) -> None:
    data = block(report(photos)).data
    assert (data.source, data.train_per_class) == (str(photos), 4)


def test_as_many_steps_are_printed_as_the_other_study_has(report: Callable[..., str], photos: Path) -> None:
    """Here eight images are drawn for training and validation."""
    study = YAML(typ="safe").load(Path("params.yaml"))["studies"]["caltech256"]
    epochs = block(report(photos, "--like", "caltech256")).train.epochs
    assert epochs == pytest.approx(study["train"]["epochs"] * 256 * study["data"]["train_per_class"] / 8, rel=0.01)


def test_a_study_that_does_not_say_how_many_images_it_trains_on_has_no_study_like_it(
    report: Callable[..., str], photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = read_studies(StudySettings)["sample"].model_copy(update={"data": block(report(photos)).data})
    monkeypatch.setattr(module, "read_studies", lambda _: {"own": own})
    with pytest.raises(SystemExit):
        report(photos, "--like", "own")
    assert "--like: the settings of this study do not say how many images" in capsys.readouterr().err


@pytest.mark.parametrize("left", [1, 2])
def test_a_category_too_small_to_train_validate_and_test_is_named_and_left_out_of_the_study(
    report: Callable[..., str], photos: Path, picture: Draw, encoded: Encode, left: int
) -> None:
    (photos / "eel").mkdir()
    for number in range(left):
        (photos / "eel" / f"{number}.png").write_bytes(encoded(picture(50, 50, 100 + number)))
    printed = report(photos)
    assert f"not in the settings, as too small to train, validate and test on: eel ({left})" in printed.splitlines()
    data = block(printed).data
    assert (data.categories, data.train_per_class) == (("cat", "dog"), 4)


def test_no_study_is_printed_if_one_category_is_left(report: Callable[..., str], photos: Path, tmp_path: Path) -> None:
    for path in sorted((photos / "dog").glob("[0-9]*.png"))[2:]:
        path.rename(tmp_path / path.name)
    printed = report(photos)
    assert printed.endswith("settings: none; a study needs at least two categories with enough usable images\n")


def test_three_images_a_category_are_enough(report: Callable[..., str], photos: Path, tmp_path: Path) -> None:
    for path in sorted((photos / "dog").glob("[0-9]*.png"))[3:]:
        path.rename(tmp_path / path.name)
    data = block(report(photos)).data
    parts = draw_splits(["cat"] * 6 + ["dog"] * 3, data)[0]
    assert (data.categories, sorted(parts[6:])) == ("all", ["test", "train", "validation"])


def split_of(photos: Path, folder: Path) -> Path:
    """Move the photos into folders for training and test, two of each category to test on."""
    for category in ("cat", "dog"):
        for number, path in enumerate(sorted((photos / category).glob("[0-9]*.png"))):
            target = folder / ("test" if number < 2 else "train") / category
            target.mkdir(parents=True, exist_ok=True)
            path.rename(target / path.name)
    return folder


def test_folders_of_a_split_are_printed_and_used(report: Callable[..., str], photos: Path, tmp_path: Path) -> None:
    printed = report(split_of(photos, tmp_path / "split"))
    assert "  cat: 6 (test 2, train 4)" in printed
    assert block(printed).data.train_per_class == "folders"


def test_a_category_that_a_ready_made_split_does_not_test_is_left_out(
    report: Callable[..., str], photos: Path, picture: Draw, encoded: Encode, tmp_path: Path
) -> None:
    untested = split_of(photos, tmp_path / "split") / "train" / "eel"
    untested.mkdir()
    for number in range(5):
        (untested / f"{number}.png").write_bytes(encoded(picture(50, 50, 100 + number)))
    printed = report(tmp_path / "split")
    assert "not in the settings, as too small to train, validate and test on: eel (5)" in printed
    assert block(printed).data.categories == ("cat", "dog")
