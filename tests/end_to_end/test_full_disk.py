"""Each stage on a disk that fills up half-way: one clear line, no torn file, and the same bytes once there is room."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from repository import Repository, holds_times

from vgg_ablation.evaluate.arrays import reading, writing
from vgg_ablation.model.table1 import ABLATION

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(1800)]

STAGES = {
    "check": ["data/settings-are-valid.txt"],
    "download": ["data/raw"],
    "preprocess": ["data/processed"],
    "near_duplicates": ["data/near-duplicates"],
    "tune C none": ["results/none/C/search", ".state/tune"],
    "train C none fixed": ["results/none/C/fixed/training"],
    "evaluate C none fixed": ["results/none/C/fixed/evaluation"],
    "aggregate nets all none fixed": ["results/none/all/fixed"],
    "report": ["reports"],
}
"""Where each stage writes."""
USUAL = (("preprocess", 0.5), ("train C none fixed", 0.5))
"""Stages, and the share of their files that still fits; the others are tested by `make torture`."""
DISK = 64 * 2**20  # bytes
PAGE = 4096  # bytes; a file on a tmpfs takes whole pages


class Finished:
    """A repository in which stages are run by hand for C, whose results stand for all nets' in `aggregate`."""

    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        self._left = list(STAGES)

    def up_to(self, stage: str) -> Repository:
        """Run the stages up to `stage` that were not run yet."""
        while stage in self._left:
            if (name := self._left.pop(0)) == "aggregate nets all none fixed":
                for arch in set(ABLATION) - {"C"}:
                    stand_in(self.repository.folder / "results/none", arch)
            self.repository.succeed(*command(name))
        return self.repository


@pytest.fixture(scope="module")
def finished(origin, tmp_path_factory) -> Finished:
    repository = origin.clone(tmp_path_factory.mktemp("finished") / "repository")
    params = yaml.safe_load((repository.folder / "params.yaml").read_text())
    params["arch"] = "C"
    (repository.folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    return Finished(repository)


def stand_in(root: Path, arch: str) -> None:
    """Copy C's results as those of another net."""
    shutil.copytree(root / "C/fixed", root / arch / "fixed")
    results, folder = root / "C/fixed/evaluation", root / arch / "fixed/evaluation"
    (folder / "decisions.npz").unlink()
    with reading(results / "decisions.npz") as arrays, writing(folder / "decisions.npz") as write:
        for name in arrays.names:
            write(name.replace("C/", f"{arch}/", 1) if name.startswith("C/") else name, arrays[name])
    metrics = (folder / "metrics.json").read_text().replace('"arch": "C"', f'"arch": "{arch}"')
    (folder / "metrics.json").unlink()
    (folder / "metrics.json").write_text(metrics)


@pytest.fixture
def disk(tmp_path) -> Iterator[Path]:
    """A disk of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def command(stage: str) -> list[str]:
    name, *arguments = stage.split()
    return ["python", f"stages/{name}.py", *arguments]


def written(repository: Repository, stage: str) -> dict[str, bytes]:
    """The files that a stage writes."""
    places = [repository.folder / name for name in STAGES[stage]]
    files = [file for place in places for file in (place.rglob("*") if place.is_dir() else [place])]
    return {str(file.relative_to(repository.folder)): file.read_bytes() for file in files if file.is_file()}


def fill(disk: Path, left: int) -> Path:
    """Leave `left` bytes free."""
    ballast = disk / "ballast"
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(disk).free - left)
    return ballast


@pytest.mark.parametrize(
    ("stage", "share"),
    [
        pytest.param(stage, share, marks=() if (stage, share) in USUAL else pytest.mark.torture)
        for stage in STAGES
        for share in (0.0, 0.5)
    ],
)
def test_a_disk_that_fills_up_is_one_clear_line_and_no_torn_file(finished, disk, stage, share):
    repository = Repository(disk / "repository")
    done = finished.up_to(stage)
    shutil.copytree(
        done.folder, repository.folder, symlinks=True, ignore=shutil.ignore_patterns(".git", ".dvc", "stages.lock")
    )
    expected = written(done, stage)
    for name in expected:
        (repository.folder / name).unlink()
    pages = sum(-(-len(content) // PAGE) for content in expected.values())
    ballast = fill(disk, int(share * pages) * PAGE)

    stopped = repository.run(*command(stage))
    assert stopped.status == 1, stopped.output
    (line,) = stopped.errors.splitlines()
    assert re.fullmatch(
        rf"{stage}: \S+: the disk is full: .*\d \w+ (more )?would be needed, \S+ \w+ are free; .* run it again", line
    )
    assert list(repository.folder.rglob("*.partial")) == []
    for name, content in written(repository, stage).items():
        if not name.startswith(".state") and not holds_times(name):
            assert content == expected[name], f"{name} is torn"

    ballast.unlink()
    repository.succeed(*command(stage))
    results = {name: content for name, content in expected.items() if not name.startswith(".state")}
    assert {name: written(repository, stage)[name] for name in results if not holds_times(name)} == {
        name: content for name, content in results.items() if not holds_times(name)
    }
