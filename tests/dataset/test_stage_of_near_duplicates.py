import csv
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from vgg_ablation.images.index import PIXELS_FILE

SCRIPT = Path(__file__).parents[2] / "stages" / "near_duplicates.py"


def run_stage(folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DVC")}
    return subprocess.run(
        [sys.executable, str(SCRIPT)], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture
def study(tmp_path: Path, scenes: list[Image.Image], pack_arrays: Callable[[Path, Sequence[np.ndarray]], None]) -> Path:
    """A folder as `preprocess` leaves it, of six scenes, two of them a second time, and one image of one shade."""
    again = [scenes[4], ImageOps.mirror(scenes[2])]
    arrays = [*map(np.asarray, [*scenes, *again]), np.zeros((72, 72, 3), np.uint8)]
    pack_arrays(tmp_path / "data" / "processed", arrays)
    return tmp_path


def test_the_stage_writes_pairs_and_cost_and_the_same_pairs_again(study: Path) -> None:
    first = run_stage(study)
    assert first.returncode == 0, first.stderr
    pairs = study / "data" / "near-duplicates.csv"
    with pairs.open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["image", "other", "path", "other_path", "category", "other_category", "distance"]
    assert [row[:6] for row in rows[1:]] == [
        ["2", "7", "2.jpg", "7.jpg", "003.cone", "008.octahedron"],
        ["4", "6", "4.jpg", "6.jpg", "005.cube", "007.dumbbell"],
    ]
    assert "2 pairs among 9 images (1 too faint to be compared)" in first.stdout
    with (study / "data" / "cost" / "near_duplicates.csv").open(newline="") as file:
        (cost,) = csv.DictReader(file)
    assert (cost["stage"], cost["arch"], cost["images"], cost["threads"]) == ("near_duplicates", "", "9", "1")
    before = pairs.read_bytes()
    assert run_stage(study).returncode == 0
    assert pairs.read_bytes() == before


def test_damaged_pixels_are_refused_in_one_line(study: Path) -> None:
    pixels = study / "data" / "processed" / PIXELS_FILE
    content = bytearray(pixels.read_bytes())
    content[1000] ^= 1
    pixels.write_bytes(content)
    done = run_stage(study)
    assert done.returncode == 1
    assert done.stderr.startswith("near_duplicates: data/processed/pixels.uint8 is damaged")
    assert done.stderr.count("\n") == 1
    assert not (study / "data" / "near-duplicates.csv").exists()
