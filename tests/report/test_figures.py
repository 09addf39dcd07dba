import io
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure as MplFigure
from PIL import Image

import made_up_study
from made_up_study import EXPECTED, Files, Make
from vgg_ablation.analysis import study as study_module
from vgg_ablation.analysis.findings import Findings, find
from vgg_ablation.analysis.study import Study
from vgg_ablation.paper.tables import TABLE_3, TORCHVISION
from vgg_ablation.report import document
from vgg_ablation.report.figures import classes, errors, style, training
from vgg_ablation.report.figures import draw as draw_module
from vgg_ablation.report.figures.draw import FIGURES, draw
from vgg_ablation.report.figures.style import STYLE, Figure
from vgg_ablation.report.tables import all_tables

SVG = "{http://www.w3.org/2000/svg}"


class Drawn:
    """Figures of a study, and the matplotlib figures that they were saved from, by name."""

    def __init__(self, findings: Findings, *makes: Callable[[Findings], Iterator[Figure]]) -> None:
        drawn: dict[str, MplFigure] = {}
        figure = style.figure

        def kept(fig: MplFigure, name: str, *values: Any, **options: Any) -> Figure:
            drawn[name] = fig
            if narrow := options.get("narrow"):
                drawn[f"{name}, narrow"] = narrow
            return figure(fig, name, *values, **options)

        with pytest.MonkeyPatch.context() as patch, mpl.rc_context(STYLE):
            patch.setattr(style, "figure", kept)
            self.figures = {figure.name: figure for make in makes or FIGURES for figure in make(findings)}
        self.axes = {name: fig.axes for name, fig in drawn.items()}

    @property
    def clipped(self) -> list[str]:
        """Names of the figures not all of which is inside; the learning curves of one scale stand for all."""
        names = self.axes.keys() - {"learning-curves-large", "learning-curves-jitter"}
        return [name for name in names if not whole(self.axes[name][0].get_figure(root=True))]


def whole(fig: Any) -> bool:
    """Return True if all that is drawn is inside the figure."""
    with mpl.rc_context(STYLE):
        fig.draw_without_rendering()
        drawn = fig.get_tightbbox()
    width, height = fig.get_size_inches()
    return min(drawn.x0, drawn.y0, width - drawn.x1, height - drawn.y1) > -0.02


@pytest.fixture(scope="module")
def large_findings(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    """Seven nets at three training scales, five runs of 100 epochs, 40 trials; the third run of E does not train."""
    scales, untrained = ["fixed", "large", "jitter"], {("E", 2)}
    files = Files(tmp_path_factory.mktemp("large"), list(EXPECTED), 5, 40, untrained, scales)
    runs = [(arch, scale, run) for scale in scales for arch in EXPECTED for run in range(5)]
    failed = [(arch, run) in untrained for arch, _, run in runs]
    curves = [
        made_up_study.curve(files.rng, *run, 40, fails, epochs=100) for run, fails in zip(runs, failed, strict=True)
    ]
    files.curves = pd.DataFrame([row for curve in curves for row in curve])
    trials = [made_up_study.search(files.rng, arch, 40, trials=40) for arch in EXPECTED]
    files.trials = pd.DataFrame([row for search in trials for row in search])
    return find(files.read())


@pytest.fixture(scope="module")
def large(large_findings: Findings) -> Drawn:
    return Drawn(large_findings)


# Which figures there are


def test_a_study_has_its_figures_in_the_order_of_the_page(large: Drawn):
    assert {name: figure.section for name, figure in large.figures.items()} == {
        "error-by-depth": "result", "claims": "claims", "error-by-protocol": "paper", "pairs": "pairs",
        "search": "training", "trial-errors": "training", "learning-curves-fixed": "training",
        "learning-curves-large": "training", "learning-curves-jitter": "training", "class-errors": "classes",
        "class-changes-none": "classes", "reliability": "classes", "costs": "cost",
    }  # fmt: skip


def test_one_net_with_one_trial_and_two_classes_has_the_figures_that_need_no_other_net(make: Make):
    files = make("C", runs=1, classes=2)
    files.trials = files.trials.iloc[:1]
    drawn = Drawn(find(files.read()))
    assert not {"pairs", "claims", "class-changes-none"} & set(drawn.figures)
    assert {"error-by-depth", "search", "learning-curves-fixed", "class-errors", "costs"} <= set(drawn.figures)


def test_a_study_in_which_nothing_trained_has_figures(make: Make):
    files = make("A", runs=1, untrained={("A", 0)})
    files.curves = files.curves.assign(train_loss=np.nan, validation_loss=np.nan, validation_accuracy=np.nan)
    files.curves.loc[files.curves.index[:4], "train_loss"] = [2.3, 1e30, np.inf, -np.inf]
    files.trials["state"], files.trials["outcome"], files.trials["validation_accuracy"] = "complete", "diverged", 0.0
    drawn = Drawn(find(files.read()))
    assert {"error-by-depth", "search", "learning-curves-fixed"} <= set(drawn.figures)
    assert not [figure.name for figure in drawn.figures.values() if "nan" in figure.alt]
    assert np.isfinite(panel(drawn, "learning-curves-fixed", 0).lines[0].get_ydata()).sum() == 1


def test_failed_trials_of_nearly_one_weight_decay_are_drawn_without_a_warning(make: Make):
    files = make("C")
    files.trials[["state", "outcome"]] = "complete", ""
    files.trials.loc[files.trials.index[:2], ["outcome", "weight_decay"]] = [
        ["at chance", 0.01],
        ["at chance", 0.01 - 5e-18],
    ]
    assert "search" in Drawn(find(files.read()), training.searches).figures


def test_a_net_that_is_not_in_the_paper_has_its_place(make: Make, monkeypatch: pytest.MonkeyPatch):
    study = make("A E", runs=1).read()
    monkeypatch.setattr(study_module, "ARCHITECTURES", ("A", "F"))
    drawn = Drawn(find(renamed(study, "E", "F", weight_layers=21)), errors.error_by_depth)
    labels = [label.get_text() for label in drawn.axes["error-by-depth"][0].get_xticklabels()]
    assert labels == ["A\n11", "F\n21"]


def renamed(study: Study, old: str, new: str, **changes: Any) -> Study:
    nets = [net.model_copy(update={"arch": new, **changes}) if net.arch == old else net for net in study.nets]
    arrays = {name.replace(f"{old}/", f"{new}/"): array for name, array in study.arrays.items()}
    tables = {name: getattr(study, name).replace({"arch": {old: new}}) for name in ("curves", "trials", "costs")}
    return replace(study, nets=nets, arrays=arrays, **tables)


# Files


def test_the_page_of_a_large_study_is_below_400_kb(large: Drawn, large_findings: Findings):
    parts = document.sections(large_findings, all_tables(large_findings))
    parts += document.cost_sections(large_findings.study)
    assert len(document.page("Report", parts, list(large.figures.values()), "dvc repro").encode()) < 400_000


def test_each_figure_is_a_file_of_its_type_that_fits_the_page_described_with_numbers(large: Drawn):
    assert large.clipped == []
    for figure in large.figures.values():
        if figure.mime == "image/svg+xml":
            root = ElementTree.fromstring(figure.data)  # noqa: S314
            assert root.tag == f"{SVG}svg"
            assert [text for text in root.iter(f"{SVG}text") if text.text]
            width = float(root.get("width", "").removesuffix("pt")) / 72
        else:
            with Image.open(io.BytesIO(figure.data)) as image:
                assert image.format == "PNG"
                width = image.width / style.DPI
        assert 2 < width <= style.WIDE + 0.01
        assert Path(figure.file_name).suffix == (".svg" if figure.mime == "image/svg+xml" else ".png")
        assert figure.title
        assert figure.caption.endswith(".")
        assert sum(character.isdigit() for character in figure.alt) >= 4
        assert "nan" not in figure.alt


def test_the_same_study_gives_the_same_bytes_whatever_a_users_matplotlib_settings(
    make: Make, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(draw_module, "FIGURES", (training.learning_curves, classes.errors_by_class))
    findings = find(make("A", runs=1).read())
    first = draw(findings)
    own: dict[Any, Any] = {"font.size": 20, "axes.grid": False, "lines.linewidth": 5, "svg.fonttype": "path"}
    with mpl.rc_context(own):
        again = draw(findings)
    assert {figure.mime for figure in first} == {"image/svg+xml", "image/png"}
    assert again == first


# What they show


def test_the_error_by_depth_shows_every_run_and_marks_those_that_did_not_train(large: Drawn, large_findings: Findings):
    ours, *_ = large.axes["error-by-depth"]
    points = {
        mark: [np.ravel(line.get_ydata())[0] for line in ours.lines if line.get_marker() == mark] for mark in "ox"
    }
    runs = [run for net in large_findings.study.nets for run in net.runs]
    assert points["x"] == [run.protocols["dense"].top1_error for run in runs if run.did_not_train]
    assert set(points["o"]) >= {run.protocols["dense"].top1_error for run in runs if not run.did_not_train}


def test_the_published_errors_are_those_of_table_3_and_of_torchvision(large: Drawn):
    _, paper, torchvision = large.axes["error-by-depth"]
    for axes, tables in ((paper, TABLE_3), (torchvision, TORCHVISION)):
        shown = [list(np.ravel(line.get_ydata())) for line in axes.lines]
        assert shown == [[error.top1 for error in table.values()] for table in tables.values()]


def test_every_pair_is_in_the_matrix_both_ways(large: Drawn, large_findings: Findings):
    shown = sorted(float(text.get_text().replace("−", "-")) for text in large.axes["pairs"][0].texts)
    points = [round(one.difference.mean, 1) for one in large_findings.comparisons]
    assert shown == sorted([*points, *(-one for one in points)])
    assert len(shown) == 7 * 6


def test_the_claims_differences_and_verdicts_are_those_of_the_judgements(large: Drawn, large_findings: Findings):
    expected = [(part.difference.mean, one.verdict) for one in large_findings.judgements for part in one.components]
    (axes,) = large.axes["claims"]
    means = [np.ravel(line.get_xdata())[0] for line in axes.lines if line.get_marker() == "o"]
    assert list(zip(means, [text.get_text() for text in axes.texts], strict=True)) == expected


def test_every_class_has_a_column_and_the_hardest_is_first(monkeypatch: pytest.MonkeyPatch, make: Make):
    simulated = np.random.default_rng(0).uniform(0, 100, (256, 2))
    names = [f"{number:03d}.{'long$name ' * 12}" for number in range(256)]
    table = pd.DataFrame(simulated, columns=["A", "D"], index=names)
    monkeypatch.setattr(classes, "class_errors", lambda *_: table)
    files = make("A D", runs=1)
    files.summary["categories"] = names[:10]
    drawn = Drawn(find(files.read()), classes.errors_by_class, classes.changes_with_depth)
    image = np.asarray(drawn.axes["class-errors"][0].images[0].get_array())
    assert image.mean(axis=0) == pytest.approx(np.sort(simulated.mean(axis=1))[::-1])
    labels = [
        *drawn.axes["class-changes-none"][0].get_xticklabels(),
        *drawn.axes["class-changes-none"][0].get_yticklabels(),
    ]
    assert any(label.get_text().endswith("…") for label in labels)
    assert not drawn.clipped


def test_learning_curves_show_the_mean_of_the_runs_that_trained(large: Drawn, large_findings: Findings):
    curves = large_findings.study.curves
    trained = curves[(curves["arch"] == "E") & (curves["scale"] == "jitter") & (curves["run"] != 2)]
    place = list(EXPECTED).index("E")
    dashed, mean, _ = panel(large, "learning-curves-jitter", place).lines
    assert mean.get_ydata() == pytest.approx(trained.groupby("epoch")["train_loss"].mean().to_numpy())
    assert dashed.get_linestyle() == "--"
    below = large.axes["learning-curves-jitter"]
    shown = [axes for axes in below if axes.get_ylim() == (0, 100) and len(axes.lines) == 3]
    errors = trained.groupby("epoch")["train_error"].mean().to_numpy()
    assert any(axes.lines[1].get_ydata() == pytest.approx(errors) for axes in shown)


def test_runs_without_validation_images_have_curves_of_training_loss_and_error_alone(make: Make):
    files = make("A B", runs=2)
    files.curves = files.curves.assign(validation_loss=np.nan, validation_accuracy=np.nan)  # empty cells in the file
    study = files.read()
    drawn = Drawn(find(study), training.learning_curves)
    labels = [axes.get_ylabel() for axes in drawn.axes["learning-curves-fixed"]]
    assert labels == ["training\nloss", "", "training\nerror, %", ""]
    assert not drawn.clipped
    ends = study.curves[(study.curves["arch"] == "B") & (study.curves["epoch"] == 40)]["train_error"]
    said = (
        f"Last running training error in percent, lowest and highest run: .*; B {ends.min():.3g} to {ends.max():.3g}[.]"
    )
    assert re.fullmatch(said, drawn.figures["learning-curves-fixed"].alt)


def test_every_trial_is_in_the_column_of_its_net(large: Drawn, large_findings: Findings):
    (axes,) = large.axes["trial-errors"]
    trials = large_findings.study.trials
    marks = [line for line in axes.lines if str(line.get_marker()) in "ovx"]
    by_net = [np.sum([len(np.ravel(mark.get_ydata())) for mark in marks[3 * n : 3 * n + 3]]) for n in range(7)]
    assert by_net == [40] * 7
    ended = trials[(trials["state"] == "complete") & (trials["outcome"] == "")]
    shown = np.concatenate([np.ravel(mark.get_ydata()) for mark in marks if mark.get_marker() == "o"])
    assert np.sort(shown) == pytest.approx(np.sort(100 - ended["validation_accuracy"]))


def test_errors_are_drawn_against_parameters_multiply_accumulates_and_operations(
    large: Drawn, large_findings: Findings
):
    nets = large_findings.study.at("fixed")
    for axes, values, count in zip(
        large.axes["costs"], ([net.params / 1e6 for net in nets], [1e3 * net.gmacs for net in nets], None), (7, 7, 21),
        strict=True,
    ):  # fmt: skip
        xs = [float(np.ravel(line.get_xdata())[0]) for line in axes.lines if str(line.get_marker()) in "osD"]
        assert len(xs) == count
        assert values is None or xs == pytest.approx(values)


def test_images_are_shown_of_a_rendered_study_alone(make: Make):
    files = make("A", runs=1)
    files.write()
    sheet = files.folder / "data" / "processed" / "contact-sheet.jpg"
    Image.new("RGB", (80, 30), "white").save(sheet)
    (example,) = classes.examples(find(files.again()))
    with Image.open(io.BytesIO(example.data)) as image:
        assert (image.format, image.size) == ("WEBP", (40, 30))
    files.summary["source"] = "caltech256"
    files.write_data()
    assert sheet.exists()
    assert list(classes.examples(find(files.again()))) == []


def panel(drawn: Drawn, name: str, place: int) -> Any:
    titled = [axes for axes in drawn.axes[name] if axes.get_title(loc="left")]
    return titled[place]


def test_the_calibration_errors_are_those_of_the_metrics(large: Drawn, large_findings: Findings):
    net = large_findings.study.nets[0]
    ece = np.mean([run.protocols["dense"].ece for run in net.runs])
    assert f"mean over runs: {net.arch} {ece:.1f}," in large.figures["reliability"].alt
