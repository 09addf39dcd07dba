import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from made_up_study import Files, Make
from vgg_ablation.analysis.study import COST_COLUMNS, Study
from vgg_ablation.report import outputs
from vgg_ablation.report.outputs import render, write_report

STAGE = Path(__file__).parents[2] / "stages" / "report.py"
CHANGING = {"cost.md", "cost.csv", "index.html"}
"""What differs between two runs of one study."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Files:
    files = Files(tmp_path_factory.mktemp("made"), ["A", "B"], 2)
    files.write()
    return files


@pytest.fixture(scope="module")
def study(made: Files) -> Study:
    return made.read()


@pytest.fixture(scope="module")
def rendered(study: Study) -> dict[str, str]:
    return render(study)


def test_a_report_has_its_files(rendered: dict[str, str]):
    top = {name for name in rendered if "/" not in name}
    assert top == {"ablation.md", "ablation.csv", "metrics.json", "index.html", "cost.md", "cost.csv"}
    for folder, kinds in (("tables", {"csv", "tex"}), ("figures", {"csv", "svg"})):
        names = [name.removeprefix(f"{folder}/") for name in rendered if name.startswith(f"{folder}/")]
        by_kind = {kind: {name.rpartition(".")[0] for name in names if name.endswith(kind)} for kind in kinds}
        first, second = by_kind.values()
        assert first ^ second <= {"error-by-depth"}
        assert len(first & second) > 4


def test_every_table_of_the_paper_is_there_for_machines_and_for_latex(rendered: dict[str, str]):
    for number in range(1, 7):
        assert f"\\label{{tab:table-{number}}}" in rendered[f"tables/table-{number}.tex"]
        assert len(pd.read_csv(io.StringIO(rendered[f"tables/table-{number}.csv"]))) > 0


def test_what_is_written_is_what_was_rendered_and_stale_files_go(
    study: Study, rendered: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(outputs, "render", lambda _: rendered)
    for name in ("tables/stale.csv", "figures/stale.svg", "benchmark.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("of an earlier report")
    paths = write_report(study, tmp_path)
    assert paths[0].name == "ablation.md"
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert written == {*rendered, "benchmark.md"}
    for name, text in rendered.items():
        assert (tmp_path / name).read_bytes() == text.encode()


def run_stage(files: Files, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the stage in `folder` on the data and results of a made-up study; fail if it imports torch."""
    settings = json.loads(files.settings().model_dump_json())
    params = {"arch": "all", "scale": "fixed", "study": "sample", "studies": {"sample": settings}}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    for name in ("data", "results"):
        (folder / name).symlink_to(files.folder / name)
    program = (
        "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0]); sys.exit('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", program, str(STAGE), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_stage_writes_the_same_bytes_in_another_process_without_torch(
    made: Files, rendered: dict[str, str], tmp_path: Path
):
    done = run_stage(made, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "reports/ablation.md and " in done.stdout
    for name, text in rendered.items():
        assert (tmp_path / "reports" / name).read_bytes() == text.encode()


def test_the_stage_reports_on_what_is_there_while_a_study_runs(tmp_path: Path):
    files = Files(tmp_path / "study", ["C"], 1)
    files.write_apart()
    folder = tmp_path / "work"
    folder.mkdir()
    done = run_stage(files, folder, "--partial")
    assert (done.returncode, done.stderr) == (0, "")
    first, *_ = (folder / "reports" / "ablation.md").read_text().splitlines()
    assert first == "# Partial report: VGG depth ablation on 10 rendered categories, not Caltech-256 (study `sample`)"


def test_an_argument_that_the_stage_does_not_know_is_one_line(made: Files, tmp_path: Path):
    done = run_stage(made, tmp_path, "--partail")
    assert done.returncode == 1
    assert done.stderr == "report: --partail is not understood; allowed: nothing, or --partial\n"
    assert not (tmp_path / "reports").exists()


def test_what_a_run_cost_stands_in_files_of_its_own(tmp_path: Path, rendered: dict[str, str]):
    files = Files(tmp_path, ["A", "B"], 2)
    files.costs["seconds"] *= 2
    files.costs["work_seconds"] *= 2
    files.costs["machine"], files.costs["commit"], files.costs["versions"] = "another", "beef", "Python 4"
    after = render(files.read())
    assert {name for name in rendered if rendered[name] != after[name]} == CHANGING


def test_machine_and_commit_are_told_where_they_may_be(rendered: dict[str, str]):
    for name, text in rendered.items():
        assert ("made-up processor" in text) == (name in CHANGING), name


# Single files


def test_all_costs_are_in_the_table_for_machines(rendered: dict[str, str]):
    written = pd.read_csv(io.StringIO(rendered["cost.csv"]), keep_default_na=False)
    assert list(written.columns) == list(COST_COLUMNS)
    assert list(zip(written["stage"], written["arch"], written["scale"], strict=True)) == [
        ("download", "", ""), ("preprocess", "", ""), ("near_duplicates", "", ""), ("tune", "A", ""), ("tune", "B", ""),
        ("train", "A", "fixed"), ("train", "B", "fixed"), ("evaluate", "A", "fixed"), ("evaluate", "B", "fixed"),
    ]  # fmt: skip
    assert list(written["seconds"]) == list(range(10, 19))


def test_the_metrics_are_those_of_the_table_with_two_decimals(rendered: dict[str, str]):
    found = json.loads(rendered["metrics.json"])
    rows = csv.DictReader(io.StringIO(rendered["ablation.csv"]))
    dense = {row["arch"]: row for row in rows if row["protocol"] == "dense"}
    assert list(found) == ["A", "B", "best", "best_top1_error", "did_not_train"]
    for arch in ("A", "B"):
        for name, value in found[arch].items():
            assert value == pytest.approx(float(dense[arch][name]), abs=0.0051)
    assert max(len(number.split(".")[1]) for number in re.findall(r"\d+\.\d+", rendered["metrics.json"])) == 2


def test_error_by_depth_is_there_to_plot(rendered: dict[str, str]):
    rows = list(csv.DictReader(io.StringIO(rendered["tables/error-by-depth.csv"])))
    assert [(row["weight_layers"], row["net"]) for row in rows] == [("11", "A"), ("13", "B")]


def test_links_lead_to_files_of_the_report(rendered: dict[str, str]):
    for name in ("ablation.md", "cost.md"):
        links = re.findall(r"\]\(([^)]+)\)", rendered[name])
        assert links
        assert set(links) <= set(rendered)


def test_names_cannot_break_tables(make: Make):
    files = make("C", runs=1, untrained={("C", 0)})
    files.metrics["nets"][0]["runs"][0]["reason"] = "<b>bold</b> | bar"
    files.summary["source"] = "/data/<script>alert(1)</script>.tar"
    found = render(files.read("<i>"))
    assert "\\<b>bold\\</b> \\| bar" in found["ablation.md"]
    assert "<script>alert" not in found["index.html"]
    assert "<b>bold" not in found["index.html"]
    assert r"\textless{}b\textgreater{}bold" in found["tables/untrained.tex"]
