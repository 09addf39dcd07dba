import re
import shutil
import subprocess
from pathlib import Path

import pytest

from vgg_ablation.analysis.findings import Findings
from vgg_ablation.report.latex import MAIN, main_tables
from vgg_ablation.report.table import Table
from vgg_ablation.report.tables import all_tables

HOSTILE = r"50 % of A_B & C#1 \input{x} ${y}$ ~z^2 <b> – a → b"


def test_no_cell_is_a_command_and_every_row_is_complete(six_found: Findings):
    tables = all_tables(six_found) | {"pairs": Table("pairs", "Pairs", ("a", "b"), [(HOSTILE, HOSTILE)] * 2)}
    text = main_tables(tables)
    assert text.isascii()
    assert r"\input" not in text
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == len(MAIN)
    for name, body in zip(MAIN, re.findall(r"\\toprule\n(.*?)\\bottomrule", text, re.DOTALL), strict=True):
        lines = [line for line in body.splitlines() if line != r"\midrule"]
        assert len(lines) == len(tables[name].rows) + 1
        assert {len(re.findall(r"(?<!\\)&", line)) for line in lines} == {len(tables[name].header) - 1}
        assert all(line.endswith(r"\\") for line in lines)
        assert not re.search(r"(?<!\\)[%#_]", body)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles_all_tables(six_found: Findings, tmp_path: Path):
    tables = all_tables(six_found) | {"pairs": Table("pairs", "Pairs", ("a", "b"), [(HOSTILE, HOSTILE)] * 2)}
    text = main_tables(tables).replace(r"\end{table}", "\\end{table}\n\\clearpage")
    document = f"\\documentclass{{article}}\\usepackage{{booktabs}}\\begin{{document}}{text}\\end{{document}}"
    (tmp_path / "tables.tex").write_text(document)
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "-no-shell-escape", "tables.tex"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
