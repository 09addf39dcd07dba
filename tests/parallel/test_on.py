"""`--on` without Ray, and the script for SLURM; test_cluster.py has the tests with Ray."""

import shutil
import subprocess
import sys

import pytest

from tiny_study import ROOT, SAMPLE
from vgg_ablation.errors import StageError
from vgg_ablation.parallel.__main__ import main, open_engine
from vgg_ablation.parallel.units import Work
from vgg_ablation.runtime.settings import StudySettings


def test_without_ray_one_line_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    for module in ("cluster", "nodes"):
        monkeypatch.delitem(sys.modules, f"vgg_ablation.parallel.{module}", raising=False)
    work = Work(StudySettings.model_validate(SAMPLE), "fixed")
    with pytest.raises(StageError, match=r"^--on needs Ray, which is not installed; install it: make cluster$"):
        open_engine(work, ["A"], "auto", None)


@pytest.mark.parametrize("option", ["--slots=2", "--dry-run"])
def test_a_cluster_takes_no_option_about_this_machine(capsys: pytest.CaptureFixture[str], option: str) -> None:
    with pytest.raises(SystemExit):
        main(["--on", "auto", option])
    assert "--on cannot be combined with --slots or --dry-run" in capsys.readouterr().err


def test_the_script_for_slurm_is_valid_shell() -> None:
    script = ROOT / "docs/slurm.sh"
    checks = [["bash", "-n"], *([["shellcheck"]] if shutil.which("shellcheck") else [])]
    for check in checks:
        done = subprocess.run([*check, script], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")
