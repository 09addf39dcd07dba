from pathlib import Path

import pytest

from benchmarks.speed.idle import IdleRepository
from vgg_ablation.errors import StageError

ROOT = Path(__file__).parents[3]


@pytest.mark.end_to_end
def test_dvc_repro_among_stand_ins_runs_nothing_and_would_be_refused_if_it_did(tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    repository = IdleRepository(ROOT, folder)
    before = {path: path.read_bytes() for path in (folder / "results").rglob("*") if path.is_file()}
    assert repository.repro().seconds > 0
    assert repository.version().seconds > 0
    assert len(before) > 6
    assert before == {path: path.read_bytes() for path in before}

    with (folder / "src/vgg_ablation/report/__init__.py").open("a") as file:
        file.write("# edited\n")
    with pytest.raises(StageError, match="dvc repro"):
        repository.repro()


def test_a_folder_that_is_no_repository_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="git ls-files -z: fatal: not a git repository"):
        IdleRepository(tmp_path, tmp_path / "copy")
