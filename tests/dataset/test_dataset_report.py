"""`python -m vgg_ablation.dataset`: what a source holds, and a study of it that the settings accept."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from PIL import Image

from vgg_ablation.dataset.__main__ import main
from vgg_ablation.runtime.settings import StudySettings

Draw = Callable[..., Image.Image]
Encode = Callable[..., bytes]


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[Path], str]:
    """Return what prints the report of a source."""
    monkeypatch.chdir(Path(__file__).parents[2])
    monkeypatch.setenv("DVC_ROOT", str(Path(__file__).parents[2]))

    def run(path: Path) -> str:
        main([str(path)])
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
    return StudySettings.model_validate(yaml.safe_load("studies:\n" + text.partition("\n\n")[2])["studies"]["own"])


def test_categories_sizes_formats_and_exclusions_are_printed(report: Callable[[Path], str], photos: Path) -> None:
    lines = report(photos).splitlines()
    assert {"  cat: 6", "  dog: 6", "formats: PNG 12", "smallest side, pixels: 40 to 51, median 46"} <= set(lines)
    assert {"left out: 2", "    dog/copy.png: duplicate of dog/1.png", "    dog/text.jpg: not an image"} <= set(lines)


def test_the_printed_study_is_valid_and_leaves_test_images(report: Callable[[Path], str], photos: Path) -> None:
    data = block(report(photos)).data
    assert (data.source, data.train_per_class) == (str(photos), 4)


def test_folders_of_a_split_are_printed_and_used(report: Callable[[Path], str], photos: Path, tmp_path: Path) -> None:
    for part in ("train", "test"):
        (tmp_path / "split" / part).mkdir(parents=True)
    for category in ("cat", "dog"):
        for number, path in enumerate(sorted((photos / category).glob("[0-9]*.png"))):
            target = tmp_path / "split" / ("test" if number < 2 else "train") / category
            target.mkdir(exist_ok=True)
            path.rename(target / path.name)
    printed = report(tmp_path / "split")
    assert "  cat: 6 (test 2, train 4)" in printed
    assert block(printed).data.train_per_class == "folders"
