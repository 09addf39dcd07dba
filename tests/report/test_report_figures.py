import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from made_up_study import Files, Make
from vgg_ablation.analysis.study import Study
from vgg_ablation.paper import TABLE_3
from vgg_ablation.report import class_figures, error_figures, figures, training_figures
from vgg_ablation.report.drawing import STYLE, VARIABLES, Drawing
from vgg_ablation.report.sections import Findings, find

CSS = (Path(figures.__file__).parent / "style.css").read_text()


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Drawing]:
    """The figures of two nets at two training scales with two runs each, one of which did not train."""
    files = Files(tmp_path_factory.mktemp("drawn"), ["A", "D"], 2, 10, {("D", 1)}, ["fixed", "jitter"])
    return figures.all_figures(find(files.read()))


@pytest.fixture
def styled():
    with mpl.rc_context(STYLE):
        yield


def test_a_study_has_its_figures(drawn: dict[str, Drawing]):
    assert list(drawn) == [
        "error-by-depth", "error-by-depth-paper", "claims", "error-by-protocol", "pairs", "search-key", "search-A",
        "search-D", "importances", "learning-fixed-A", "learning-fixed-D", "learning-jitter-A", "learning-jitter-D",
        "class-errors", "classes-by-depth", "confusions", "reliability-A", "reliability-D", "compute",
    ]  # fmt: skip
    assert all(name == drawing.name for name, drawing in drawn.items())


def test_one_net_has_the_figures_that_need_no_other(make: Make):
    drawn = figures.all_figures(find(make("C", runs=1).read()))
    assert "learning-fixed-C" in drawn
    assert not {"pairs", "claims", "classes-by-depth", "confusions"} & set(drawn)


def test_one_net_of_two_classes_with_one_trial_has_figures(make: Make):
    files = make("A", runs=1, classes=2)
    files.trials = files.trials.iloc[:1]
    assert {"search-A", "class-errors", "compute"} <= set(figures.all_figures(find(files.read())))


def test_a_study_in_which_nothing_trained_has_figures(make: Make):
    files = make("A E", runs=1, untrained={("A", 0), ("E", 0)})
    files.curves = files.curves.iloc[:0]
    files.trials["state"], files.trials["outcome"], files.trials["validation_accuracy"] = "complete", "diverged", np.nan
    drawn = figures.all_figures(find(files.read()))
    assert "importances" not in drawn
    assert not [name for name, drawing in drawn.items() if "nan" in drawing.svg]


# As files


def test_a_figure_is_a_whole_document_that_tells_what_it_shows(drawn: dict[str, Drawing]):
    for drawing in drawn.values():
        root = ElementTree.fromstring(drawing.svg)  # noqa: S314
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert root.get("role") == "img"
        assert root.get("aria-label") == f"{drawing.title}. {drawing.words}"
        assert re.search(r"\d", drawing.words)


def test_a_figures_file_needs_no_variables_of_a_page_and_has_a_ground_of_its_own(drawn: dict[str, Drawing]):
    for drawing in drawn.values():
        assert "var(" not in drawing.svg
        ground = re.search(r"<path [^>]*fill: (#\w{6})", drawing.svg)
        assert ground
        assert ground[1] == "#fefefe"


def test_no_figure_holds_a_bitmap_or_an_address(drawn: dict[str, Drawing]):
    for drawing in drawn.values():
        assert "<image" not in drawing.svg
        assert re.findall(r"https?://[^\"]*", drawing.svg) == ["http://www.w3.org/2000/svg"]


# In the page


def test_ids_are_of_one_figure_alone(drawn: dict[str, Drawing]):
    ids = [found for drawing in drawn.values() for found in re.findall(r'\bid="([^"]*)"', drawing.inline)]
    assert len(set(ids)) == len(ids)
    for drawing in drawn.values():
        used = set(re.findall(r'(?:href="#|url\(#)([^")]*)', drawing.inline))
        assert used <= set(re.findall(r'\bid="([^"]*)"', drawing.inline))


def test_inline_colours_are_variables_of_the_page(drawn: dict[str, Drawing]):
    used = {name for drawing in drawn.values() for name in re.findall(r"var\(--(\w+)\)", drawing.inline)}
    assert used == set(VARIABLES.values())
    assert used <= set(re.findall(r"--(\w+):", CSS))
    for drawing in drawn.values():
        assert not [colour for colour in VARIABLES if colour in drawing.inline]


def test_figures_have_the_colours_of_the_pages_light_theme():
    light = dict(re.findall(r"--(\w+): (#\w{6});", CSS))
    assert {name: light[name] for name in VARIABLES.values() if name != "paper"} == {
        name: colour for colour, name in VARIABLES.items() if name != "paper"
    }


def test_the_dark_theme_has_the_same_colours_by_day_as_a_browser_without_it():
    plain = dict(re.findall(r"--(\w+): (#\w{6});", CSS))
    assert dict(re.findall(r"--(\w+): light-dark\((#\w{6}),", CSS)) == plain


# What they show


def test_the_error_by_depth_has_every_run_and_the_means(drawn: dict[str, Drawing]):
    data = drawn["error-by-depth"].data
    for (_, _), rows in data.groupby(["net", "scale"]):
        runs = rows[rows["measure"] != "mean"]["top1_error"]
        mean = rows[rows["measure"] == "mean"].iloc[0]
        assert len(runs) == 2
        assert mean["top1_error"] == pytest.approx(runs.mean())
        assert mean["low"] < mean["top1_error"] < mean["high"]


def test_a_run_that_did_not_train_has_a_mark_of_its_own(drawn: dict[str, Drawing], make: Make):
    def crosses(study: Study) -> int:
        with mpl.rc_context(STYLE):
            return error_figures.error_by_depth(study).svg.count("#b3261e")

    assert crosses(make("A", runs=2).read()) == 0
    assert crosses(make("A", runs=2, untrained={("A", 1)}).read()) > 0


@pytest.mark.usefixtures("styled")
def test_the_papers_figure_has_all_of_table_3():
    data = error_figures.paper_by_depth().data
    assert len(data) == sum(map(len, TABLE_3.values())) == 12
    assert data[(data["net"] == "E") & (data["S"] == "[256; 512]")]["top1_error"].tolist() == [25.5]


def test_every_pair_is_in_the_matrix_both_ways(six_found: Findings):
    with mpl.rc_context(STYLE):
        drawing = next(iter(error_figures.pairs(six_found.comparisons)))
    assert len(drawing.data) == 15
    shown = re.findall(r">([+\u2212]\d+\.\d)</text>", drawing.svg)
    expected = [f"{sign * points:+.1f}".replace("-", "\u2212") for points in drawing.data["points"] for sign in (-1, 1)]
    assert sorted(shown) == sorted(expected)


def test_the_differences_behind_the_claims_are_those_of_the_judgements(six_found: Findings):
    with mpl.rc_context(STYLE):
        data = next(iter(error_figures.claims(six_found.judgements))).data
    expected = [part for one in six_found.judgements for part in one.differences]
    assert data["difference"].tolist() == [label for label, _, _ in expected]
    assert data["points"].tolist() == [difference.mean for _, difference, _ in expected]


def test_protocols_of_a_net_are_those_of_its_scale(drawn: dict[str, Drawing]):
    data = drawn["error-by-protocol"].data
    assert data[(data["net"] == "A") & (data["scale"] == "jitter")]["protocol"].tolist() == [
        "dense", "dense_scales", "multi_crop", "combined",
    ]  # fmt: skip


def test_class_errors_are_those_of_the_outcomes(drawn: dict[str, Drawing], tmp_path: Path):
    files = Files(tmp_path, ["A", "D"], 2, 10, {("D", 1)}, ["fixed", "jitter"])
    tables = []
    for run in range(2):
        labels, predicted = files.arrays[f"split/{run}/labels"], files.arrays[f"A/fixed/{run}/dense/class"]
        tables.append(pd.DataFrame({"label": labels, "wrong": 100.0 * (labels != predicted)}))
    expected = pd.concat(tables).groupby("label")["wrong"].mean()
    shown = drawn["class-errors"].data.sort_values("category")["A"]
    assert shown.to_numpy() == pytest.approx(expected.to_numpy())


def test_many_classes_stay_a_small_figure(make: Make):
    with mpl.rc_context(STYLE):
        drawing = class_figures.class_errors(make("A D", runs=1, classes=80).read())
    assert len(drawing.data) > class_figures.NAMED_CLASSES
    assert drawing.wide
    assert len(drawing.svg) < 20_000


def test_confusions_are_off_the_diagonal_and_fall_most_first(drawn: dict[str, Drawing]):
    data = drawn["confusions"].data
    assert (data["category"] != data["taken for"]).all()
    assert (data["D"] - data["A"]).is_monotonic_increasing


def test_reliability_leads_to_the_expected_calibration_error(make: Make):
    files = make("A", runs=1)
    with mpl.rc_context(STYLE):
        data = next(iter(class_figures.reliabilities(files.read()))).data
    gaps = (data["images"] * (data["confidence"] - data["accuracy"]).abs()).sum() / data["images"].sum()
    assert 100 * gaps == pytest.approx(files.metrics["nets"][0]["runs"][0]["protocols"]["dense"]["ece"], abs=0.01)
    inside = data.dropna()
    assert ((inside["confidence"] >= inside["bin_low"]) & (inside["confidence"] <= inside["bin_high"])).all()


def test_operations_are_counted_from_images_and_multiply_accumulates(drawn: dict[str, Drawing], tmp_path: Path):
    files = Files(tmp_path, ["A", "D"], 2, 10, {("D", 1)}, ["fixed", "jitter"])
    costs = files.costs[(files.costs["arch"] == "D") & (files.costs["stage"] != "evaluate")]
    gmacs = next(net["gmacs"] for net in files.metrics["nets"] if net["arch"] == "D")
    shown = drawn["compute"].data.set_index(["net", "scale"])["operations"]
    assert shown["D", "jitter"] == pytest.approx(costs["images"].sum() * gmacs * 1e9 * 2 * 3)
    until_fixed = costs[costs["scale"] != "jitter"]
    assert shown["D", "fixed"] == pytest.approx(until_fixed["images"].sum() * gmacs * 1e9 * 2 * 3)


@pytest.mark.usefixtures("styled")
def test_losses_that_cannot_be_drawn_are_left_out(make: Make):
    files = make("A", runs=2, untrained={("A", 1)})
    failed = files.curves.index[files.curves["run"] == 1]
    files.curves.loc[failed[1:], "train_loss"] = [1e30, np.inf, -np.inf, *[np.nan] * (len(failed) - 4)]
    study = files.read()
    assert "nan" not in training_figures.learning_curves(study.nets[0], study).svg


@pytest.mark.usefixtures("styled")
def test_a_choice_at_the_edge_is_said(make: Make):
    study = make("A B", runs=1).read()
    edges = [
        "at the edge of the space: learning rate" in training_figures.search(net, study).words for net in study.nets
    ]
    assert edges == [False, True]


# Importances


def trials(value: Callable[[float, float], float], number: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    rates, decays = 10 ** rng.uniform(-4, -1, number), 10 ** rng.uniform(-5, -2, number)
    return pd.DataFrame(
        {
            "arch": "A",
            "state": "complete",
            "outcome": "",
            "learning_rate": rates,
            "weight_decay": decays,
            "validation_accuracy": [value(rate, decay) for rate, decay in zip(rates, decays, strict=True)],
        }
    )


@pytest.mark.parametrize("matters", ["learning_rate", "weight_decay"])
def test_the_setting_that_alone_matters_has_nearly_all_of_the_importance(make: Make, matters: str):
    net = make("A", runs=1).read().nets[0]
    table = trials(lambda rate, decay: -np.log(rate if matters == "learning_rate" else decay))
    shares = training_figures.importance(net, table)
    assert shares is not None
    assert shares[matters] > 0.9
    assert sum(shares.values()) == pytest.approx(1)


def test_a_trial_that_diverged_counts_as_a_bad_one(make: Make):
    net = make("A", runs=1).read().nets[0]
    table = trials(lambda rate, decay: np.nan if rate > 3e-3 else 60.0 + np.log10(decay) / 100)
    shares = training_figures.importance(net, table)
    assert shares is not None
    assert shares["learning_rate"] > 0.9


@pytest.mark.parametrize("number", [0, 1, 3])
def test_too_few_trials_tell_no_importance(make: Make, number: int):
    net = make("A", runs=1).read().nets[0]
    assert training_figures.importance(net, trials(lambda rate, decay: rate, number)) is None


def test_trials_that_are_all_alike_tell_no_importance(make: Make):
    assert training_figures.importance(make("A", runs=1).read().nets[0], trials(lambda rate, decay: 50.0)) is None


# The same bytes


@pytest.mark.parametrize("name", ["error-by-depth", "search-A", "learning-fixed-A", "class-errors", "compute"])
def test_nobodys_matplotlib_settings_change_a_figure(make: Make, drawn: dict[str, Drawing], name: str):
    files = make("A D", runs=2, untrained={("D", 1)}, scales="fixed jitter")
    study = files.read()
    again = {
        "error-by-depth": lambda: error_figures.error_by_depth(study),
        "search-A": lambda: training_figures.search(study.nets[0], study),
        "learning-fixed-A": lambda: training_figures.learning_curves(study.nets[0], study),
        "class-errors": lambda: class_figures.class_errors(study),
        "compute": lambda: error_figures.compute(study),
    }
    own: dict[Any, Any] = {"font.size": 20, "axes.grid": False, "lines.linewidth": 5, "svg.fonttype": "path"}
    with mpl.rc_context(own), mpl.rc_context(STYLE):
        assert again[name]().svg == drawn[name].svg
