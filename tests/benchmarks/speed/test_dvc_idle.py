from pathlib import Path

import pytest

from benchmarks.speed.dvc_idle import IdleRepository
from vgg_ablation.errors import StageError

ROOT = Path(__file__).parents[3]


@pytest.mark.torture
@pytest.mark.end_to_end
def test_dvc_repro_with_placeholders_runs_nothing_and_is_refused_if_a_dependency_changes(tmp_path: Path) -> None:
    repository = IdleRepository(ROOT, tmp_path / "repository")
    outputs = [path for path in (repository.folder / "results").rglob("*") if path.is_file()]
    before = [path.read_bytes() for path in outputs]
    repository.repro()
    repository.version()
    assert len(outputs) > 6
    assert before == [path.read_bytes() for path in outputs]

    with (repository.folder / "stages/report.py").open("a") as file:
        file.write("# edited\n")
    with pytest.raises(StageError, match="dvc repro"):
        repository.repro()


def test_a_folder_that_is_no_repository_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="git clone"):
        IdleRepository(tmp_path, tmp_path / "copy")
