import re
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from made_up_study import Files, Make
from vgg_ablation.analysis.study import Study
from vgg_ablation.evaluate import metrics
from vgg_ablation.paper import TABLE_3, TABLE_4, TORCHVISION
from vgg_ablation.report.markdown import document
from vgg_ablation.report.sections import (
    MEASURES,
    Findings,
    Section,
    agreements,
    curves,
    find,
    images,
    lead,
    provenance,
    result,
    search,
    sections,
    title,
)
from vgg_ablation.report.tables import PROTOCOL_WORDS

KEYS = ["answer", "result", "claims", *(f"table-{number}" for number in range(1, 7)), "pairs", "agreement", "fairness"]
KEYS += ["search", "curves", "classes", "calibration", "data", "provenance"]


def parts(found: Findings) -> dict[str, Section]:
    return {section.key: section for section in sections(found)}


def prose(found: Findings) -> str:
    """The report's Markdown."""
    return document(title(found.study), sections(found), "")


@pytest.fixture
def found(six_found: Findings) -> Findings:
    return six_found


def test_the_answer_comes_first_and_where_it_comes_from_last(six_found: Findings):
    assert list(parts(six_found)) == KEYS


# The data's name


@pytest.mark.parametrize(
    ("source", "categories", "line"),
    [
        ("sample", 10, "10 rendered categories, not Caltech-256"),
        ("caltech256", 10, "Caltech-256 (10 of its 256 categories)"),
        ("/home/ann/office.tar", 10, "10 categories of `office.tar`"),
        (
            "https://ann:secret@example.org/data/office.tar?key=1",
            2,
            "2 categories of `https://example.org/data/office.tar`",
        ),
    ],
)
def test_the_first_line_names_the_data_and_the_study(make: Make, source: str, categories: int, line: str):
    files = make("A", runs=1, classes=categories)
    files.summary["source"] = source
    found = find(files.read("mine"))
    assert prose(found).splitlines()[0] == f"# VGG depth ablation on {line} (study `mine`)"
    assert not re.search("secret|key=1|/home/ann", prose(found))


@pytest.mark.parametrize(("clutter", "words"), [(False, "256 categories"), (True, "256 categories and clutter")])
def test_clutter_is_no_category_of_its_256(six: Study, clutter: bool, words: str):
    names = [f"{number:03d}.thing" for number in range(1, 257)] + ["257.clutter"] * clutter
    data = six.data.model_copy(update={"source": "caltech256", "categories": names})
    assert f"Caltech-256 ({words})" in title(replace(six, data=data))


def test_rendered_images_are_called_so(six_found: Findings):
    assert "The images are drawn by a program" in " ".join(parts(six_found)["answer"].paragraphs)


def test_what_was_left_out_is_counted_by_reason(six_found: Findings):
    assert "77 greyscale; 3 excluded (duplicate: 2, not an image: 1)" in prose(six_found)


# The answer


def test_the_answer_is_two_sentences_with_the_best_and_the_worst_net(found: Findings):
    (text, _) = parts(found)["answer"].paragraphs
    best, *_, worst = sorted(found.lead_rows, key=lambda row: row.top1_error)
    for row, words in ((best, "has the lowest top-1 error"), (worst, "the highest")):
        error = f"{row.top1_error:.1f} % [{row.top1_error_low:.1f}, {row.top1_error_high:.1f}]"
        assert f"{row.arch} {words}, {error}" in text
    assert "of 6 nets of 11 to 19 weight layers" in text
    assert len(re.findall(r"\.(?= [A-Z0-9]|$)", text)) == 2


DEPTHS = {"A": 11, "B": 13, "C": 16, "D": 16, "E": 19}


@pytest.mark.parametrize(
    ("points", "spread", "words"),
    [
        (-1.5, 0.0, "The error falls with depth here, as the paper claims: slope over A, B, C, D, E"),
        (1.5, 0.0, "The error rises with depth here, against the paper's claim: slope over A, B, C, D, E"),
        (0.0, 4.0, "Whether the error falls with depth is undecided here: slope over A, B, C, D, E"),
    ],
)
def test_the_answer_begins_with_the_verdict_on_depth(make: Make, points: float, spread: float, words: str):
    files = make("A B C D E", runs=5)
    own = {arch: np.random.default_rng(layers).permutation(5) * spread for arch, layers in DEPTHS.items()}
    errors = {arch: list(50 + points * (layers - 15) + own[arch]) for arch, layers in DEPTHS.items()}
    files.set_errors("fixed", "dense", **errors)
    assert sections(find(files.read()))[0].paragraphs[0].startswith(words)


def test_the_answer_has_the_slope_of_the_error_over_depth(whole_found: Findings):
    text = parts(whole_found)["answer"].paragraphs[0]
    nets = [row for row in whole_found.lead_rows if row.arch in ("A", "B", "C", "D", "E")]
    slope = np.polyfit([row.weight_layers or 0 for row in nets], [row.top1_error for row in nets], 1)[0]
    (judged,) = [one for one in whole_found.judgements if one.claim.key == "depth"]
    (_, difference, _), *_ = judged.differences
    interval = f"[{difference.low:+.2f}, {difference.high:+.2f}]"
    assert f"per weight layer (fixed, dense) {slope:+.2f} points {interval}; of 7 nets of 8 to 19" in text


def test_without_the_five_depths_the_answer_says_nothing_of_depth(make: Make):
    text = sections(find(make("A B", runs=2).read()))[0].paragraphs[0]
    assert "with depth" not in text
    assert text.startswith("Of 2 nets of 11 to 13 weight layers B has the lowest top-1 error, ")


def test_runs_that_did_not_train_are_counted_in_the_answer(six_found: Findings, whole_found: Findings):
    assert "S = 72; 1 of 30 runs did not train)" in parts(six_found)["answer"].paragraphs[0]
    assert "did not train" not in parts(whole_found)["answer"].paragraphs[0]


def test_the_answer_counts_no_pair_with_the_5x5_net(make: Make):
    files = make("A B B_5x5")
    files.set_errors(A=[40, 41, 42, 43, 44], B=[20, 22, 21, 24, 23], B_5x5=[80, 81, 82, 83, 84])
    text = sections(find(files.read()))[0].paragraphs[0]
    assert "1 of 1 pair of Table 1's nets is told apart" in text
    assert "largest decided difference is that of B, " in text
    assert "below A;" in text


def test_the_5x5_net_beside_one_of_table_1_makes_no_pair_of_these(make: Make):
    text = sections(find(make("B B_5x5", runs=2).read()))[0].paragraphs[0]
    assert "One net of Table 1 alone has none of them to be compared with; " in text


def test_the_largest_decided_difference_is_told(make: Make):
    files = make("A A_LRN B")
    files.set_errors(A=[40, 41, 42, 43, 44], A_LRN=[41, 40, 43, 42, 44], B=[20, 22, 21, 24, 23])
    text = parts(find(files.read()))["answer"].paragraphs[0]
    assert "2 of 3 pairs of Table 1's nets are told apart, 1 of the 2 neighbours in Table 3 among them" in text
    assert re.search(r"largest decided difference is that of B, 20\.\d points \[\d+\.\d, \d+\.\d\] below A", text)


def test_what_could_have_been_detected_is_told_where_nothing_is_decided(make: Make):
    files = make("A B", runs=3)
    files.set_errors(A=[30.0, 35.0, 32.5], B=[32.5, 30.0, 35.0])
    found = find(files.read())
    (one,) = found.comparisons
    text = sections(found)[0].paragraphs[0]
    assert (
        f"No pair of Table 1's nets is told apart, where a true difference of {one.difference.detectable:.1f} points"
        in text
    )
    assert "would have been found with power 80 %;" in text


def test_what_could_have_been_detected_is_that_after_holm(make: Make):
    files = make("A B C", runs=3)
    files.set_errors(A=[30.0, 35.0, 32.5], B=[32.5, 30.0, 35.0], C=[35.0, 32.5, 30.0])
    assert "found with power 80 % after Holm for 3 tests" in sections(find(files.read()))[0].paragraphs[0]


def test_the_verdicts_on_the_papers_claims_are_counted(found: Findings):
    text = parts(found)["answer"].paragraphs[0]
    verdicts = [one.verdict for one in found.judgements]
    for verdict in ("reproduced", "contradicted", "undecided"):
        assert f"{verdicts.count(verdict)} {verdict}" in text
    assert f"of the paper's {len(verdicts) - verdicts.count('not asked')} claims judged here" in text


def test_one_net_is_compared_with_none(make: Make):
    text = prose(find(make("C").read()))
    assert "With one net there is nothing to compare it with." in text
    assert "Net C with 16 weight layers" in text
    assert "It takes two nets to compare them." in text


def test_one_run_says_what_its_interval_leaves_out(make: Make):
    found = prose(find(make("A B", runs=1).read()))
    assert "leaves out how the error varies between splits and between seeds" in found
    assert "variance clustered by run" not in found
    assert "as one run cannot tell a net from its split and its seed" in found


# Partial reports


def test_a_partial_report_says_so_in_its_title_and_its_first_line(make: Make):
    study = make("A C", runs=2).read_apart()
    lines = prose(find(study)).split("\n\n")
    assert lines[0].startswith("# Partial report: VGG depth ablation on ")
    assert "2 nets and training scales in this report, still missing A_LRN (fixed), B (fixed), D (fixed)" in lines[1]


def test_a_whole_report_does_not_call_itself_partial(six_found: Findings):
    assert "artial" not in prose(six_found).split("## ")[0]


def test_the_5x5_net_stands_beside_the_six(whole_found: Findings):
    found = parts(whole_found)
    assert [row[0] for row in found["result"].tables[0].rows] == ["A", "A_LRN", "B", "C", "D", "E", "B_5x5"]
    assert "7 nets of 8 to 19 weight layers" in found["answer"].paragraphs[0]


# The other sections


def test_the_definition_of_calibration_is_that_of_the_evaluation():
    assert f"over {metrics.BINS} bins of equal width" in MEASURES


def test_guessing_is_told(make: Make):
    assert "Guessing has a top-1 error of 66.7 %" in prose(find(make("C", runs=1, classes=3).read()))


def test_runs_that_did_not_train_stay_in_the_means(six_found: Findings):
    assert "Runs that did not train stay in the means" in prose(six_found)


def test_every_claim_stands_with_verdict_difference_and_rule(found: Findings):
    section = parts(found)["claims"]
    verdicts, rules = section.tables
    assert len(verdicts.rows) == sum(max(len(one.differences), 1) for one in found.judgements)
    for one in found.judgements:
        lines = [row for row in verdicts.rows if row[0] == one.claim.text]
        assert {row[2] for row in lines} == {one.verdict}
        for row, (label, difference, _) in zip(lines, one.differences, strict=False):
            assert row[3:5] == (label, f"{difference.mean:+.1f} [{difference.low:+.1f}, {difference.high:+.1f}]")
        assert (one.claim.text, one.why, one.claim.rule) in rules.rows


def test_only_a_fall_has_a_detectable_difference(found: Findings):
    table = parts(found)["claims"].tables[0]
    shown = {row[0]: row[-1] for row in table.rows if row[3] != "–"}
    expected = {one.claim.text: one.claim.expects for one in found.judgements if one.differences}
    assert {text for text, cell in shown.items() if cell == "–"} == {
        text for text, expects in expected.items() if expects != "fall"
    }
    assert set(expected.values()) == {"fall", "no fall", "no change"}


def test_every_pair_stands_with_its_difference(found: Findings):
    table = parts(found)["pairs"].tables[0]
    assert len(table.rows) == 15
    means = {row.arch: row.top1_error for row in found.lead_rows}
    for row in table.rows:
        first, second = row[0].split(" → ")
        assert float(row[2].split()[0]) == pytest.approx(means[second] - means[first], abs=0.0501)


def test_pairs_are_compared_at_every_training_scale_and_test(whole_found: Findings):
    lead, elsewhere = parts(whole_found)["pairs"].tables
    assert len(lead.rows) == 21
    assert len(elsewhere.rows) == 21 * 8
    means = {(row.scale, row.protocol, row.arch): row.top1_error for row in whole_found.rows}
    protocols = {words: name for name, words in PROTOCOL_WORDS.items()}
    for row in elsewhere.rows:
        first, second = row[2].split(" → ")
        test = row[0], protocols[row[1]]
        shown = float(row[3].split()[0])
        assert shown == pytest.approx(means[*test, second] - means[*test, first], abs=0.0501)


def test_the_papers_difference_stands_beside_ours(found: Findings):
    table = parts(found)["pairs"].tables[0]
    (row,) = [row for row in table.rows if row[0] == "A → B"]
    assert row[7] == "-0.9"
    assert row[1] == "yes"


def test_the_order_is_told_from_the_lowest_error(found: Findings):
    ranked = sorted(found.lead_rows, key=lambda row: row.top1_error)
    text = ", ".join(f"{row.arch} {row.top1_error:.1f}" for row in ranked)
    assert f"Mean errors, lowest first: {text}." in parts(found)["agreement"].paragraphs[0]


def test_two_nets_have_no_agreement_with_an_order(make: Make):
    section = parts(find(make("A B", runs=2).read()))["agreement"]
    assert section.tables == ()
    assert "An order takes 3 nets that were published too" in section.paragraphs[1]


def test_tied_nets_are_told_to_be_tied(make: Make):
    files = make("A B C", runs=2)
    for protocol in ("centre", "dense"):
        files.set_errors(protocol=protocol, A=[30, 30], B=[30, 30], C=[30, 30])
    section = agreements(find(files.read()))
    assert section.tables == ()
    assert "Their errors are tied" in section.paragraphs[1]


def orders(files: Files) -> list[dict[str, str]]:
    (table,) = agreements(find(files.read())).tables
    return [dict(zip(table.header, row, strict=True)) for row in table.rows]


def mean_errors(files: Files, protocol: str, archs: str) -> list[float]:
    runs = {net["arch"]: net["runs"] for net in files.metrics["nets"]}
    return [np.mean([run["protocols"][protocol]["top1_error"] for run in runs[arch]]).item() for arch in archs.split()]


def test_our_order_is_held_against_the_papers_at_the_same_training_scale(make: Make):
    files = make("C D E", runs=2, scales="large")
    (paper,) = orders(files)  # torchvision has two of these nets alone
    theirs = [TABLE_3["large"][arch].top1 for arch in "CDE"]
    tau = stats.kendalltau(mean_errors(files, "dense", "C D E"), theirs)[0]
    assert paper["order"] == "the paper's (Table 3, dense, S = 384)"
    assert paper["this study's"] == "dense, training scale large"
    assert paper["tau-b"].startswith(f"{tau:.2f} [")


def test_where_the_paper_has_too_few_of_our_nets_its_fixed_scale_stands_in(make: Make):
    (paper, _) = orders(make("A B D", runs=2, scales="large"))
    assert paper["order"] == "the paper's (Table 3, dense, S = 256)"


def test_torchvisions_order_is_held_against_that_of_centre_crops(make: Make):
    files = make("A B D E", runs=2)
    files.set_errors(protocol="centre", A=[20, 21], B=[30, 31], D=[40, 41], E=[50, 51])
    files.set_errors(protocol="dense", A=[50, 51], B=[40, 41], D=[30, 31], E=[20, 21])
    (_, torchvision) = orders(files)
    theirs = [errors.top1 for errors in TORCHVISION.values()]
    tau = stats.kendalltau(mean_errors(files, "centre", "A B D E"), theirs)[0]
    assert torchvision["this study's"] == "centre crop, training scale fixed"
    assert torchvision["tau-b"].startswith(f"{tau:.2f} [")


def test_the_papers_figures_are_named_by_their_table(make: Make):
    files = make("C D", runs=1, scales="large")
    for net in files.metrics["nets"]:
        for run in net["runs"]:
            del run["protocols"]["dense"]
    for fusion in files.metrics["fusions"]:
        for run in fusion["runs"]:
            del run["protocols"]["dense"]
    section = result(find(files.read()))
    assert "ImageNet's 1000 classes (Table 4, dense, three scales, S = 384)" in " ".join(section.notes)
    assert [row[-2] for row in section.tables[0].rows] == [f"{TABLE_4['large'][arch].top1:.1f}" for arch in "CD"]


def test_an_interval_is_said_to_be_for_this_pool_of_images(make: Make):
    for runs in (1, 2):
        assert "for splits of this pool of images" in result(find(make("A", runs=runs).read())).notes[0]


def test_the_learning_rate_of_each_training_scale_is_told(whole: Study, six: Study):
    assert "its tuned learning rate times 1 (fixed), 0.1 (large, jitter); training scale" in lead(whole)
    assert "at the learning rate and weight decay tuned for the net; training scale" in lead(six)


def test_test_images_are_said_to_be_apart_within_a_run_alone(six: Study):
    assert "within a run, test images serve for testing alone" in images(six).paragraphs[0]


def test_the_papers_point_is_claimed_where_it_was_tried_alone(make: Make):
    files = make("A B", runs=1)
    said = "The paper's learning rate 0.01 and weight decay 0.0005 are among every net's trials."
    assert said in search(files.read()).paragraphs[0]
    files.trials = files.trials[(files.trials["arch"] == "A") | (files.trials["trial"] > 0)]
    assert said not in search(files.read()).paragraphs[0]


def test_a_choice_at_the_edge_is_flagged(six_found: Findings):
    text = prose(six_found)
    assert "0.1 (edge)" in text
    assert "The learning rate chosen for B sits at the edge of its space" in text


def test_fine_tuning_is_told_with_its_learning_rate(whole_found: Findings):
    assert "with 0.1 of the tuned learning rate" in parts(whole_found)["curves"].paragraphs[0]


def test_settings_that_differ_between_nets_are_all_told(make: Make):
    files = make("A B C", runs=1)
    files.metrics["nets"][1]["training"]["init"] = "paper"
    (table,) = curves(files.read()).tables
    assert ("initialisation", "kaiming (A, C); paper (B)") in table.rows


@pytest.mark.parametrize(
    ("archs", "scales", "command"),
    [
        ("C", "large", "dvc exp run -S study=sample -S arch=C -S scale=large"),
        ("A A_LRN B C D E", "fixed jitter", "dvc exp run -S study=sample -S arch=all -S scale=all"),
    ],
)
def test_the_command_that_makes_the_report_is_told(make: Make, archs: str, scales: str, command: str):
    assert f"Made by `{command}`, with" in provenance(make(archs, runs=1, scales=scales).read()).paragraphs[0]


def test_the_command_for_the_5x5_net_beside_others_is_told(whole: Study, make: Make):
    shallow = "`dvc exp run -S study=sample -S arch=B_5x5 -S scale={}`"
    told = provenance(replace(whole, partial=True)).paragraphs[0]
    assert (
        f"-S arch=all -S scale=all`, {shallow.format('all')} and then `python stages/report.py --partial`, with" in told
    )
    alone = provenance(make("B_5x5", runs=1).read()).paragraphs[0]
    assert f"Made by {shallow.format('fixed')}, with" in alone


def test_everything_has_calibration(found: Findings):
    (table,) = parts(found)["calibration"].tables
    assert len(table.rows) == len(found.rows)


# Odd studies


def test_all_runs_diverged(make: Make):
    files = make("A B", untrained={(arch, run) for arch in "AB" for run in range(5)})
    for net in files.metrics["nets"]:
        net["tuned"] |= {"validation_accuracy": 0.0, "diverged": 15, "complete": 15, "pruned": 0, "at_chance": 0}
        for run in net["runs"]:
            run["reason"] = "diverged in epoch 1"
    files.curves = files.curves.iloc[:0]
    files.trials["state"], files.trials["outcome"] = "complete", "diverged"
    found = prose(find(files.read()))
    assert found.count("diverged in epoch 1") == 10
    assert "10 of 10 runs did not train. Of the search's 30 trials, 30 diverged" in found
    assert "No pair of Table 1's nets is told apart" in found


def test_no_cell_is_nan(whole_found: Findings, make: Make):
    files = make("A B", runs=2)
    files.curves["train_loss"] = float("nan")
    for found in (whole_found, find(files.read())):
        assert not re.search(r"\b(nan|inf|None)\b", prose(found))


def test_tables_have_names_of_their_own(whole_found: Findings, make: Make):
    for found in (whole_found, find(make("A", runs=1).read())):
        names = [table.name for section in sections(found) for table in section.tables]
        assert len(set(names)) == len(names)
