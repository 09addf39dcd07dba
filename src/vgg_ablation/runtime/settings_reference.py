"""Write docs/settings.md, the reference of all settings: `python -m vgg_ablation.runtime.settings_reference`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MultipleOf
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from vgg_ablation.files import write_text
from vgg_ablation.runtime.console import stage
from vgg_ablation.runtime.params import PARAMS_FILE, read_params, read_studies
from vgg_ablation.runtime.settings import AppendixBSettings, Reference, StudySettings

FILE = Path("docs/settings.md")

_OPENING = """\
# Settings

Generated from `src/vgg_ablation/runtime/settings.py` and `params.yaml` by `make docs`; do not edit.

`dvc exp run -S KEY=VALUE` changes a value in `params.yaml`, where it stays, and runs the study; with `--temp`
the file is not changed. At the top of `params.yaml`:

| key | meaning | allowed |
|---|---|---|
| `arch` | net | `all` (the six nets of Table 1), or one net of `src/vgg_ablation/model/nets.yaml` |
| `norm` | batch normalisation after every convolution; the paper's nets have none. Reports call net C with it `C_BN` \
| `all` (every net both ways), `none` or `batch` |
| `scale` | training scale S (section 3.1) | `all`, `fixed`, `large` or `jitter` |
| `study` | block of `studies` that is used | a name from `studies` |

All other keys but those of the last section begin with `studies.NAME.`, for example
`-S studies.sample.train.epochs=5`. A study needs all of them.
Sections, tables and appendices are those of the paper (arXiv 1409.1556v6).

* **Bold**: differs from the paper.
* ≠: the studies differ from each other.
"""


def main() -> None:
    """Write docs/settings.md from params.yaml."""
    with stage("settings", saved=""):
        write_text(FILE, render(read_studies(StudySettings, PARAMS_FILE), read_params(PARAMS_FILE).of_appendix_b()))


def render(studies: dict[str, StudySettings], appendix_b: AppendixBSettings) -> str:
    """Return the reference as Markdown: a table a section, with the values of all studies side by side."""
    values = {name: study.model_dump(mode="json") for name, study in studies.items()}
    sections = [
        (name, field, {study: block[name] for study, block in values.items()})
        for name, field in StudySettings.model_fields.items()
    ]
    of_appendix_b = {"value": appendix_b.model_dump(mode="json")}
    parts = [_OPENING]
    for name, field, columns in [*sections, ("appendix_b", FieldInfo(annotation=AppendixBSettings), of_appendix_b)]:
        header = ["key", "meaning", "unit", "allowed", "paper", *columns]
        lines = [header, ["---"] * len(header), *_rows(name, field, columns, Reference())]
        text = " ".join(str(_model(field).__doc__).split())
        table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
        parts.append(f"\n## {name}\n\n{text}\n\n{table}")
    return "".join(parts)


def _rows(key: str, field: FieldInfo, values: dict[str, Any], outer: Reference) -> Iterator[list[str]]:
    """Yield the rows of a setting, or of all settings of a section. `outer` is of the section around."""
    reference = next((item for item in field.metadata if isinstance(item, Reference)), Reference())
    paper = reference.paper if outer.paper is None else outer.paper
    section = reference.section or outer.section
    if issubclass(model := _model(field), BaseModel):
        for name, inner in model.model_fields.items():
            below = Reference(paper=paper[name] if isinstance(paper, dict) else None, section=section)
            yield from _rows(f"{key}.{name}", inner, {study: value[name] for study, value in values.items()}, below)
        return
    differ = any(value != next(iter(values.values())) for value in values.values())
    cells = [f"**{_value(value)}**" if paper not in (None, value) else _value(value) for value in values.values()]
    source = f"{'' if paper is None else _value(paper)} {f'({section})' if section else ''}".strip()
    text = " ".join((field.description or "").split())
    yield [f"`{key}`{' ≠' if differ else ''}", text, reference.unit, _allowed(field, reference), source, *cells]


def _model(field: FieldInfo) -> type:
    return field.annotation if isinstance(field.annotation, type) else object


def _allowed(field: FieldInfo, reference: Reference) -> str:
    if reference.allowed:
        return reference.allowed
    if field.annotation is bool:
        return "`true` or `false`"
    if get_origin(field.annotation) is Literal:
        return " or ".join(f"`{name}`" for name in get_args(field.annotation))
    bounds = [_bound(item) for item in field.metadata]
    kind = "integer" if field.annotation is int else "number"
    return ", ".join([kind, *filter(None, bounds)]) if field.annotation in (int, float) else "text"


def _bound(item: object) -> str:
    match item:
        case Ge():
            return f"at least {item.ge:,}"
        case Gt():
            return f"above {item.gt:,}"
        case Le():
            return f"at most {item.le:,}"
        case Lt():
            return f"below {item.lt:,}"
        case MultipleOf():
            return f"a multiple of {item.multiple_of}"
    return ""


def _value(value: object) -> str:
    """Return a value as params.yaml writes it."""
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


if __name__ == "__main__":
    main()
