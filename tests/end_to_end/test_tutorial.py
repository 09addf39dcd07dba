"""The commands of docs/tutorial.md, pasted one after the other into a shell, in a fresh clone of this repository."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from repository import Finished

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(1800)]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def followed(committed_copy, tmp_path_factory) -> tuple[Path, Finished]:
    """The reader's clone after the last command, and what the commands printed."""
    folder = tmp_path_factory.mktemp("tutorial")
    here = Path(sys.executable).parent
    environment = f"mkdir .venv\nln -s {here} .venv/bin\ntouch .venv/.set-up\n"  # for the one that takes minutes
    commands = "".join(blocks("sh"))
    assert commands.count("ADDRESS") == commands.count("make set-up") == 1
    for epochs in ("train.epochs=80", "tune.epochs=40", "tune.prune_after=20"):
        name, _, number = epochs.partition("=")
        assert commands.count(epochs) == 1
        commands = commands.replace(epochs, f"{name}={int(number) // 4}")
    commands = commands.replace("ADDRESS", str(committed_copy("tutorial").folder))
    commands = commands.replace("make set-up", environment + "make set-up")
    done = subprocess.run(
        ["bash", "-exo", "pipefail", "-c", commands],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(folder / "vgg-ablation/src")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return folder / "vgg-ablation", Finished(done.returncode, done.stdout, done.stderr)


def test_shown_output_is_printed(followed):
    _, done = followed
    assert len(blocks("text")) > 1
    for shown in blocks("text"):
        assert shown in done.output


def test_study_of_the_readers_images_is_selected(followed):
    folder, _ = followed
    assert re.search(r"^study: own\b", (folder / "params.yaml").read_text(), re.MULTILINE)
    assert {image.name for image in folder.parent.joinpath("photos").iterdir()} == {"ball", "cross", "torus"}
    summary = json.loads((folder / "data/processed/summary.json").read_text())
    assert "ball" in json.dumps(summary)


def test_a_batch_is_drawn(followed):
    folder, _ = followed
    with Image.open(folder / "training-batch.png") as batch:
        batch.load()


def test_last_report_is_on_both_nets(followed):
    folder, _ = followed
    table = pd.read_csv(folder / "reports/ablation.csv")
    assert {"A_BN", "C_BN"} <= set(table["arch"])
    assert (table["runs"] == 2).all()
    assert "study `own`" in (folder / "reports/ablation.md").read_text()


def test_last_report_has_the_section_that_compares_them(followed):
    folder, _ = followed
    (section,) = re.findall(r"\*(Which net has the lower error)\*", PAGE)
    report = (folder / "reports/ablation.md").read_text()
    assert "A_BN" in report.split(f"## {section}", 1)[1]
    assert "**Depth: not tested.** This needs the nets A, B, C, D and E." in report


def test_each_photo_gets_an_answer(followed):
    _, done = followed
    answers = re.findall(r"^\.\./photos/(\w+)/\1-00\.jpg\n +[\d.]+ %  (\w+)$", done.output, re.MULTILINE)
    assert [photo for photo, _ in answers] == ["ball", "cross", "torus"]
    assert {answer for _, answer in answers} <= {"ball", "cross", "torus"}


def test_exported_folder_has_what_the_page_names(followed):
    folder, _ = followed
    files = {file.name for file in (folder / "exports/A_BN-fixed").iterdir()}
    assert {"README.md", "classes.txt", "run-0.onnx", "run-1.onnx"} <= files
