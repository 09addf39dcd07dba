import os
import subprocess
import sys

from vgg_ablation.model.table1 import ARCHITECTURES, count_parameters
from vgg_ablation.paper.tables import TABLE_1


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


def test_the_table_has_the_size_of_every_net_and_that_of_the_paper() -> None:
    output = run().stdout
    found = rows(output)
    assert [row[0] for row in found] == list(ARCHITECTURES)
    assert [row for row in found if row[0] in (*TABLE_1, "B_5x5")] == [
        ["A", "11", "132,863,336", "7.61", "133"],
        ["A_LRN", "11", "132,863,336", "7.61", "133"],
        ["B", "13", "133,047,848", "11.31", "133"],
        ["C", "16", "133,638,952", "11.77", "134"],
        ["D", "16", "138,357,544", "15.47", "138"],
        ["E", "19", "143,667,240", "19.63", "144"],
        ["B_5x5", "8", "134,503,528", "9.36", "–"],
    ]
    assert "\x1b" not in output  # plain text, as the output is no terminal


def test_the_options_decide_the_size() -> None:
    table = rows(run("--classes", "10", "--input-side", "64", "--width", "0.25").stdout)
    assert ["E", "19", f"{count_parameters('E', 10, 64, 0.25):,}"] in [row[:3] for row in table]


def test_an_impossible_size_is_an_error_of_the_command_line() -> None:
    result = run("--input-side=50")
    assert result.returncode == 2
    assert "50" in result.stderr
    assert "Traceback" not in result.stderr


def test_one_net_is_printed_layer_by_layer_with_its_sums() -> None:
    found = rows(run("D_BN", "--classes", "257").stdout)
    assert [row[0] for row in found[:4]] == ["conv1_1", "conv1_2", "pool1", "conv2_1"]
    assert found[0] == ["conv1_1", "conv 3x3, BN", "64 x 224 x 224", "1,920", "86,704,128"]
    assert [row[0] for row in found[-4:]] == ["fc6", "fc7", "fc8", "sum"]
    assert found[-1][3] == f"{count_parameters('D_BN', 257):,}"


def test_a_net_that_is_not_there_is_an_error_of_the_command_line() -> None:
    result = run("F")
    assert result.returncode == 2
    assert "'F'" in result.stderr
