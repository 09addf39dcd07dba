"""Reports on nets with batch normalisation, by themselves and beside those without it."""

import re

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from made_up_study import Files
from vgg_ablation.analysis.claims import CLAIMS, judge
from vgg_ablation.analysis.findings import Findings, find
from vgg_ablation.model.table1 import ABLATION
from vgg_ablation.report.document import cost_sections, joined, sections
from vgg_ablation.report.figures.errors import LINE_STYLES, error_by_depth
from vgg_ablation.report.tables import all_tables

BATCH = tuple(f"{arch}_BN" for arch in ABLATION)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    """The six nets without and with batch normalisation at the fixed scale, three runs each."""
    return find(Files(tmp_path_factory.mktemp("both"), [*ABLATION, *BATCH], 3).read())


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    """The six nets with batch normalisation alone."""
    return find(Files(tmp_path_factory.mktemp("batch"), BATCH, 3).read())


def report(findings: Findings) -> str:
    return joined(sections(findings, all_tables(findings)))


def column(findings: Findings, table: str, name: str) -> list[str]:
    made = all_tables(findings)[table]
    return [row[made.header.index(name)] for row in made.rows]


# What is computed


def test_a_claim_is_judged_for_each_normalisation_from_its_own_nets(both: Findings) -> None:
    judged = both.judgements
    assert [(one.norm, one.claim.key) for one in judged] == [
        (norm, claim.key) for norm in ("none", "batch") for claim in CLAIMS
    ]
    for part in both.study.by_norm:
        ours = [one.components for one in judged if one.norm == part.norm]
        alone = [one.components for one in judge(part)]
        for components, expected in zip(ours, alone, strict=True):
            assert [(one.label, one.difference.mean) for one in components] == [
                (one.label, one.difference.mean) for one in expected
            ]


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_p_values_are_corrected_over_the_claims_of_one_normalisation(both: Findings, norm: str) -> None:
    components = [one for judgement in both.judgements if judgement.norm == norm for one in judgement.components]
    adjusted = multipletests([one.difference.p_value for one in components], method="holm")[1]
    assert np.array([one.p_adjusted for one in components]) == pytest.approx(adjusted)
    assert {one.difference.family for one in components} == {len(components)}


def test_nets_are_compared_within_a_normalisation_alone(both: Findings) -> None:
    pairs = [(one.first, one.second) for one in both.comparisons]
    assert len(pairs) == 2 * 15
    assert all(set(pair) <= set(ABLATION) or set(pair) <= set(BATCH) for pair in pairs)
    plain, batch = both.comparisons[:15], both.comparisons[15:]
    assert [(one.neighbours, one.published) for one in batch] == [(one.neighbours, one.published) for one in plain]


def test_orders_are_compared_within_a_normalisation(both: Findings) -> None:
    assert [one.nets for *_, one in both.agreements] == [
        *(("A", "A_LRN", "B", "C", "D", "E"), ("A", "B", "D", "E")),
        *(("A_BN", "A_LRN_BN", "B_BN", "C_BN", "D_BN", "E_BN"), ("A_BN", "B_BN", "D_BN", "E_BN")),
    ]


# What is said of both


def test_plain_nets_come_first_and_each_net_is_beside_the_papers(both: Findings) -> None:
    assert column(both, "result", "net") == [*ABLATION, *BATCH]
    theirs = column(both, "result", "paper top-1, %")
    assert theirs[:6] == theirs[6:] == ["29.6", "29.7", "28.7", "28.1", "27.0", "27.3"]


def test_a_claim_on_both_says_of_which_nets_it_is(both: Findings) -> None:
    claims = column(both, "claims", "claim")
    assert {claim.removesuffix("; points per layer").rpartition("(")[2] for claim in claims} == {
        "without batch normalisation)",
        "with batch normalisation)",
    }
    assert "18 claims, each of the paper's once without and once with batch normalisation: " in report(both)


def test_the_papers_configurations_are_shown_once(both: Findings) -> None:
    of = zip(column(both, "table-1", "net"), column(both, "table-1", "of"), strict=True)
    assert [net for net, whose in of if whose == "paper"] == [*ABLATION]


def test_the_training_settings_say_which_nets_have_it(both: Findings) -> None:
    (value,) = [row[1] for row in all_tables(both)["training"].rows if row[0] == "batch normalisation"]
    assert value == f"no ({', '.join(ABLATION)}); yes ({', '.join(BATCH)})"


def test_fusions_of_each_normalisation_are_beside_the_papers(both: Findings) -> None:
    table = all_tables(both)["table-6"]
    theirs = {
        row[0]: row[table.header.index("paper top-1, %")] for row in table.rows if row[1] == "dense, three scales"
    }
    assert [theirs[name] for name in ("D+E", "D_BN+E_BN")] == ["24.0", "24.0"]


def test_the_depth_has_a_line_in_the_figure_for_each_normalisation(
    both: Findings, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[object, int]] = []
    monkeypatch.setattr(
        "vgg_ablation.report.figures.errors._draw_line",
        lambda _, points, **mark: drawn.append((mark["linestyle"], len(points))),
    )
    list(error_by_depth(both))
    assert drawn == 2 * [(style, 6) for style in LINE_STYLES.values()]  # for wide and for narrow screens


# What is said of one


def test_a_report_on_nets_with_it_says_so_once(batch: Findings) -> None:
    text = report(batch)
    assert re.match(r"# VGG depth ablation on .*, batch-normalised nets \(study `sample`\)\n", text)
    assert text.count("which the paper's nets do not have") == 1
    assert "`dvc exp run report -S norm=all` adds the nets without batch normalisation." in text
    assert "-S arch=all -S norm=batch -S scale=fixed`" in joined(cost_sections(batch.study))


def test_a_report_on_the_papers_nets_does_not_mention_it_but_as_a_setting(six_found: Findings) -> None:
    mentions = [line for line in report(six_found).splitlines() if "batch" in line and "batch size" not in line]
    assert len(mentions) == 2
    assert re.match(r"\| batch normalisation +\| no +\|$", mentions[1])
    assert "`dvc exp run report -S norm=all` adds the nets with batch normalisation." in mentions[0]
