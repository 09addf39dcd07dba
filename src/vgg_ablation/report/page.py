"""The report as one HTML file that needs nothing else: style and figures are inside it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from vgg_ablation.report import figures
from vgg_ablation.report.inputs import Net, Study
from vgg_ablation.report.published import SINGLE_SCALE
from vgg_ablation.report.sections import Section, caption_of
from vgg_ablation.report.tables import Row, interval


@dataclass(frozen=True)
class Panel:
    """One drawing and what it says in words, for those who do not see it."""

    svg: Markup
    words: str


@dataclass(frozen=True)
class Illustration:
    """Panels side by side under one caption; `key` explains their marks."""

    panels: list[Panel]
    caption: str
    wide: bool = False
    key: Panel | None = None


def document(
    title: str, lead: str, finding: str, sections: Sequence[Section], study: Study, rows: Sequence[Row]
) -> str:
    """Return the whole page; `rows` are those of the protocol that nets compare under."""
    environment = Environment(
        loader=PackageLoader("vgg_ablation", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["code"] = code
    illustrations = {"result": depth(study, rows), "tuning": search(study), "training": learning(study)}
    return environment.get_template("index.html.jinja").render(
        title=title, lead=lead, finding=finding, sections=sections, illustrations=illustrations
    )


def code(text: str) -> Markup:
    """Return text as HTML, with what stands in backticks as code."""
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 (escaped just here)


def depth(study: Study, rows: Sequence[Row]) -> Illustration:
    """Return error against depth, this study's beside the paper's."""
    protocol = _lower(caption_of(study.protocols[0], study.nets))
    ours = "; ".join(f"{row.arch} {interval(row.top1_error, row.top1_error_low, row.top1_error_high)}" for row in rows)
    paper = "; ".join(f"{arch} {errors.top1:.1f}" for arch, errors in SINGLE_SCALE.items())
    return Illustration(
        [
            _panel(figures.ours_by_depth(rows, study), f"Top-1 error in percent with 95 % interval by net: {ours}."),
            _panel(figures.paper_by_depth(), f"The paper's top-1 error in percent by net: {paper}."),
        ],
        f"Top-1 error against depth. Left: this study ({protocol}); large dots are means, whiskers 95 % intervals, "
        "small dots single runs, crosses runs that did not train. Right: the paper's errors on ImageNet. The axes of "
        "error differ. Nets of one depth (A and A_LRN, C and D) stand side by side.",
        wide=True,
    )


def learning(study: Study) -> Illustration:
    """Return the learning curves of all nets."""
    return Illustration(
        [_panel(figures.learning_curves(net, study), _learning_words(net, study)) for net in study.nets],
        "Training loss and validation accuracy by epoch, a line a run. Dotted: a net that guesses. Dashed: a run that "
        "did not train. All nets have the same axes.",
    )


def _learning_words(net: Net, study: Study) -> str:
    curves = study.curves[study.curves["arch"] == net.arch]
    last = curves[curves["epoch"] == curves["epoch"].max()]["validation_accuracy"].dropna()
    end = f"validation accuracy ends between {last.min():.1f} and {last.max():.1f} %" if len(last) else "no accuracy"
    return f"Learning curves of net {net.arch}: {len(net.runs)} runs, {net.did_not_train} did not train; {end}."


def search(study: Study) -> Illustration:
    """Return the trials of every net's search."""
    key = "Colours run from low (dark) to high (bright) validation accuracy; marks tell how a trial ended."
    return Illustration(
        [_panel(figures.search(net, study), _search_words(net)) for net in study.nets],
        "The search: each mark is a trial at its learning rate and weight decay, coloured by validation accuracy where "
        "it ran to its end, on one scale for all nets.",
        key=_panel(figures.search_key(study), key),
    )


def _search_words(net: Net) -> str:
    tuned = net.tuned
    return (
        f"Trials of net {net.arch}: {tuned.complete} complete, {tuned.pruned} pruned, {tuned.diverged} diverged, "
        f"{tuned.at_chance} at chance; chosen learning rate {tuned.learning_rate:.3g}, weight decay "
        f"{tuned.weight_decay:.3g}."
    )


def _panel(svg: str, words: str) -> Panel:
    return Panel(Markup(svg), words)  # noqa: S704 (drawn by us; matplotlib escapes the text in it)


def _lower(text: str) -> str:
    return text[0].lower() + text[1:]
