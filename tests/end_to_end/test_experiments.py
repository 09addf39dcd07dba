"""Experiments of the real `dvc` on a tiny study: what they leave, how they are undone, brought back and refused."""

import json
import re
import shutil
import signal
import subprocess

import pytest
import yaml
from repository import Finished, Repository

from vgg_ablation.model.table1 import PLAIN

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(900)]

UNDO = ("make", "--old-file=.venv/.set-up", "undo")
"""The tests' own environment takes the place of `.venv`."""
OF_C = {"tune@C-none", "train@C-none", "evaluate@C-none-fixed"}


@pytest.fixture(scope="module")
def finished(origin, tmp_path_factory) -> Repository:
    """A repository with the committed results of net A."""
    repository = origin.clone(tmp_path_factory.mktemp("finished") / "repository")
    params = repository.folder / "params.yaml"
    params.write_text(params.read_text().replace("arch: all", "arch: A"))
    repository.succeed("dvc", "repro")
    commit(repository)
    return repository


@pytest.fixture
def again(finished, tmp_path) -> Repository:
    """A copy of the finished repository."""
    shutil.copytree(finished.folder, tmp_path / "again", symlinks=True)
    return Repository(tmp_path / "again")


@pytest.fixture(scope="module")
def after_c(finished, tmp_path_factory) -> tuple[Repository, Finished]:
    """A copy after an experiment with net C, and what it printed."""
    folder = tmp_path_factory.mktemp("after-c") / "repository"
    shutil.copytree(finished.folder, folder, symlinks=True)
    repository = Repository(folder)
    return repository, repository.succeed("dvc", "exp", "run", "report", "-S", "arch=C")


def commit(repository: Repository) -> None:
    repository.succeed("git", "config", "user.name", "test")
    repository.succeed("git", "config", "user.email", "test@example.org")
    repository.succeed("git", "add", "--all")
    repository.succeed("git", "commit", "--quiet", "--message", "results")


def changed(repository: Repository) -> list[str]:
    """The tracked files that differ from the last commit, staged or not."""
    return repository.succeed("git", "diff", "--name-only", "HEAD").output.split()


def require_state_of(repository: Repository, finished: Repository) -> None:
    """Check that everything is as in the finished repository; results of other nets may lie beside."""
    assert changed(repository) == []
    assert repository.succeed("git", "branch", "--show-current").output.strip() == branch(finished)
    before, after = finished.snapshot(), repository.snapshot()
    assert {name: after.get(name) for name in before} == before


def branch(repository: Repository) -> str:
    return repository.succeed("git", "branch", "--show-current").output.strip()


def test_an_experiment_says_what_it_runs_and_what_differs_from_the_commit(after_c):
    _, done = after_c
    first, second = [line for line in done.output.splitlines() if line.startswith("check: ")]
    assert first == "check: study tiny: arch C, norm none, scale fixed, images from images/tiny.tar"
    assert second == "check: not as committed: arch C (committed: A); to undo: make undo"


def test_an_experiment_with_a_target_warns_of_its_own_new_results_alone(after_c):
    warnings = [line for line in (after_c[1].output + after_c[1].errors).splitlines() if "WARNING" in line]
    assert len(warnings) == len(OF_C)
    assert all("No file hash info found" in line and "/results/none/C/" in line for line in warnings)


def test_an_experiment_changes_few_tracked_files(after_c):
    assert set(changed(after_c[0])) <= {
        "params.yaml", "dvc.lock", "stages/dvc.lock", *(f"reports/{name}" for name in (
            "ablation.csv", "ablation.md", "claims.json", "cost.md", "index.html", "metrics.json",
        )),
    }  # fmt: skip


def test_the_table_of_experiments_has_few_and_short_columns(after_c):
    shown = after_c[0].succeed("dvc", "exp", "show", "--only-changed", "--drop", ".*/|Created", "--no-pager").output
    (header,) = [line for line in shown.splitlines() if "Experiment" in line]
    assert {"Experiment", "C", "arch"} <= set(header.split()) <= {"Experiment", "A", "C", "did_not_train", "arch"}


def test_an_experiment_is_compared_with_the_commit(after_c):
    repository, _ = after_c
    metrics = json.loads(repository.succeed("dvc", "metrics", "diff", "--json").output)["reports/metrics.json"]
    assert [metrics[net][at] is None for net, at in (("A", "old"), ("A", "new"), ("C", "old"), ("C", "new"))] == [
        False, True, True, False,
    ]  # fmt: skip
    params = json.loads(repository.succeed("dvc", "exp", "diff", "--json").output)["params"]["params.yaml"]
    assert params == {"arch": {"old": "A", "new": "C"}}
    for command in (("dvc", "plots", "show"), ("dvc", "plots", "diff")):
        repository.succeed(*command)
        page = (repository.folder / "dvc_plots/index.html").read_text()
        assert "Error by depth" in page
        assert '<script src="https://' in re.sub(r"\s+", " ", page), "README says that it needs the network"
    assert repository.succeed("git", "status", "--short", "dvc_plots").output == ""


def test_the_graph_of_the_report_is_markdown_of_the_stages_that_it_needs(after_c):
    lines = after_c[0].succeed("dvc", "dag", "--md", "report").output.splitlines()
    assert lines[0] == "```mermaid"
    assert max(map(len, lines)) < 100
    named = set(re.findall(r'\["(?:stages/dvc\.yaml:)?(.+?)"\]', "\n".join(lines)))
    assert named == {"check", "download", "preprocess", "near-duplicates", "report", *OF_C}


def test_appendix_b_names_the_nets_that_it_has_before_any_work(after_c):
    done = after_c[0].run("dvc", "repro", "appendix_b/dvc.yaml")
    assert done.status != 0
    assert done.stages == ["appendix_b/dvc.yaml:settings"]
    assert "allowed: all, A, B, D, E" in done.output + done.errors


def test_undo_brings_everything_back_after_an_experiment(after_c, finished, tmp_path):
    shutil.copytree(after_c[0].folder, tmp_path / "undone", symlinks=True)
    repository = Repository(tmp_path / "undone")
    repository.succeed(*UNDO)
    require_state_of(repository, finished)
    assert repository.succeed("dvc", "repro").stages == ["check"]


def test_undo_refuses_while_dvc_runs_and_brings_everything_back_after_it_was_killed(again, finished):
    with again.start("dvc", "exp", "run", "-S", "arch=C") as process:
        assert process.stdout is not None
        while "tune@C-none" not in process.stdout.readline():
            assert process.poll() is None
        refused = again.run(*UNDO)
        process.send_signal(signal.SIGKILL)
        process.stdout.read()  # until the stage has ended too
    assert refused.status != 0
    assert f"undo: process {process.pid} (" in refused.errors
    assert branch(again) == ""
    assert "params.yaml" in again.succeed("git", "diff", "--staged", "--name-only").output
    again.succeed(*UNDO)
    require_state_of(again, finished)
    again.succeed(*UNDO)  # which has nothing to copy
    assert "arch: C" in (again.folder / ".state/params-before-undo.yaml").read_text()
    assert again.succeed("dvc", "repro").stages == ["check"]


def test_images_that_changed_outside_the_repository_are_fetched_again_on_demand(again):
    done = again.succeed("dvc", "repro", "--force", "--single-item", "stages/dvc.yaml:download")
    assert done.stages == ["download"]
    assert again.succeed("dvc", "repro").stages == ["check"], "the same images"


def test_an_experiment_is_brought_back_by_apply_and_by_its_branch_without_training(after_c, tmp_path):
    shutil.copytree(after_c[0].folder, tmp_path / "again", symlinks=True)
    again = Repository(tmp_path / "again")
    again.succeed(*UNDO)
    shutil.rmtree(again.folder / "results/none/C")
    again.succeed("dvc", "exp", "run", "--temp", "--name", "tried", "-S", "arch=C")
    assert changed(again) == []
    assert not (again.folder / "results/none/C").exists()
    assert again.run("dvc", "exp", "apply", "tried").status != 0, "as README says"
    assert set(again.succeed("dvc", "repro").stages) <= {"check", "report"}
    metrics = "results/none/C/fixed/evaluation/metrics.json"
    assert (again.folder / metrics).read_bytes() == (after_c[0].folder / metrics).read_bytes()
    again.succeed(*UNDO)
    shutil.rmtree(again.folder / "results/none/C")
    again.succeed("dvc", "exp", "branch", "tried", "tried")
    again.succeed("git", "switch", "tried")
    assert again.succeed("dvc", "repro").stages == ["check", "report"]
    assert (again.folder / "results/none/C/fixed/evaluation/metrics.json").exists()
    assert changed(again) == []


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("arch=Z", f"check: params.yaml: arch = 'Z'; allowed: all, {', '.join(PLAIN)}"),
        (
            "studies.tiny.train.epochs=0",
            "check: params.yaml: studies.tiny.train.epochs = 0; allowed: greater than or equal to 1",
        ),
    ],
)
def test_a_refused_value_does_not_stay(again, override, line):
    before = again.snapshot()
    done = again.run("dvc", "exp", "run", "-S", "scale=large", "-S", override)
    assert done.status != 0
    said = (done.output + done.errors).splitlines()
    assert {line, "check: refused; params.yaml is again that of the last commit"} <= set(said)
    assert done.stages in (["check"], []), "before any work"
    after = again.snapshot()
    assert {name for name in before if after.get(name) != before[name]} <= {"data/settings-are-valid.txt"}
    assert (changed(again), branch(again) != "") == ([], True)


def test_a_refused_value_stays_beside_changes_of_ones_own_which_are_named(again):
    params = again.folder / "params.yaml"
    params.write_text(params.read_text().replace("epochs: 2\n", "epochs: 3\n"))
    done = again.run("dvc", "exp", "run", "-S", "arch=a")
    said = (done.output + done.errors).splitlines()
    assert any(line.endswith("(did you mean A?)") for line in said)
    assert (
        "check: params.yaml still holds this and your own changes: "
        "arch a (committed: A), studies.tiny.train.epochs 3 (committed: 2)" in said
    )
    assert yaml.safe_load(params.read_text())["studies"]["tiny"]["train"]["epochs"] == 3


def test_a_shallow_clone_refuses_experiments_that_dvc_would_lose(finished, tmp_path):
    folder = tmp_path / "shallow"
    subprocess.run(["git", "clone", "--quiet", "--depth=1", f"file://{finished.folder}", str(folder)], check=True)
    done = Repository(folder).run("dvc", "exp", "run", "--temp", "-S", "arch=C")
    assert done.status != 0
    assert "git fetch --unshallow" in done.output + done.errors
    assert done.stages == ["check"]
