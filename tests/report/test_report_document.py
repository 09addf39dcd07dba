import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from judged_study import judged, of_runs, study_of
from made_up_study import Files, Make
from vgg_ablation.analysis.findings import Findings, find
from vgg_ablation.analysis.sensitivity import sensitivities
from vgg_ablation.analysis.study import Study
from vgg_ablation.model.table1 import ABLATION
from vgg_ablation.report import words
from vgg_ablation.report.document import SECTIONS, cost_sections, page, sections
from vgg_ablation.report.figures.style import Figure
from vgg_ablation.report.tables import all_tables


def parts(findings: Findings) -> dict[str, str]:
    """The Markdown of each section by its key."""
    return {part.key: part.markdown for part in sections(findings, all_tables(findings))}


@pytest.fixture(scope="module")
def of_six(six_found: Findings) -> dict[str, str]:
    return parts(six_found)


def test_each_section_has_one_heading(of_six: dict[str, str]):
    assert list(of_six) == list(SECTIONS)
    levels = [re.findall(r"^##?(?= )", text, re.MULTILINE) for text in of_six.values()]
    assert levels == [["#"], *[["##"]] * (len(SECTIONS) - 1)]


# Title and headline


@pytest.mark.parametrize(
    ("source", "categories", "expected"),
    [
        ("sample", 10, "10 rendered categories, not Caltech-256"),
        ("caltech256", 10, "Caltech-256 (10 of its 256 categories)"),
        ("caltech256", 256, "Caltech-256 (256 categories)"),
        ("caltech256", 257, "Caltech-256 (256 categories and clutter)"),
        ("/home/ann/office.tar", 10, "10 categories of office.tar"),
        ("https://ann:secret@example.org/office.tar?key=1", 10, "10 categories of https://example.org/office.tar"),
    ],
)
def test_the_title_names_the_data(six: Study, source: str, categories: int, expected: str):
    names = [f"{number:03d}.thing" for number in range(1, categories + 1)]
    data = six.data.model_copy(update={"source": source, "categories": names, "clutter": categories == 257})
    assert words.describe(data) == expected


def headline(text: dict[str, str]) -> list[str]:
    return text["result"].split("\n\n")[1].splitlines()


def test_the_headline_is_three_lines_above_the_main_table(make: Make):
    found = find(make("A B C D E", runs=2).read())
    text = parts(found)
    depth, nets, fit = headline(text)
    assert text["result"].split("\n\n")[2].startswith("| net ")
    slope = found.judgement("depth", "none").components[0].difference
    fitted = np.polyfit(
        [row.weight_layers or 0 for row in found.lead_rows], [row.top1_error for row in found.lead_rows], 1
    )
    assert depth.startswith("- **Depth: ")
    assert depth.endswith(
        f".** {fitted[0]:+.2f} points per layer (95 % interval {slope.low:+.2f} to {slope.high:+.2f})."
    )
    best, *_, worst = sorted(found.lead_rows, key=lambda row: row.top1_error)
    assert nets.startswith(f"- **Best net {best.arch}, worst net {worst.arch}.** Top-1 error {best.top1_error:.1f} % [")
    assert f" and {worst.top1_error:.1f} % [{worst.top1_error_low:.1f}, {worst.top1_error_high:.1f}]" in nets
    assert fit.startswith(
        "- **Fit and certainty.** 5 of 5 nets fit their training images (training error at most 2.0 %). "
    )


def test_nets_that_did_not_fit_are_named_before_the_effect_of_depth(of_six: dict[str, str], six: Study):
    depth, _, fit = headline(of_six)
    (error,) = [net.training_error for net in six.nets if net.arch == "E"]
    assert depth == (
        f"- **Not trained far enough:** training error E {error:.1f} %, above 2.0 %. The effect of depth is not judged."
    )
    assert "5 of 6 nets fit their training images" in fit
    assert fit.endswith(" 1 of 30 runs did not train.")


def test_depth_is_judged_beside_another_net_that_did_not_fit(make: Make):
    depth, *_ = headline(parts(find(make("A A_LRN B C D E", untrained={("A_LRN", 0)}).read())))
    assert re.match(r"- \*\*Not trained far enough:\*\* training error A_LRN [\d.]+ %, above 2.0 %. \*\*Depth: ", depth)


def test_the_headline_says_which_difference_the_study_finds(of_six: dict[str, str], six_found: Findings):
    assert (
        "With 360 test images and 5 runs, a true difference of "
        f"{six_found.detectable:.1f} points between two nets is found with power 80 %." in headline(of_six)[2]
    )


def test_a_study_that_finds_no_possible_difference_says_so(make: Make):
    files = make("A B", runs=2)
    files.set_errors("fixed", "dense", A=[40.0, 20.0], B=[20.0, 40.0])
    assert "no true difference between two nets is found with power 80 %" in headline(parts(find(files.read())))[2]


def test_the_headline_starts_with_the_verdict_on_depth(make: Make):
    files = make("A B C D E", runs=2)
    depths = {"A": 11, "B": 13, "C": 16, "D": 16, "E": 19}
    files.set_errors("fixed", "dense", **{arch: [50 - 1.5 * (layers - 15)] * 2 for arch, layers in depths.items()})
    (depth, *_) = headline(parts(find(files.read())))
    assert depth.startswith("- **Depth: the error falls (fragile).** -1.52 points per layer")  # one run is left of two


def test_one_net_has_a_headline_too(make: Make):
    found = find(make("C", runs=1).read())
    text = parts(found)
    depth, net, fit = headline(text)
    assert depth == "- **Depth: not tested.** This needs the nets A, B, C, D and E."
    assert net.startswith("- **Net C:** top-1 error ")
    assert fit.endswith(
        "1 of 1 net fit their training images (training error at most 2.0 %). One run decides no difference."
    )
    assert "It takes two nets to compare them." in text["pairs"]
    assert "Wilson's 95 % interval from the test images of one run" in cost_sections(found.study)[1].markdown


def test_a_partial_report_names_what_is_missing(make: Make):
    text = parts(find(make("A C", runs=1).read_apart()))["result"]
    assert text.startswith("# Partial report: VGG depth ablation on ")
    assert "2 nets and training scales in this report; still missing: A_LRN (fixed), B (fixed), D (fixed)" in text


# Sections


def test_every_claim_has_its_verdict_rule_and_reason(of_six: dict[str, str], six_found: Findings):
    text = of_six["claims"]
    assert "To test it: `dvc exp run report -S scale=all`." in text
    assert "Run `dvc exp run report -S arch=B_5x5`, then `python stages/report.py --partial`." in text
    details = text.split("\n\n### ")[1:-1]  # the last has the rules
    assert len(details) == len(six_found.judgements) == len(words.CLAIMS)
    for detail, one in zip(details, six_found.judgements, strict=True):
        assert detail.startswith(f"**{words.SYMBOLS[one.verdict]} {one.verdict}")
        assert words.CLAIMS[one.claim.key] in detail.partition("\n")[0]
        reason = detail.partition("*Why:* ")[2]
        for part in one.components:
            assert f"{part.label} {part.difference.mean:+z.2f} points (95 % interval" in reason
        assert reason.startswith("missing: ") == (one.verdict == "not tested")
        assert reason.startswith("training error E (fixed) ") == (one.verdict == "not trained far enough")


def test_a_difference_that_is_small_and_not_zero_has_its_direction(six_found: Findings):
    errors = {"A": [40.02, 40, 40], "B": [40.0, 40.02, 40], "C": [40.5, 40.5, 40.52], "D": [40.02, 40, 40.02]}
    errors["E"] = [40.0] * 3
    study = study_of({(net, "fixed", "dense"): of_runs(one, 10_000) for net, one in errors.items()})
    judgements = list(judged(study).values())
    text = parts(replace(six_found, judgements=judgements, sensitivities=sensitivities(study, judgements)))["claims"]
    details = text.split("\n\n### ")
    expected = {
        "depth": "Significantly above 0, but by less than 1 point between A and E.",
        "non_linearity": "Significantly above 0, but by less than 1 point.",
        "context": "Significantly below 0, but by less than 1 point.",
    }
    for key, words_on_it in expected.items():
        (detail,) = (one for one in details if words.CLAIMS[key] in one)
        assert detail.startswith("**≈ less than 1 point")
        assert words_on_it in detail
    assert text.count("Significantly") == 3


def test_a_fragile_verdict_has_its_reasons(make: Make):
    files = make("C D", runs=6)
    files.set_errors("fixed", "dense", C=[40.0, 41, 39, 40, 40, 41], D=[28.0, 29, 27, 55, 28, 29])
    text = parts(find(files.read()))["claims"]
    assert "### **? undecided, fragile** Spatial context matters: D is better than C, of the same depth" in text
    assert "*Fragile:* without run 3: reproduced." in text


def test_missing_nets_and_scales_and_an_untrained_net_are_named(make: Make):
    text = parts(find(make("D E", runs=1, untrained={("E", 0)}).read()))
    assert "To test it: `dvc exp run report -S arch=all`." in text["claims"]
    others = ", ".join(arch for arch in ABLATION if arch not in ("D", "E"))
    assert f"`dvc exp run report -S arch=all` adds {others}." in text["paper"]
    assert "`dvc exp run report -S scale=all` adds the training scales large and jitter." in text["paper"]
    saturation = next(one for one in text["claims"].split("\n\n### ") if "The error saturates" in one)
    assert saturation.startswith("**△ not trained far enough** ")
    assert "1 of 1 runs of E (fixed) did not train." in saturation


def test_fairness_names_budgets_edges_reuse_and_leaks(of_six: dict[str, str]):
    text = of_six["fairness"]
    assert "Budgets: every net had the same" in text
    assert "Edges: B (learning rate) is at the edge of the search space; a better value may be outside." in text
    assert re.search(r"the search trained or validated on: run 0 none, run 1 \d+\.\d %, .*run 4 \d+\.\d %\.\n", text)
    assert "Leaks: 6 pairs of images look nearly alike" in text
    assert "Untrained: 1 of 30 runs did not train. Of 90 trials, 6 diverged and 12 ended at chance." in text


def test_differences_of_searches_are_named(make: Make, of_six: dict[str, str]):
    claim = "The paper's learning rate 0.01 and weight decay 0.0005 are among every net's trials."
    assert claim in of_six["training"]
    files = make("A B", runs=1)
    files.metrics["nets"][0]["tuned"]["trials"] = 7
    files.trials = files.trials[(files.trials["arch"] == "A") | (files.trials["trial"] > 0)]
    text = parts(find(files.read()))
    assert claim not in text["training"]
    assert "Budgets differ: trials: 7 (A); 15 (B)." in text["fairness"]


def test_fine_tuning_names_its_learning_rate_and_the_command_that_makes_the_report_is_named(make: Make):
    text = parts(find(make("C", runs=1, scales="fixed large").read()))
    assert "at 0.1 of the tuned learning rate" in text["training"]
    alone = cost_sections(make("C", runs=1, scales="large").read())[1].markdown
    assert "Made by `dvc exp run report -S study=sample -S arch=C -S norm=none -S scale=large`. " in alone


def test_the_checklist_answers_with_the_facts_of_the_study(six: Study):
    text = cost_sections(six)[1].markdown
    for fact in (
        "5 splits of the same images: of each category 60 drawn at random (seed 0 ",
        "Learning rate and weight decay of each net: the best validation accuracy on split 0 of 15 trials",
        "A made-up processor, 2 cores, 24 GiB; cpu (2 threads, bfloat16); 6:50 min in all, 1:33 min of it for",
        "90 trials of the searches (30 pruned, 6 diverged, all included)",
        "Commit c0ffeec0ffee",
        "Rendered by `dataset/sample.py`; MIT licence",
    ):
        assert fact in text
    photographs = replace(six, data=six.data.model_copy(update={"source": "caltech256"}))
    text = cost_sections(photographs)[1].markdown
    assert "doi 10.22002/D1.20087, under the terms of that record; this report shows none of them" in text


def test_a_study_of_the_sources_own_split_says_so(tmp_path: Path):
    """The runs have the same test images, so the intervals are over seeds and these images, and nothing is reused."""
    study = Files(tmp_path, ["A", "C"], runs=3, folders=True).read()
    text = parts(find(study))
    checklist = cost_sections(study)[1].markdown
    assert "The one of the source's folders train, val and test, in all 3 runs; " in checklist
    assert "drawn at random (seed 0 and the split's number)" not in checklist
    assert "| drawn for training, a category | none: the folders train, val and test are the split |" in re.sub(
        " +", " ", text["data"]
    )
    assert "the search trained or validated on: run 0 none, run 1 none, run 2 none." in text["fairness"]


def test_a_study_in_which_nothing_trained_has_a_report(make: Make):
    files = make("A B", runs=1, untrained={("A", 0), ("B", 0)})
    for net in files.metrics["nets"]:
        net["tuned"] |= {"validation_accuracy": None, "diverged": 15, "complete": 15, "pruned": 0, "at_chance": 0}
        for run in net["runs"]:
            run["reason"] = "diverged in epoch 1"
    files.curves = files.curves.iloc[:0]
    files.trials["state"], files.trials["outcome"] = "complete", "diverged"
    text = "".join(parts(find(files.read())).values())
    assert text.count("diverged in epoch 1") == 2
    assert "2 of 2 runs did not train." in text


def test_no_value_is_nan_or_none(of_six: dict[str, str]):
    assert not re.search(r"\b(nan|inf|None|Undefined)\b", "".join(of_six.values()))


# The page


def test_a_figure_is_in_its_section_with_caption_and_alt_text(six_found: Findings):
    figure = Figure(
        "x", "pairs", "Title", "How to read it", 'A "quoted" <b>', b"<svg/>", "image/svg+xml", True, ["x.csv"]
    )
    html = page("Report", sections(six_found, all_tables(six_found)), [figure], "make report")
    section = html.partition('<div id="pairs">')[2].partition("</details>")[0]
    assert '<img src="data:image/svg+xml;base64,PHN2Zy8+" alt="A &#34;quoted&#34; &lt;b&gt;">' in section
    assert "<strong>Title.</strong> How to read it" in section
    assert 'Data: <a href="x.csv">x.csv</a>. Made by <code>make report</code>.' in section
    assert html.count("<img") == 1


def test_the_page_shows_the_reasons_of_a_claim_on_demand(six_found: Findings):
    made = sections(six_found, all_tables(six_found))
    html = page("Report", made, [], "dvc repro")
    claims = html.partition('<section id="claims">')[2].partition("</section>")[0]
    assert claims.count("<details>") == 1 + len(words.CLAIMS)
    assert "###" not in html
    first = claims.partition("<summary><strong>")[2].partition("</details>")[0]
    one = six_found.judgements[0]
    assert first.startswith(f"{words.SYMBOLS[one.verdict]} {one.verdict}")
    assert "<em>Rule:</em> does not fall" in first


def test_names_from_outside_are_no_markup_in_markdown_and_page(make: Make):
    files = make("A D", runs=1, untrained={("D", 0)})
    hostile = "<script>alert(1)</script>![x](http://e)<b>`*|*`"
    files.summary["categories"][0] = hostile
    files.metrics["nets"][1]["runs"][0]["reason"] = hostile
    findings = find(files.read("<i>x</i>"))
    made = sections(findings, all_tables(findings))
    text = "\n\n".join(part.markdown for part in made)
    assert "\\<script>alert(1)" in text
    assert not re.search(r"(?<!\\)<[a-z/]|(?<!\\)\]\(http", text)
    html = page(findings.study.name, made, [], "dvc repro")
    assert len(re.findall("<script", html)) == 1
    assert not re.search(r"<(b|i|img)\b", html)
