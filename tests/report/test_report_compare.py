import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from page_elements import Page
from scipy import stats

from vgg_ablation.errors import StageError
from vgg_ablation.report import compare
from vgg_ablation.report.compare import Experiment, changes, document, read_experiment

PARAMS: dict[str, Any] = {
    "arch": "all",
    "scale": "fixed",
    "study": "sample",
    "studies": {"sample": {"train": {"epochs": 20, "batch_size": 32}}, "other": {"train": {"epochs": 5}}},
}
HEADER = "arch,scale,protocol,runs,top1_error,top1_error_low,top1_error_high,top1_error_runs"
A = "A,fixed,dense,3,30,28,33,29;30;31"
B = "B,fixed,dense,3,25,24,27,25;25;25"
C = "C,jitter,combined,3,20,19,21,20;20;20"


class Repository:
    """A git repository with reports in it."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")
        self.git("config", "user.name", "test")
        self.git("config", "user.email", "test@example.org")

    def git(self, *arguments: str) -> str:
        command = ["git", "-C", str(self.folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def write(self, *rows: str, **settings: Any) -> None:
        (self.folder / "reports").mkdir(exist_ok=True)
        (self.folder / "reports/ablation.csv").write_text("\n".join([HEADER, *rows, ""]))
        (self.folder / "params.yaml").write_text(yaml.safe_dump(PARAMS | settings))

    def commit(self, *rows: str, **settings: Any) -> str:
        self.write(*rows, **settings)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "report")
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


def names(experiment: Experiment) -> list[str]:
    return experiment.errors["arch"].tolist()


# Where experiments are found


@pytest.mark.parametrize("name", ["main", "v1", "HEAD~1", "abbreviated"])
def test_a_revision_is_read_from_git_not_from_the_disk(repository: Repository, name: str):
    first = repository.commit(A)
    repository.git("tag", "v1")
    repository.git("branch", "--quiet", "earlier")
    if name != "v1" and name != "abbreviated":
        repository.commit(B)
    repository.write(C)
    expected = {"main": ["B"], "v1": ["A"], "HEAD~1": ["A"], "abbreviated": ["A"]}[name]
    assert names(read_experiment(repository.folder, first[:9] if name == "abbreviated" else name)) == expected


def test_the_workspace_is_what_lies_on_the_disk(repository: Repository):
    repository.commit(A)
    repository.write(C)
    assert names(read_experiment(repository.folder, "workspace")) == ["C"]


def test_an_experiment_of_dvc_is_found_by_its_name(repository: Repository):
    base = repository.commit(A)
    made = repository.commit(B)
    repository.git("reset", "--quiet", "--hard", base)
    repository.git("update-ref", f"refs/exps/{base[:2]}/{base[2:]}/tipsy-roar", made)
    repository.git("update-ref", "refs/exps/exec/EXEC_HEAD", base)
    assert names(read_experiment(repository.folder, "tipsy-roar")) == ["B"]


def test_two_experiments_of_one_name_are_told_apart_by_their_commits(repository: Repository):
    commits = [repository.commit(A), repository.commit(B)]
    for commit in commits:
        repository.git("update-ref", f"refs/exps/{commit[:2]}/{commit[2:]}/twice", commit)
    with pytest.raises(StageError, match="twice: 2 experiments have this name; give one of") as raised:
        read_experiment(repository.folder, "twice")
    assert all(commit in str(raised.value) for commit in commits)


@pytest.mark.parametrize("name", ["nowhere", "--output=x", "main:params.yaml", "*", "", "two\nlines"])
def test_an_unknown_name_is_refused(repository: Repository, name: str):
    repository.commit(A)
    with pytest.raises(StageError, match="no such revision or experiment"):
        read_experiment(repository.folder, name)
    assert not (repository.folder / "x").exists()


def test_a_commit_before_the_first_report_is_refused(repository: Repository):
    repository.commit(A)
    repository.git("rm", "--quiet", "-r", "reports")
    repository.git("commit", "--quiet", "--message", "none")
    with pytest.raises(StageError, match=r"^HEAD: it holds no reports/ablation.csv"):
        read_experiment(repository.folder, "HEAD")


@pytest.mark.parametrize(
    "text",
    [
        "", "\x00\x01", "arch,scale\nA,fixed\n", f"{HEADER}\n", f"{HEADER}\n{A}\n{A}\n",
        f"{HEADER}\n{A},extra,more\n{A}\n",
        f"{HEADER}\n{A.replace('28', 'x')}\n", f"{HEADER}\n{A.replace('28', 'nan')}\n",
    ],
)  # fmt: skip
def test_a_report_that_is_none_is_named(repository: Repository, text: str):
    repository.write(A)
    (repository.folder / "reports/ablation.csv").write_text(text)
    with pytest.raises(
        StageError, match=r"^workspace: reports/ablation.csv is no report as it is written now: [^\n]*$"
    ):
        read_experiment(repository.folder, "workspace")


@pytest.mark.parametrize("text", ["", "arch: all\n", "a: [", "study: none\nstudies: {sample: {}}\n"])
def test_settings_that_are_none_are_named(repository: Repository, text: str):
    repository.write(A)
    (repository.folder / "params.yaml").write_text(text)
    with pytest.raises(StageError, match=r"^workspace: params.yaml") as raised:
        read_experiment(repository.folder, "workspace")
    assert "/tmp" not in str(raised.value)  # noqa: S108


# What is compared


Make = Callable[..., Experiment]


@pytest.fixture
def make(repository: Repository) -> Make:
    def made(*rows: str, name: str = "workspace", **settings: Any) -> Experiment:
        repository.write(*rows, **settings)
        read = read_experiment(repository.folder, "workspace")
        return Experiment(name, read.settings, read.errors)

    return made


def test_a_difference_is_the_second_error_less_the_first(make: Make):
    (change,) = changes(make(A), make("A,fixed,dense,3,25,24,27,25"))
    assert change.difference.mean == -5
    assert change.difference.low == pytest.approx(-5 - math.hypot(1, 3))
    assert change.difference.high == pytest.approx(-5 + math.hypot(2, 2))
    assert change.differs


def test_the_interval_of_a_difference_of_symmetric_ones_is_that_of_the_normal_difference(make: Make):
    half = stats.norm.ppf(0.975)
    rows = [
        f"A,fixed,dense,3,{mean},{mean - half * error},{mean + half * error},1" for mean, error in ((30, 3), (40, 4))
    ]
    (change,) = changes(make(rows[0]), make(rows[1]))
    low, high = stats.norm.interval(0.95, 10, math.hypot(3, 4))
    assert change.difference.low == pytest.approx(low, abs=1e-6)
    assert change.difference.high == pytest.approx(high, abs=1e-6)
    assert change.differs == (low > 0)


def test_an_experiment_differs_in_nothing_from_itself(make: Make):
    one = make(A, B)
    assert [change.difference.mean for change in changes(one, one)] == [0, 0]
    assert not any(change.differs for change in changes(one, one))
    assert "0 settings differ; of 2 errors in both, none differs" in document(one, one)


def test_errors_of_other_scales_and_protocols_are_never_paired(make: Make):
    first = make(A, A.replace("dense", "centre"))
    assert changes(first, make(A.replace("fixed", "jitter"), A.replace("dense", "dense_scales"))) == []


def test_settings_that_differ_are_told_without_those_of_other_studies(make: Make):
    changed = {"sample": {"train": {"epochs": 7, "batch_size": 32, "momentum": 0.9}}, "other": {"train": {"epochs": 6}}}
    table = compare.settings_table(make(A, name="one"), make(A, name="two", studies=changed))
    assert table.header == ("setting", "one", "two")
    assert table.rows == [("train.epochs", "20", "7"), ("train.momentum", "–", "0.9")]


def test_two_studies_compare_setting_by_setting(make: Make):
    table = compare.settings_table(make(A), make(A, study="other"))
    assert ("study", "sample", "other") in table.rows
    assert ("train.epochs", "20", "5") in table.rows


def test_what_only_one_has_is_told(make: Make):
    table = compare.alone_table(make(A, B, name="one"), make(B, C, name="two"))
    assert table
    assert table.rows == [
        ("A", "fixed", "dense", "one", "30.0 [28.0, 33.0]"),
        ("C", "jitter", "dense and multi-crop", "two", "20.0 [19.0, 21.0]"),
    ]
    assert compare.alone_table(make(A), make(A)) is None


# The page


def test_the_page_is_whole_and_says_what_differs(make: Make):
    text = document(make(A, B, name="one"), make(A.replace("30,28,33", "20,19,21"), C, name="two", scale="all"))
    page = Page(text)
    assert page.text["h1"] == ["Comparison of  and "]
    assert (
        "1 setting differs; of 1 errors in both, 1 differ by more than their interval allows, most A (fixed, dense): "
        in text
    )
    assert [section["id"] for section in page.of("section")] == ["answer", "settings", "errors", "alone"]
    assert len(page.of("svg")) == 1
    assert {link["href"] for link in page.of("a")} == {"#content", "#answer", "#settings", "#errors", "#alone"}
    assert "http" not in text


def test_the_figure_has_the_dense_protocol_where_both_have_it(make: Make):
    centre = A.replace("dense", "centre")
    both, one = changes(make(centre, A), make(centre, A)), changes(make(centre), make(centre))
    assert [compare.draw(found, "one", "two").title.rpartition(", ")[2] for found in (both, one)] == [
        "dense",
        "centre crop",
    ]


def test_two_experiments_without_a_net_in_common_have_a_page(make: Make):
    page = Page(document(make(A), make(B)))
    assert any("no net is in both" in text for text in page.text["p"])
    assert not page.of("svg")


def test_names_cannot_break_the_page(make: Make):
    hostile = '<script>x</script>"$1'
    page = Page(document(make(A, name=hostile), make(A.replace("A,", "<b>,"), A, name=hostile)))
    assert len(page.of("script")) == 1
    assert not page.of("b")


# The command


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vgg_ablation.report", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_command_writes_the_page(repository: Repository):
    repository.commit(A)
    repository.write(B)
    done = run(repository.folder, "compare", "HEAD", "workspace")
    assert done.stderr == ""
    assert done.stdout.startswith("compare: reports/compare.html in ")
    assert Page((repository.folder / "reports/compare.html").read_text()).text["title"] == [
        "Comparison of HEAD and workspace"
    ]


def test_the_command_writes_where_it_is_told_to(repository: Repository):
    repository.commit(A)
    assert run(repository.folder, "compare", "HEAD", "HEAD", "--output", "pages/two.html").returncode == 0
    assert (repository.folder / "pages/two.html").exists()
    assert not (repository.folder / "reports/compare.html").exists()


def test_the_command_ends_with_one_line_on_an_unknown_name(repository: Repository):
    repository.commit(A)
    done = run(repository.folder, "compare", "HEAD", "nowhere")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        "compare: nowhere: no such revision or experiment; dvc exp list --all-commits names the experiments\n"
    )


def test_outside_a_repository_names_are_unknown(tmp_path: Path):
    with pytest.raises(StageError, match="no such revision"):
        read_experiment(tmp_path, "HEAD")


# Real experiments


@pytest.fixture
def tracked(repository: Repository) -> Repository:
    """A repository whose one stage writes a report that depends on a setting, as `dvc.yaml` has it."""
    repository.write(A)
    (repository.folder / "report.py").write_text(
        "import yaml, pathlib\n"
        "epochs = yaml.safe_load(open('params.yaml'))['studies']['sample']['train']['epochs']\n"
        f"row = f'A,fixed,dense,3,{{epochs}},{{epochs - 1}},{{epochs + 1}},1'\n"
        "pathlib.Path('reports').mkdir(exist_ok=True)\n"
        f"pathlib.Path('reports/ablation.csv').write_text('{HEADER}\\n' + row + '\\n')\n"
    )
    (repository.folder / "dvc.yaml").write_text(
        yaml.safe_dump(
            {
                "stages": {
                    "report": {
                        "cmd": f"{sys.executable} report.py",
                        "deps": ["report.py"],
                        "params": ["studies.sample.train"],
                        "outs": [{"reports/ablation.csv": {"cache": False}}],
                    }
                }
            }
        )
    )
    dvc(repository, "init", "--quiet")
    dvc(repository, "config", "core.analytics", "false")
    dvc(repository, "config", "core.autostage", "true")
    dvc(repository, "repro", "--quiet")
    repository.git("add", "--all")
    repository.git("commit", "--quiet", "--message", "a study")
    return repository


def dvc(repository: Repository, *arguments: str) -> str:
    command = [str(Path(sys.executable).parent / "dvc"), *arguments]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, cwd=repository.folder, capture_output=True, text=True, check=False, env={**os.environ, "PATH": path}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.end_to_end
def test_experiments_that_dvc_ran_compare_by_their_names(tracked: Repository):
    for name, epochs in (("short", 7), ("long", 70)):
        dvc(tracked, "exp", "run", "--quiet", "--name", name, "-S", f"studies.sample.train.epochs={epochs}")
    tracked.git("checkout", "--quiet", "--", ".")
    short, long = (read_experiment(tracked.folder, name) for name in ("short", "long"))
    (change,) = changes(short, long)
    assert (change.first.mean, change.second.mean) == (7, 70)
    assert compare.settings_table(short, long).rows == [("train.epochs", "7", "70")]
