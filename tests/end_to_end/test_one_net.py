"""Real `dvc` on one net of a tiny study in a fresh clone, on real images where they are at hand, and after a kill."""

import shutil
import signal
from pathlib import Path

import pandas as pd
import pytest
import yaml
from repository import Repository, holds_times

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(1800)]

OF_C = ["tune@C-none", "train@C-none", "evaluate@C-none-fixed"]
C_ALONE = ["check", "download", "preprocess", "near-duplicates", *OF_C, "report"]


@pytest.fixture(scope="module")
def only_c(origin, tmp_path_factory):
    """A fresh clone after `dvc exp run -S arch=C`, with what it printed."""
    repository = origin.clone(tmp_path_factory.mktemp("c") / "repository")
    return repository, repository.succeed("dvc", "exp", "run", "-S", "arch=C")


def test_one_net_in_a_fresh_clone_runs_its_own_stages_alone(only_c):
    repository, done = only_c
    assert sorted(done.stages) == sorted(C_ALONE)
    assert pd.read_csv(repository.folder / "reports/ablation.csv")["arch"].unique().tolist() == ["C"]


def test_all_scales_after_the_fixed_one_train_on_from_its_weights(only_c, tmp_path):
    shutil.copytree(only_c[0].folder, tmp_path / "again", symlinks=True)
    repository = Repository(tmp_path / "again")
    done = repository.succeed("dvc", "exp", "run", "-S", "scale=all")
    assert sorted(done.stages) == sorted(
        ["check", "train-large@C-none", "train-jitter@C-none", "evaluate@C-none-large", "evaluate@C-none-jitter",
         "aggregate-scales@C-none", "report"]
    )  # fmt: skip
    protocols = yaml.safe_load((repository.folder / "params.yaml").read_text())["studies"]["tiny"]["evaluate"][
        "protocols"
    ]
    table = pd.read_csv(repository.folder / "reports/ablation.csv")
    assert table.groupby("scale", sort=False)["protocol"].apply(list).to_dict() == protocols
    assert results(repository, "results/none/C/fixed") == results(only_c[0], "results/none/C/fixed")


def test_batch_normalisation_after_the_plain_net_trains_the_net_with_it_alone(only_c, tmp_path):
    shutil.copytree(only_c[0].folder, tmp_path / "again", symlinks=True)
    repository = Repository(tmp_path / "again")
    done = repository.succeed("dvc", "exp", "run", "-S", "norm=all")
    assert sorted(done.stages) == sorted(
        ["check", "tune@C-batch", "train@C-batch", "evaluate@C-batch-fixed", "aggregate-norms@C-fixed",
         "aggregate-norms-search@C", "report"]
    )  # fmt: skip
    assert pd.read_csv(repository.folder / "reports/ablation.csv")["arch"].unique().tolist() == ["C", "C_BN"]
    assert results(repository, "results/none") == results(only_c[0], "results/none")
    params = repository.folder / "params.yaml"
    params.write_text(params.read_text().replace("norm: all", "norm: batch"))
    assert repository.succeed("dvc", "repro", "--dry").stages == ["check", "report"]


@pytest.fixture
def again(only_c, tmp_path) -> Repository:
    """A copy of the finished repository, to run stages in by hand."""
    shutil.copytree(only_c[0].folder, tmp_path / "again", symlinks=True)
    return Repository(tmp_path / "again")


def results(repository: Repository, *folders: str) -> dict[str, bytes]:
    """The files of a study in these folders, without those that hold times."""
    files = repository.snapshot().items()
    return {name: content for name, content in files if name.startswith(folders) and not holds_times(name)}


@pytest.fixture(scope="module")
def longer(only_c, tmp_path_factory) -> Repository:
    """The finished repository with a training of more epochs, long enough to be stopped in the middle."""
    folder = tmp_path_factory.mktemp("longer") / "repository"
    shutil.copytree(only_c[0].folder, folder, symlinks=True)
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["studies"]["tiny"]["train"]["epochs"] = 20
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    repository = Repository(folder)
    repository.succeed("python", "stages/train.py", "C", "none", "fixed")
    return repository


def test_a_stopped_stage_says_how_to_resume_and_resumes(longer, tmp_path):
    """By SIGTERM; tests/runtime/test_console.py has the other signals."""
    shutil.copytree(longer.folder, tmp_path / "again", symlinks=True)
    again = Repository(tmp_path / "again")
    shutil.rmtree(again.folder / ".state")
    with again.start("python", "stages/train.py", "C", "none", "fixed") as process:
        assert process.stdout is not None
        assert process.stdout.readline().endswith(" stages of the study's nets have results\n")
        assert process.stdout.readline().startswith("train C none fixed: computing on ")
        assert process.stdout.readline().startswith("train C none fixed: run 1/2, epoch 1/20")
        process.send_signal(signal.SIGTERM)
        stopped = process.wait(10)
        errors = process.stderr.read() if process.stderr else ""
    assert stopped == 128 + signal.SIGTERM
    assert errors == "train C none fixed: stopped by SIGTERM; progress saved; run `dvc repro` to resume\n"
    done = again.succeed("python", "stages/train.py", "C", "none", "fixed")
    assert "train C none fixed: resuming after epoch" in done.output
    assert results(again, "results") == results(longer, "results")


def test_a_second_process_of_a_stage_waits_for_the_first_and_both_leave_its_bytes(again, only_c):
    shutil.rmtree(again.folder / ".state")
    shutil.rmtree(again.folder / "results/none/C/fixed/training/weights")
    with again.start("python", "stages/train.py", "C", "none", "fixed") as first:
        assert first.stdout is not None
        assert first.stdout.readline().endswith(" stages of the study's nets have results\n")
        assert first.stdout.readline().startswith("train C none fixed: computing on ")
        assert first.stdout.readline().startswith("train C none fixed: run 1/2, epoch 1/2")
        first.send_signal(signal.SIGSTOP)  # until the second process waits for it
        with again.start("python", "stages/train.py", "C", "none", "fixed") as second:
            assert second.stdout is not None
            line = second.stdout.readline()
            first.send_signal(signal.SIGCONT)
            assert first.wait() == second.wait() == 0
    holder = f"process {first.pid} (stages/train.py C none fixed), which holds .state/stages/"
    assert line.startswith(f"train C none fixed: waiting for {holder}")
    assert results(again, "results") == results(only_c[0], "results")


def test_files_of_dvc_that_are_torn_are_repaired_or_named_and_may_be_deleted(again, only_c):
    """DVC writes these files in place; its run cache holds what they say."""
    tear(again.folder / "dvc.lock", "")
    assert set(again.succeed("dvc", "repro").stages) <= {"check", "report"}
    torn = ["stages/dvc.lock", ".dvc/tmp/rwlock", "dvc.lock"]
    for file in torn:
        tear(again.folder / file, "\n  - {")
    while (done := again.run("dvc", "repro")).status:
        file = next(name for name in torn if name in done.output + done.errors)
        torn.remove(file)
        (again.folder / file).unlink()
    assert torn == []
    assert set(done.stages) <= {"check", "report"}
    assert results(again, "results", "reports") == results(only_c[0], "results", "reports")


def tear(file: Path, ending: str) -> None:
    """Cut a file at a line, so that it is YAML still, and write `ending`, which is none."""
    text = file.read_text()
    file.write_text(text[: len(text) // 2].rpartition("\n")[0] + ending)


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
        "-S", "studies.tiny.evaluate.protocols.fixed=[centre]",
    )  # fmt: skip
    assert "train@A-none" in done.stages
    assert (
        "224.touring-bike/224_0095.jpg,duplicate of" in (repository.folder / "data/processed/excluded.csv").read_text()
    )
    assert "tiny" in (repository.folder / "reports/ablation.md").read_text().splitlines()[0]
