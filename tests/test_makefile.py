"""Checks of `make` before minutes are spent, and its environment for unusual users."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
UNSET = ("LOGNAME", "USER", "PIP_INDEX_URL", "PIP_USER", "UV_DEFAULT_INDEX", "MAKEFLAGS", "MAKELEVEL")


def make(*arguments: str, variables: Mapping[str, str], folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in UNSET} | {**variables}
    return subprocess.run(
        ["make", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def exported(name: str, **variables: str) -> str:
    return make(f"--eval=show: ; @echo $${name}", "show", variables=variables).stdout.strip()


def test_a_folder_without_git_is_refused_before_the_set_up_with_the_commands_that_help(tmp_path: Path) -> None:
    shutil.copyfile(ROOT / "Makefile", tmp_path / "Makefile")
    done = make("reproduce", variables={}, folder=tmp_path)
    assert done.returncode != 0
    assert done.stdout == ""
    assert done.stderr.splitlines()[:3] == [
        "this is no git repository (from a ZIP?); first run:",
        "  git init && git add --all",
        "  git commit --message download",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["Makefile"]


def test_gits_own_line_is_passed_on(tmp_path: Path) -> None:
    shutil.copyfile(ROOT / "Makefile", tmp_path / "Makefile")
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    assert make("reproduce", variables={}, folder=tmp_path).stderr.startswith("fatal: your current branch")


def test_uv_uses_the_index_of_pip(tmp_path: Path) -> None:
    uv = tmp_path / "uv"
    uv.write_text('#!/bin/sh\necho "$UV_DEFAULT_INDEX"\n')
    uv.chmod(0o755)

    def index(**variables: str) -> str:
        return make(f"BIN={tmp_path}", "--eval=show: ; @$(UV)", "show", variables=variables).stdout.strip()

    assert index(PIP_INDEX_URL="pip-index") == "pip-index"
    assert index(PIP_INDEX_URL="pip-index", UV_DEFAULT_INDEX="uv-index") == "uv-index"


def test_pip_installs_into_the_environment_whatever_a_user_has_set() -> None:
    assert exported("PIP_USER", PIP_USER="1") == "0"
    assert exported("PIP_TARGET", PIP_TARGET="elsewhere") == ""


@pytest.mark.parametrize(
    ("variables", "name"), [({}, str(os.getuid())), ({"LOGNAME": "ann"}, "ann"), ({"USER": "ann"}, "")]
)
def test_a_user_without_a_name_gets_one(variables: dict[str, str], name: str) -> None:
    assert exported("LOGNAME", **variables) == name


def test_a_home_that_cannot_be_written_is_replaced(tmp_path: Path) -> None:
    assert exported("HOME", HOME=str(tmp_path / "missing")) == str(ROOT / ".state/home")
    assert exported("HOME", HOME=str(tmp_path)) == str(tmp_path)
