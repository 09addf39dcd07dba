import csv
import io
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from made_up_study import Make, prose

from vgg_ablation.report import write_report
from vgg_ablation.report.outputs import render
from vgg_ablation.report.tables import ablation

COLUMNS = (
    "arch,weight_layers,params,gmacs,train_scale,test_scale,protocol,runs,top1_error,top1_error_low,top1_error_high,"
    "top5_error,mean_class_recall,learning_rate,weight_decay,did_not_train,paper_top1_error,paper_top5_error"
)
VOID = {"meta", "link", "br", "img"}


class Page(HTMLParser):
    """What a page consists of; fails on an element that is closed out of turn."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.tags: set[str] = set()
        self.figures: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]):
        values = {name: value or "" for name, value in attrs}
        self.tags.add(tag)
        self.ids += [values["id"]] if "id" in values else []
        self.references += [values[name] for name in ("href", "src") if name in values]
        self.figures += [values["aria-label"]] if values.get("role") == "img" else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str):
        assert self.open.pop() == tag


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_a_report_has_its_files(make: Make, tmp_path: Path):
    paths = write_report(make("A", runs=1).read(), tmp_path / "reports")
    names = ["ablation.md", "ablation.csv", "metrics.json", "cost.md", "cost.csv", "index.html"]
    assert [path.name for path in paths] == names
    assert sorted(paths) == sorted((tmp_path / "reports").iterdir())


def test_the_same_study_gives_the_same_bytes_in_another_process_without_torch(make: Make, tmp_path: Path):
    study = make("A B", runs=2).read()
    program = (
        "import sys; from pathlib import Path; from vgg_ablation.report import read_study, write_report;"
        "root = Path(sys.argv[1]);"
        "study = read_study(root / 'results/all', root / 'data', 'sample');"
        "write_report(study, root / 'again');"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
    for name, text in render(study).items():
        assert (tmp_path / "again" / name).read_bytes() == text.encode()


def test_nobodys_matplotlib_settings_change_the_bytes(make: Make):
    import matplotlib as mpl

    study = make("A", runs=1).read()
    before = render(study)["index.html"]
    with mpl.rc_context({"font.size": 20, "axes.grid": False, "lines.linewidth": 5, "svg.fonttype": "path"}):
        assert render(study)["index.html"] == before


# ablation.csv


def test_the_table_has_a_row_a_net_and_protocol(six: dict[str, str]):
    rows = list(csv.DictReader(io.StringIO(six["ablation.csv"])))
    assert six["ablation.csv"].splitlines()[0] == COLUMNS
    assert [(row["protocol"], row["arch"]) for row in rows] == [
        (protocol, arch) for protocol in ("dense", "centre") for arch in ("A", "A_LRN", "B", "C", "D", "E")
    ]
    for row in rows:
        assert float(row["top1_error_low"]) < float(row["top1_error"]) < float(row["top1_error_high"])
    assert [row["did_not_train"] for row in rows[:6]] == ["0", "0", "0", "0", "0", "1"]
    assert (rows[4]["paper_top1_error"], rows[4]["paper_top5_error"]) == ("27", "8.8")


def test_errors_are_means_over_all_runs(make: Make):
    files = make("E", untrained={("E", 2)})
    errors = [run["protocols"]["dense"]["top1_error"] for run in files.metrics["nets"][0]["runs"]]
    assert 90 in errors
    assert ablation(files.read())[0].top1_error == pytest.approx(np.mean(errors))


def test_few_classes_have_no_top5_error(make: Make):
    found = render(make("C", runs=1, classes=3).read())
    assert next(csv.DictReader(io.StringIO(found["ablation.csv"])))["top5_error"] == ""
    assert "top5_error" not in json.loads(found["metrics.json"])["C"]
    assert "Guessing has a top-1 error of 66.7 %" in found["ablation.md"]


# metrics.json


def test_metrics_are_those_of_the_dense_protocol_with_two_decimals(six: dict[str, str]):
    found = json.loads(six["metrics.json"])
    dense = [row for row in csv.DictReader(io.StringIO(six["ablation.csv"])) if row["protocol"] == "dense"]
    assert found.pop("did_not_train") == 1
    assert list(found) == [row["arch"] for row in dense]
    for row in dense:
        for name in ("top1_error", "top5_error", "mean_class_recall"):
            assert found[row["arch"]][name] == pytest.approx(float(row[name]), abs=0.0051)
    assert max(len(number.split(".")[1]) for number in re.findall(r"\d+\.\d+", six["metrics.json"])) == 2


# The data's name


@pytest.mark.parametrize(
    ("source", "categories", "line"),
    [
        ("sample", 10, "10 rendered categories, not Caltech-256"),
        ("caltech256", 256, "Caltech-256 (256 categories)"),
        ("caltech256", 10, "Caltech-256 (10 of its 256 categories)"),
        ("/home/ann/office.tar", 10, "10 categories of `office.tar`"),
        (
            "https://ann:secret@example.org/data/office.tar?key=1",
            1,
            "1 category of `https://example.org/data/office.tar`",
        ),
    ],
)
def test_the_first_line_names_the_data_and_the_study(make: Make, source: str, categories: int, line: str):
    files = make("A", runs=1)
    files.summary |= {"source": source, "categories": [f"{number:03d}.thing" for number in range(1, categories + 1)]}
    found = prose(files.read("mine"))
    assert found.splitlines()[0] == f"# VGG depth ablation on {line} (study `mine`)"
    assert not re.search("secret|key=1|/home/ann", found)


def test_the_page_begins_like_the_markdown(six: dict[str, str]):
    line = six["ablation.md"].splitlines()[0].removeprefix("# ")
    assert f"<title>{line.replace('`', '')}</title>" in six["index.html"]
    heading = re.sub("`(.*)`", "<code>\\1</code>", line)
    assert f"<h1>{heading}</h1>" in six["index.html"]


def test_clutter_is_no_category_of_its_256(make: Make):
    files = make("A", runs=1)
    names = [f"{number:03d}.thing" for number in range(1, 257)]
    files.summary |= {"source": "caltech256", "categories": [*names, "257.clutter"], "clutter": True}
    assert "Caltech-256 (256 categories and clutter)" in prose(files.read()).splitlines()[0]


def test_rendered_images_are_called_so(six: dict[str, str]):
    for name in ("ablation.md", "index.html"):
        assert "The images are drawn by a program" in six[name]


def test_what_was_left_out_is_counted_by_reason(six: dict[str, str]):
    assert "77 greyscale; 3 excluded (duplicate: 2, not an image: 1)" in six["ablation.md"]


# What it says


def test_the_markdown_tables_are_whole_and_line_up(six: dict[str, str]):
    blocks = [block.splitlines() for block in six["ablation.md"].split("\n\n") if block.startswith("|")]
    assert len(blocks) == 7
    for lines in blocks:
        assert len({len(line) for line in lines}) == 1
        assert len({len(cells(line)) for line in lines}) == 1
        assert all(re.fullmatch(r"-{3,}:?", cell) for cell in cells(lines[1]))


def test_errors_stand_with_their_intervals_beside_the_papers(six: dict[str, str]):
    row = json.loads(six["metrics.json"])["D"]
    line = next(line for line in six["ablation.md"].splitlines() if line.startswith("| D "))
    error, paper_top1, paper_top5 = cells(line)[3], *cells(line)[-2:]
    assert re.fullmatch(rf"{row['top1_error']:.1f} \[\d+\.\d, \d+\.\d\]", error)
    assert (paper_top1, paper_top5) == ("27.0", "8.8")


def test_what_did_not_train_is_counted_listed_and_kept(six: dict[str, str]):
    for name in ("ablation.md", "index.html"):
        assert "5 (1 did not train)" in six[name]
        assert "1 of 30 runs did not train." in six[name]
        assert "at chance: training loss 2.303 against ln K = 2.303" in six[name]
        assert "Runs that did not train stay in the means" in six[name]


def test_that_every_run_trained_is_said(make: Make):
    found = prose(make("A B", runs=2).read())
    assert "Every run trained. Of the search's 30 trials, 2 diverged and 4 were at chance when they ended." in found


def test_a_choice_at_the_edge_is_flagged(six: dict[str, str]):
    for name in ("ablation.md", "index.html"):
        assert "0.1 (edge)" in six[name]
        assert "The learning rate chosen for B sits at the edge of its space" in six[name]


def test_the_papers_point_is_claimed_where_it_was_tried_alone(make: Make):
    files = make("A B", runs=1)
    said = "among every net's trials"
    assert said in prose(files.read())
    files.trials = files.trials[(files.trials["arch"] == "A") | (files.trials["trial"] > 0)]
    assert said not in prose(files.read())


def test_one_run_says_what_its_interval_leaves_out(make: Make):
    found = prose(make("A B", runs=1).read())
    assert "leaves out how the error varies between splits and between seeds" in found
    assert "Student's t" not in found
    assert "No comparison is possible" in found


def test_one_net_is_compared_with_none(make: Make):
    assert "Only net C was run, so no comparison between nets is possible." in prose(make("C").read())


def test_a_clear_difference_is_told_and_the_rest_is_undecided(make: Make):
    files = make("A A_LRN B")
    files.set_errors(A=[40, 41, 42, 43, 44], A_LRN=[41, 40, 43, 42, 44], B=[20, 22, 21, 24, 23])
    found = prose(files.read())
    assert "1 of the 2 neighbouring pairs can be told apart" in found
    assert "B below A by 20.0 points. Undecided: A/A_LRN." in found
    assert "1 supported, 0 contradicted, 1 undecided" in found
    assert "Mean errors, lowest first: B 22.0, A 42.0, A_LRN 42.0" in found


def test_settings_that_differ_between_nets_are_all_told(make: Make):
    files = make("A B C", runs=1)
    files.metrics["nets"][1]["training"]["init"] = "paper"
    assert "kaiming (A, C); paper (B)" in prose(files.read())


# Odd studies


def test_all_runs_diverged(make: Make):
    files = make("A B", untrained={(arch, run) for arch in "AB" for run in range(5)})
    for net in files.metrics["nets"]:
        net["tuned"] |= {"validation_accuracy": 0.0, "diverged": 15, "complete": 15, "pruned": 0, "at_chance": 0}
        for run in net["runs"]:
            run["reason"] = "diverged in epoch 1"
    files.curves = files.curves.iloc[:0]
    files.trials["state"], files.trials["outcome"] = "complete", "diverged"
    found = render(files.read())
    assert json.loads(found["metrics.json"])["did_not_train"] == 10
    assert found["ablation.md"].count("diverged in epoch 1") == 10
    assert "The only neighbouring pair cannot be told apart" in found["ablation.md"]


def test_curves_with_losses_that_cannot_be_drawn(make: Make):
    files = make("A", runs=2, untrained={("A", 1)})
    failed = files.curves.index[files.curves["run"] == 1]
    files.curves.loc[failed[1:], "train_loss"] = [1e30, np.inf, -np.inf, *[np.nan] * (len(failed) - 4)]
    assert "nan" not in "".join(re.findall(r"<svg.*?</svg>", render(files.read())["index.html"], flags=re.DOTALL))


def test_no_trial_was_pruned_or_failed(make: Make):
    files = make("A", runs=1)
    files.trials = files.trials[(files.trials["state"] == "complete") & (files.trials["outcome"] == "")]
    assert "Trials of net A" in render(files.read())["index.html"]


def test_a_search_of_one_trial(make: Make):
    files = make("A", runs=1)
    files.trials = files.trials.iloc[:1]
    assert "Trials of net A" in render(files.read())["index.html"]


def test_names_cannot_break_the_page_or_its_tables(make: Make):
    files = make("A", runs=1, untrained={("A", 0)})
    files.metrics["nets"][0]["runs"][0]["reason"] = "<b>bold</b> | bar"
    files.summary["source"] = "/data/<script>alert(1)</script>.tar"
    found = render(files.read("<i>"))
    assert "script" not in Page(found["index.html"]).tags
    assert not Page(found["index.html"]).tags & {"b", "i"}
    assert "<b>bold</b> \\| bar" in found["ablation.md"]


# index.html


def test_the_page_needs_nothing_but_itself(six: dict[str, str]):
    page = Page(six["index.html"])
    own = {f"#{name}" for name in page.ids} | {"ablation.csv", "data:,"}
    assert set(page.references) <= own
    assert "http" not in six["index.html"]
    assert not page.tags & {"script", "img", "iframe", "object"}
    assert set(re.findall(r"url\((.*?)\)", six["index.html"])) <= own


def test_no_id_is_there_twice(six: dict[str, str]):
    page = Page(six["index.html"])
    assert len(set(page.ids)) == len(page.ids)


def test_every_figure_is_told_in_words(six: dict[str, str]):
    page = Page(six["index.html"])
    assert six["index.html"].count("<svg") == len(page.figures) == 2 + 6 + 6 + 1
    assert re.search(r"by net: A \d+\.\d \[\d+\.\d, \d+\.\d\]; A_LRN ", page.figures[0])
    assert six["index.html"].count("<figure>") == six["index.html"].count("<figcaption>") == 3


def test_figures_are_whole_and_take_the_pages_colours(six: dict[str, str]):
    used = set()
    for drawing in re.findall(r"<svg.*?</svg>", six["index.html"], flags=re.DOTALL):
        ElementTree.fromstring(drawing)  # noqa: S314
        used |= set(re.findall(r"var\(--(\w+)\)", drawing))
        assert not re.search(r"#0[1-9]0[1-9]0[1-9]\b", drawing)
    assert used
    assert used <= set(re.findall(r"--(\w+):", six["index.html"]))


@pytest.mark.parametrize("scheme", [0, 1])
@pytest.mark.parametrize("colour", ["ink", "muted", "ours", "second", "bad"])
@pytest.mark.parametrize("ground", ["surface", "page", "mark"])
def test_text_and_marks_stand_out(six: dict[str, str], scheme: int, colour: str, ground: str):
    """Contrast of at least 4.5 to 1, WCAG 2.2 level AA."""

    def luminance(name: str) -> float:
        value = re.findall(rf"--{name}: #(\w{{6}})", six["index.html"])[scheme]
        channels = np.array([int(value[place : place + 2], 16) for place in (0, 2, 4)]) / 255
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    darker, lighter = sorted([luminance(colour), luminance(ground)])
    assert (lighter + 0.05) / (darker + 0.05) >= 4.5
