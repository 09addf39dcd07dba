"""The report as Markdown and as an HTML page: both are rendered from templates/*.md.jinja."""

import base64
import io
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup
from PIL import Image

from vgg_ablation.analysis import claims, classes, fairness, fit, search, statistics
from vgg_ablation.analysis.findings import Findings
from vgg_ablation.analysis.rows import published_beside
from vgg_ablation.analysis.study import Net, Study
from vgg_ablation.paper import recipe
from vgg_ablation.paper import tables as paper
from vgg_ablation.report import cost, words
from vgg_ablation.report.figures.style import Figure
from vgg_ablation.report.table import Table, count, decimal, detectable, grouped, inert
from vgg_ablation.report.tables import in_common, place_in_paper
from vgg_ablation.runtime.names import plain
from vgg_ablation.runtime.settings import SCALES

SECTIONS = ("result", "claims", "paper", "pairs", "fairness", "training", "classes", "data")
"""Names of the templates of ablation.md, in order."""
COST_SECTIONS = ("cost", "reproducibility")
"""Names of the templates of cost.md, which differs from one run of a study to the next."""
OPEN = ("result", "claims")
"""Sections that the page shows at once; all others are folded."""

_DETAIL = "\n\n### "


@dataclass(frozen=True)
class Section:
    """A part of the report; its Markdown starts with its heading."""

    key: str
    markdown: str

    @property
    def title(self) -> str:
        """The heading without markup."""
        return self.markdown.partition("\n")[0].lstrip("# ")

    @property
    def body(self) -> str:
        """The Markdown after the heading."""
        return self.markdown.partition("\n")[2]

    @property
    def opening(self) -> str:
        """The Markdown up to the first heading of the third level."""
        return self.markdown.partition(_DETAIL)[0]

    @property
    def details(self) -> list[tuple[str, str]]:
        """Heading and Markdown of each part under a heading of the third level: the page shows them on demand."""
        parts = self.markdown.split(_DETAIL)[1:]
        return [(title, text) for title, _, text in (part.partition("\n") for part in parts)]


def sections(findings: Findings, tables: dict[str, Table]) -> list[Section]:
    """Render the sections of ablation.md."""
    study = findings.study
    beside = published_beside(*study.lead)
    modules = (claims, classes, fairness, fit, recipe, search, statistics)
    environment = _markdown_environment(study, tables)
    environment.globals |= {module.__name__.rpartition(".")[2]: module for module in modules}
    environment.globals |= {
        "findings": findings,
        "paper": paper,
        "lead_scale": study.lead[0],
        "lead_protocol": study.lead[1],
        "words": words,
        "scales": SCALES,
        "place_in_paper": place_in_paper,
        "beside": place_in_paper(beside.scale, beside.protocol),
        "in_common": in_common,
        "rate_factors": _rate_factors,
    }
    return [_section(environment, key) for key in SECTIONS]


def cost_sections(study: Study) -> list[Section]:
    """Render the sections of cost.md."""
    environment = _markdown_environment(study, {"cost": cost.by_net(study)})
    environment.globals |= {"total": cost.total(study.costs)}
    return [_section(environment, key) for key in COST_SECTIONS]


def _rate_factors(nets: Sequence[Net]) -> list[str]:
    """Return the learning rates that nets started with over the tuned ones."""
    return [f"{net.training.learning_rate / net.tuned.learning_rate:.3g}" for net in nets]


def _section(environment: Environment, key: str) -> Section:
    return Section(key, tidy(environment.get_template(f"{key}.md.jinja").render()))


def _markdown_environment(study: Study, tables: dict[str, Table]) -> Environment:
    """Return an environment in which every value is printed without markup, unless it is `Markup`."""
    environment = _environment(lambda value: value if isinstance(value, Markup) else Markup(inert(str(value))))  # noqa: S704
    environment.filters |= {
        "decimal": decimal,
        "detectable": detectable,
        "signed": lambda value, digits=1: f"{value:+z.{digits}f}",
        "plain": plain,
        "error": lambda row: f"{row.top1_error:.1f} % [{row.top1_error_low:.1f}, {row.top1_error_high:.1f}]",
    }

    def table(name: str, columns: Sequence[str] = ()) -> Markup:
        if name not in tables:
            return Markup()
        return Markup((tables[name].only(columns) if columns else tables[name]).markdown())  # noqa: S704 (cells are inert)

    environment.globals |= {
        "study": study,
        "percent": {
            "confidence": f"{100 * statistics.CONFIDENCE:.0f}",
            "one_sided": f"{100 * statistics.ONE_SIDED:.0f}",
            "power": f"{100 * statistics.POWER:.0f}",
        },
        "table": table,
        "count": count,
        "grouped": grouped,
    }
    return environment


def _environment(finalize: Callable[[object], object]) -> Environment:
    return Environment(
        loader=PackageLoader("vgg_ablation.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=finalize,
    )


def joined(parts: Iterable[Section]) -> str:
    """Return sections as one Markdown file."""
    return "\n\n".join(part.markdown for part in parts) + "\n"


def tidy(text: str) -> str:
    """Return blocks with one blank line between them, and each paragraph and list item on one line."""
    blocks = re.split(r"\n\s*\n", text.strip())
    return "\n\n".join(block if block.startswith("|") else _lines_joined(block) for block in blocks)


def _lines_joined(block: str) -> str:
    text = re.sub(r" {2,}", " ", re.sub(r"\s*\n(?!- )", " ", block))
    return re.sub(r" (?=[.,;])", "", text)


def page(title: str, parts: Sequence[Section], figures: Iterable[Figure], command: str) -> str:
    """Return the sections as one HTML file that needs no other file and no network; `command` made the figures."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    markdown.validateLink = lambda url: not url.startswith("//") and ":" not in url  # links lead to the report's files
    markdown.add_render_rule("table_open", lambda *_: '<div class="scroll" tabindex="0">\n<table>\n')
    markdown.add_render_rule("table_close", lambda *_: "</table>\n</div>\n")
    environment = _environment(lambda value: value)
    environment.filters["markdown"] = lambda text: Markup(markdown.render(text))  # noqa: S704 (HTML is disabled)
    environment.filters["inline"] = lambda text: Markup(markdown.renderInline(text))  # noqa: S704
    environment.filters["data"] = data_address
    of_sections = {part.key: [figure for figure in figures if figure.section == part.key] for part in parts}
    template = environment.get_template("page.html.jinja")
    text = template.render(title=title, sections=parts, open=OPEN, figures=of_sections, command=command)
    return text.replace(' style="text-align:left"', "").replace('style="text-align:right"', "class=n")  # half the bytes


def data_address(data: bytes, mime: str) -> str:
    """Return an image file as an address. PNG becomes lossless WebP, which takes three quarters of the bytes."""
    if mime == "image/png":
        with Image.open(io.BytesIO(data)) as image:
            image.convert("RGB").save(smaller := io.BytesIO(), "webp", lossless=True)
        data, mime = smaller.getvalue(), "image/webp"
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"
