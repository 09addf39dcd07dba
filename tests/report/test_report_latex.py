import re
import shutil
import subprocess
from pathlib import Path

import pytest

from vgg_ablation.report.latex import tabular
from vgg_ablation.report.sections import Findings, sections
from vgg_ablation.report.tables import Table, interval

HOSTILE = r"50 % of A_B & C#1 \input{x} ${y}$ ~z^2 <b> `code_1` – a → b"


def test_a_table_is_one_of_booktabs():
    table = Table("pairs", "All pairs", ("net", "error"), [("A", interval(31.2, 30, 33)), ("B", interval(9, 8, 10))])
    assert tabular(table) == (
        "\\begin{table}[ht]\n\\centering\n\\caption{All pairs}\n\\label{tab:pairs}\n\\begin{tabular}{lr}\n\\toprule\n"
        "net & error \\\\\n\\midrule\nA & 31.2 [30.0, 33.0] \\\\\nB & 9.0 [8.0, 10.0] \\\\\n\\bottomrule\n"
        "\\end{tabular}\n\\end{table}\n"
    )


def test_what_latex_would_take_for_a_command_is_escaped():
    (line,) = re.findall(r"\\midrule\n(.*)\n\\bottomrule", tabular(Table("x", "", ("a",), [(HOSTILE,)])))
    assert line == (
        r"50 \% of A\_B \& C\#1 \textbackslash{}input\{x\} \$\{y\}\$ \textasciitilde{}z\textasciicircum{}2 "
        r"\textless{}b\textgreater{} \texttt{code\_1} -- a $\rightarrow$ b \\"
    )


def test_a_bracket_after_a_line_break_is_no_argument_of_it():
    assert "\n{[}72; 144] & x" in tabular(Table("x", "", ("S", "a"), [("[72; 144]", "x")]))


def test_a_column_of_paragraphs_breaks_its_lines():
    text = tabular(Table("x", "", ("a", "b"), [("A", "word " * 30)], frozenset({0, 1})))
    assert r"\begin{tabular}{lp{0.3\linewidth}}" in text


def test_every_line_of_every_table_has_all_its_cells(whole_found: Findings):
    for section in sections(whole_found):
        for table in section.tables:
            body = tabular(table).partition("\\toprule\n")[2].partition("\\bottomrule")[0]
            lines = [line for line in body.splitlines() if line != "\\midrule"]
            assert len(lines) == len(table.rows) + 1
            assert {len(re.findall(r"(?<!\\)&", line)) for line in lines} == {len(table.header) - 1}
            assert all(line.endswith("\\\\") for line in lines)
            assert body.isascii()


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX here")
def test_latex_takes_every_table(whole_found: Findings, tmp_path: Path):
    tables = [table for section in sections(whole_found) for table in section.tables]
    hostile = Table("hostile", HOSTILE, (HOSTILE, HOSTILE), [(HOSTILE, f"[{HOSTILE}")])
    text = "\n\\clearpage\n".join(tabular(table) for table in [*tables, hostile])
    document = f"\\documentclass{{article}}\\usepackage{{booktabs}}\\begin{{document}}{text}\\end{{document}}"
    (tmp_path / "tables.tex").write_text(document)
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "-no-shell-escape", "tables.tex"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
