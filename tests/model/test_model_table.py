import os
import subprocess
import sys

import pytest

from vgg_ablation.model.table1 import count_parameters


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vgg_ablation.model", *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=os.environ | {"COLUMNS": "80", "PYTHONIOENCODING": "utf-8"},
        check=False,
    )


def rows(output: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("│ ").split("│")] for line in output.splitlines() if "│" in line]


def test_the_table_has_the_size_of_every_net_beside_the_papers() -> None:
    output = run().stdout
    assert rows(output) == [
        ["A", "11", "132,863,336", "7.61", "133"],
        ["A_LRN", "11", "132,863,336", "7.61", "133"],
        ["B", "13", "133,047,848", "11.31", "133"],
        ["C", "16", "133,638,952", "11.77", "134"],
        ["D", "16", "138,357,544", "15.47", "138"],
        ["E", "19", "143,667,240", "19.63", "144"],
        ["B_5x5", "8", "134,503,528", "9.36", "–"],
    ]
    assert "\x1b" not in output  # not a terminal: plain text


def test_the_largest_table_fits_80_columns() -> None:
    output = run("--classes", "100000", "--input-side", "1024", "--width", "2").stdout
    assert max(map(len, output.splitlines())) <= 80
    assert "…" not in output


def test_the_options_decide_the_size() -> None:
    table = rows(run("--classes", "10", "--input-side", "64", "--width", "0.25").stdout)
    assert table[5][:3] == ["E", "19", f"{count_parameters('E', 10, 64, 0.25):,}"]


@pytest.mark.parametrize("argument", ["--input-side=50", "--width=0", "--classes=0"])
def test_a_size_that_cannot_be_is_an_error_of_the_command_line(argument: str) -> None:
    result = run(argument)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert argument.split("=")[1] in result.stderr
