import csv
import io
import json
import runpy
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from made_up_study import Files
from vgg_ablation.analysis.findings import Findings
from vgg_ablation.analysis.study import Study
from vgg_ablation.report import outputs
from vgg_ablation.report.figures.style import Figure
from vgg_ablation.report.outputs import render, write_report

STAGE = Path(__file__).parents[2] / "stages" / "report.py"
CHANGING = {"cost.md", "tables/cost.csv", "index.html"}
"""Files that may differ between two runs of one study."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Files:
    files = Files(tmp_path_factory.mktemp("made"), ["A", "B"], 2)
    files.write()
    return files


@pytest.fixture(scope="module")
def study(made: Files) -> Study:
    return made.read()


@pytest.fixture(scope="module")
def rendered(study: Study) -> dict[str, bytes]:
    return render(study)


def table(rendered: dict[str, bytes], name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(rendered[name].decode())))


def test_a_report_has_its_files(rendered: dict[str, bytes]):
    top = {name for name in rendered if "/" not in name}
    assert top == {"ablation.md", "ablation.csv", "metrics.json", "claims.json", "index.html", "cost.md"}
    assert {"tables/tables.tex", "tables/cost.csv", "tables/error-by-depth.csv"} < rendered.keys()
    for number in (1, 3, 4, 5, 6):
        assert len(table(rendered, f"tables/table-{number}.csv")) > 0
    assert "figures/error-by-depth" in {name.rpartition(".")[0] for name in rendered}


def test_files_are_written_and_stale_ones_deleted(
    study: Study, rendered: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(outputs, "render", lambda _: rendered)
    for name in ("tables/stale.csv", "figures/stale.svg", "benchmark.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("of an earlier report")
    paths = write_report(study, tmp_path)
    assert paths[0].name == "ablation.md"
    written = {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert written == rendered | {"benchmark.md": b"of an earlier report"}


def prepared(folder: Path, files: Files) -> Path:
    """Return the folder, made one in which the stage runs on the data and results of a made-up study."""
    folder.mkdir()
    settings = json.loads(files.settings().model_dump_json())
    params = {"arch": "all", "norm": "none", "scale": "fixed", "study": "sample", "studies": {"sample": settings}}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    for name in ("data", "results"):
        (folder / name).symlink_to(files.folder / name)
    return folder


def test_the_stage_writes_the_same_bytes_in_another_process_without_torch(
    made: Files, rendered: dict[str, bytes], tmp_path: Path
):
    folder = prepared(tmp_path / "work", made)
    program = "import runpy, sys; runpy.run_path(sys.argv.pop()); sys.exit('torch' in sys.modules)"
    command = [sys.executable, "-c", program, str(STAGE)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "reports/ablation.md and " in done.stdout
    for name, content in rendered.items():
        assert (folder / "reports" / name).read_bytes() == content


def test_the_stage_reports_on_finished_nets_while_a_study_runs_and_refuses_other_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    files = Files(tmp_path / "study", ["C"], 1)
    files.write_apart()
    monkeypatch.chdir(prepared(tmp_path / "work", files))
    monkeypatch.setattr(outputs, "draw", lambda _: [Figure("x", "pairs", "X", "X.", "x", b"", "image/webp", True, ())])
    monkeypatch.setattr(sys, "argv", ["report.py", "--partail"])
    with pytest.raises(SystemExit):
        runpy.run_path(str(STAGE))
    assert capsys.readouterr().err == "report: unknown argument --partail; allowed: nothing, or --partial\n"
    assert not Path("reports").exists()
    monkeypatch.setattr(sys, "argv", ["report.py", "--partial"])
    runpy.run_path(str(STAGE))
    assert Path("reports/ablation.md").read_text().startswith("# Partial report: ")


def test_only_the_cost_changes_with_time_machine_and_commit(
    tmp_path: Path, rendered: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(outputs, "draw", lambda _: [])  # figures take seconds and show no cost
    files = Files(tmp_path, ["A", "B"], 2)
    files.costs["seconds"] *= 2
    files.costs["work_seconds"] *= 2
    files.costs["machine"], files.costs["commit"], files.costs["versions"] = "another", "beef", "Python 4"
    after = render(files.read())
    assert {name for name in after if rendered[name] != after[name]} == CHANGING


def test_the_metrics_are_those_of_ablation_csv_with_two_decimals(rendered: dict[str, bytes]):
    metrics = json.loads(rendered["metrics.json"])
    dense = {row["arch"]: row for row in table(rendered, "ablation.csv") if row["protocol"] == "dense"}
    assert list(metrics) == ["A", "B", "best", "did_not_train"]
    for arch in ("A", "B"):
        assert metrics[arch] == pytest.approx(float(dense[arch]["top1_error"]), abs=0.0051)


def test_claims_json_has_each_judgement_with_six_digits(six_found: Findings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(outputs, "find", lambda _: six_found)
    monkeypatch.setattr(outputs, "draw", lambda _: [])
    found = json.loads(render(six_found.study)["claims.json"])
    assert (found["level"], found["margin"], found["largest_training_error"]) == (0.05, 1.0, 2.0)
    assert found["detectable_between_two_nets"] == pytest.approx(six_found.detectable, rel=1e-5)
    for shown, one in zip(found["claims"], six_found.judgements, strict=True):
        assert (shown["key"], shown["section"], shown["verdict"]) == (one.claim.key, one.claim.section, one.verdict)
        sensitivity = six_found.sensitivities.get(one.name)
        assert shown["fragile"] == (sensitivity.fragile if sensitivity else None)
        assert bool(shown["fragile_because"]) == bool(shown["fragile"])
        errors = {
            (net, scale): error for scale, nets in shown["training_errors"].items() for net, error in nets.items()
        }
        assert errors == pytest.approx(one.training_errors, rel=1e-5)
        assert [part["label"] for part in shown["components"]] == [part.label for part in one.components]
        for component, part in zip(shown["components"], one.components, strict=True):
            values = [component[name] for name in ("estimate", "low", "high", "p_adjusted", "detectable")]
            difference = part.difference
            expected = [difference.mean, difference.low, difference.high, part.p_adjusted, part.detectable]
            assert values == [value and pytest.approx(value, rel=1e-5) for value in expected]


def test_costs_and_errors_by_depth_are_tables_for_machines(rendered: dict[str, bytes], study: Study):
    costs = pd.read_csv(io.BytesIO(rendered["tables/cost.csv"]), keep_default_na=False)
    assert list(costs.columns) == list(study.costs.columns)
    assert list(costs["seconds"]) == list(study.costs["seconds"])
    depths = [(row["weight_layers"], row["net"]) for row in table(rendered, "tables/error-by-depth.csv")]
    assert depths == [("11", "A"), ("13", "B")]
