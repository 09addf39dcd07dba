"""Real `dvc` on one net of a tiny study in a fresh clone, on real images where they are at hand, and after a kill."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from repository import Repository

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(600)]

C_ALONE = ["check", "download", "preprocess", "tune@C", "train@C", "evaluate@C", "report"]


@pytest.fixture(scope="module")
def only_c(origin, tmp_path_factory):
    """A fresh clone after `dvc exp run -S arch=C`, with what it printed."""
    repository = origin.clone(tmp_path_factory.mktemp("c") / "repository")
    return repository, repository.succeed("dvc", "exp", "run", "-S", "arch=C")


def test_one_net_in_a_fresh_clone_runs_its_own_stages_alone(only_c):
    repository, done = only_c
    assert sorted(done.stages) == sorted(C_ALONE)
    assert pd.read_csv(repository.folder / "reports/ablation.csv")["arch"].unique().tolist() == ["C"]


def test_a_killed_search_goes_on_to_the_bytes_of_an_uninterrupted_one(only_c, tmp_path):
    finished, _ = only_c
    shutil.copytree(finished.folder, tmp_path / "killed", symlinks=True)
    repository = Repository(tmp_path / "killed")
    shutil.rmtree(repository.folder / ".state")
    shutil.rmtree(repository.folder / "results")
    with repository.start("python", "stages/tune.py", "C") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("tune C: trial 1/2")
        process.kill()
    assert not (repository.folder / "results/C/trials.csv").exists()
    again = repository.succeed("python", "stages/tune.py", "C")
    assert "tune C: trial 2/2" in again.output
    for name in ("trials.csv", "best.json"):
        assert (repository.folder / "results/C" / name).read_bytes() == (
            finished.folder / "results/C" / name
        ).read_bytes()
    (journal,) = repository.folder.glob(".state/tune/*/journal.log")
    started = [line for line in journal.read_text().splitlines() if '"op_code": 4' in line]
    assert len(started) <= 3, "trial 1 was taken from the journal, not run again"


@pytest.mark.skipif(
    not (Path(__file__).parents[3] / "shared/data/caltech256-14.tar").exists(),
    reason="no real images beside this repository",
)
def test_real_images_reach_the_report(origin, tmp_path):
    repository = origin.clone(tmp_path / "real")
    source = Path(__file__).parents[3] / "shared/data/caltech256-14.tar"
    done = repository.succeed(
        "dvc", "exp", "run", "-S", "arch=A", "-S", f"studies.tiny.data.source={source}",
        "-S", "studies.tiny.data.categories=[backpack,car-side-101,touring-bike]",
    )  # fmt: skip
    assert "train@A" in done.stages
    assert (
        "224.touring-bike/224_0095.jpg,duplicate of" in (repository.folder / "data/processed/excluded.csv").read_text()
    )
    assert "tiny" in (repository.folder / "reports/ablation.md").read_text().splitlines()[0]
