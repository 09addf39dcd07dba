"""Reading `params.yaml`: the selected study's sections, each validated against its settings class."""

import difflib
import reprlib
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain, repeat
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError

from vgg_ablation.errors import StageError
from vgg_ablation.runtime.names import ALL, NORMS, chosen, named
from vgg_ablation.runtime.settings import SELECTIONS, AppendixBSettings
from vgg_ablation.text import printable, without_credentials

PARAMS_FILE = Path("params.yaml")
_LONGEST = 400  # characters of a reason or list that a message repeats
_LONGEST_NAME = 60
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _LONGEST_NAME

Settings = TypeVar("Settings", bound=BaseModel)


class SettingsError(StageError):
    """A setting is wrong; the message names the key, the value and what is allowed, one line a setting."""


class _File(BaseModel):
    """The top level of params.yaml."""

    model_config = ConfigDict(strict=True, extra="forbid")

    arch: str
    norm: str
    scale: str
    study: str
    studies: dict[str, dict[Any, Any]]
    appendix_b: dict[Any, Any] = {}


@dataclass(frozen=True)
class Params:
    """Content of `params.yaml`: `arch`, `norm`, `scale` and `study`, and the block of this study, not yet validated."""

    arch: str
    norm: str
    scale: str
    study: str
    block: dict[str, Any]
    appendix_b: dict[str, Any] = field(default_factory=dict)
    """The block of appendix B, not yet validated."""

    @property
    def name(self) -> str:
        """Name of what `arch` and `norm` select: of a net, or of merged results such as `all_BN`."""
        return named(self.arch, self.norm)

    def selection(self, source: str) -> str:
        """Return the first line of every run; `source`: `data.source` of the study."""
        nets = f"arch {self.arch}, norm {self.norm}, scale {self.scale}"
        return f"study {self.study}: {nets}, images from {without_credentials(source)}"

    def nets(self, ablation: tuple[str, ...]) -> list[str]:
        """Return the names of the nets that `arch` and `norm` select; `ablation`: those of `arch: all`."""
        return [named(arch, norm) for norm in chosen(self.norm, NORMS) for arch in chosen(self.arch, ablation)]

    def require_selection(self, nets: Iterable[str]) -> None:
        """Check that `arch` is one of `nets` or all, `norm` one of `NORMS` or all, and `scale` a training scale or all.

        Raises:
            SettingsError: one of them is not.
        """
        one_of(f"{PARAMS_FILE}: arch", self.arch, (ALL, *nets))
        one_of(f"{PARAMS_FILE}: norm", self.norm, (*NORMS, ALL))
        one_of(f"{PARAMS_FILE}: scale", self.scale, SELECTIONS)

    def section(self, name: str, settings: type[Settings]) -> Settings:
        """Return section `name` of the selected study, validated.

        Raises:
            SettingsError: the section is missing, or a key or value in it is not allowed.
        """
        return validate(self.block.get(name), settings, f"studies.{_name(self.study)}.{name}")

    def whole(self, settings: type[Settings]) -> Settings:
        """Return the selected study's whole block, validated. Raises SettingsError as `section` does."""
        return validate(self.block, settings, f"studies.{_name(self.study)}")

    def of_appendix_b(self) -> AppendixBSettings:
        """Return the block of appendix B, validated. Raises SettingsError as `section` does."""
        return validate(self.appendix_b, AppendixBSettings, "appendix_b")


def read_params(path: Path = PARAMS_FILE) -> Params:
    """Read `path` and select the study that it names.

    Raises:
        SettingsError: the file cannot be read or is not YAML; a key is repeated; a key or value at the top is wrong; or
            the file does not hold the study that it selects.
    """
    file = _read(path)
    one_of(f"{path}: study", file.study, file.studies)
    return Params(file.arch, file.norm, file.scale, file.study, file.studies[file.study], file.appendix_b)


def read_studies(settings: type[Settings], path: Path = PARAMS_FILE) -> dict[str, Settings]:
    """Return the blocks of all studies by name, validated. Raises SettingsError as `read_params` and `validate` do."""
    studies = _read(path).studies
    return {name: validate(block, settings, f"studies.{_name(name)}") for name, block in studies.items()}


def one_of(key: str, value: object, allowed: Iterable[str]) -> None:
    """Raise SettingsError unless `value` is one of `allowed`; `key` says where it was given."""
    if value not in (names := list(allowed)):
        raise SettingsError(f"{key} = {_shown(value)}; {_allowed(value, names)}")


def read_arguments(**allowed: Iterable[str]) -> list[str]:
    """Return the command line's arguments, one for each of `allowed` in its order.

    Raises:
        SettingsError: one is missing or not among those allowed, or there are more.
    """
    given = sys.argv[1:]
    for (name, values), value in zip(allowed.items(), chain(given, repeat("")), strict=False):
        one_of(name, value, values)
    if beyond := given[len(allowed) :]:
        raise SettingsError(f"{_shown(beyond[0])} is an unexpected argument; give {' and '.join(allowed)}")
    return given


def validate(values: object, settings: type[Settings], key: str = "") -> Settings:
    """Return `values` as `settings`.

    Raises:
        SettingsError: with a line for each wrong key or value, each key written in full, as `dvc exp run -S` takes it.
    """
    try:
        return settings.model_validate(values)
    except ValidationError as error:
        lines = [_line(dict(problem), settings, key) for problem in error.errors(include_url=False)]
        raise SettingsError("\n".join(lines)) from None


def _read(path: Path) -> _File:
    try:
        values = YAML(typ="safe").load(path.read_text(encoding="utf-8"))  # as DVC reads it
    except FileNotFoundError:
        raise SettingsError(f"{path} not found; run from the repository's root") from None
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
    except MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise SettingsError(f"{path} is not valid YAML: {printable(str(error.problem), _LONGEST)}{line}") from None
    except Exception as error:  # the reader has no common error for values it cannot convert
        raise SettingsError(f"{path} is not valid YAML: {printable(str(error), _LONGEST)}") from None
    return validate(values, _File)


def _line(problem: dict[str, Any], settings: type[BaseModel], key: str) -> str:
    place: tuple[int | str, ...] = problem["loc"]
    name = ": ".join(filter(None, ["params.yaml", ".".join(filter(None, [key, *map(_name, place)]))]))
    if problem["type"] in ("extra_forbidden", "invalid_key") and (model := _model(settings, place[:-1])):
        return f"{name} is not a setting; {_allowed(place[-1], model.model_fields)}"
    if problem["type"] == "missing":
        return f"{name} is missing"
    model = _model(settings, place)
    if problem["type"] == "model_type" and model:
        reason = f"a mapping with {', '.join(model.model_fields)}"
    else:
        reason = problem["msg"]
        for opening in ("Value error, ", "Input should be ", "String should have ", "Tuple should have "):
            reason = reason.removeprefix(opening)
    # A rule between settings is about a whole section: its message names them.
    value = "" if problem["type"] == "value_error" and model else f" = {_shown(problem['input'])}"
    return f"{name}{value}; allowed: {printable(reason, _LONGEST)}"


def _model(settings: type[BaseModel], place: tuple[int | str, ...]) -> type[BaseModel] | None:
    """Return the settings class at `place` inside `settings`; None for a value."""
    model: type[BaseModel] | None = settings
    for name in place:
        annotation = model.model_fields[str(name)].annotation if model and name in model.model_fields else None
        model = annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
    return model


def _allowed(value: object, names: Iterable[str]) -> str:
    listed = [_name(name) for name in names]
    same = [name for name in listed if name.casefold() == _name(value).casefold()]
    near = same or difflib.get_close_matches(_name(value), listed, n=1)
    return f"allowed: {printable(', '.join(listed), _LONGEST)}" + (f" (did you mean {near[0]}?)" if near else "")


def _name(value: object) -> str:
    """Return a name or key as a message repeats it."""
    return printable(value, _LONGEST_NAME) if isinstance(value, str) else _shown(value)


def _shown(value: object) -> str:
    """Return a value as a message repeats it: as Python writes it, on one line and cut."""
    try:
        return printable(_SHORT.repr(value), _LONGEST)
    except ValueError:  # Python does not write integers of more than 4,300 digits
        return "a number of thousands of digits"
