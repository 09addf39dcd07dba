"""Reading `params.yaml`: the chosen study's sections, each validated against its folder's settings."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from vgg_ablation.pipeline.errors import StageError

PARAMS_FILE = Path("params.yaml")

Settings = TypeVar("Settings", bound=BaseModel)


class SettingsError(StageError):
    """A setting is wrong; the message names the key, the value and what is allowed, one line a setting."""


@dataclass(frozen=True)
class Params:
    """What `params.yaml` says: the selection (`arch`, `study`) and the selected study's block, not yet validated."""

    arch: str
    study: str
    block: dict[str, Any]

    def section(self, name: str, settings: type[Settings]) -> Settings:
        """Return section `name` of the selected study, validated.

        Raises:
            SettingsError: the section is missing, or a key or value in it is not allowed.
        """
        return validate(self.block.get(name), settings, f"studies.{self.study}.{name}")

    def whole(self, settings: type[Settings]) -> Settings:
        """Return the selected study's whole block, validated. Raises SettingsError as `section` does."""
        return validate(self.block, settings, f"studies.{self.study}")


def read_params(path: Path = PARAMS_FILE) -> Params:
    """Read `path` and select the study that it names.

    Raises:
        SettingsError: the file is missing or is no YAML mapping, or names a study that it does not hold.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"{path} is not here; run from the repository's root") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict) or not isinstance(values.get("studies"), dict):
        raise SettingsError(f"{path}: studies = missing; allowed: a mapping from study names to settings")
    if unknown := sorted(map(str, values.keys() - {"arch", "study", "studies"})):
        raise SettingsError(
            f"{path}: {unknown[0]} is not a setting; {_allowed(unknown[0], ['arch', 'study', 'studies'])}"
        )
    study = values.get("study")
    block = values["studies"].get(study) if isinstance(study, str | int) else None
    if not isinstance(block, dict):
        raise SettingsError(f"{path}: study = {study!r}; {_allowed(study, map(str, values['studies']))}")
    return Params(arch=str(values.get("arch")), study=str(study), block=block)


def one_of(key: str, value: object, allowed: Iterable[str]) -> None:
    """Raise SettingsError unless `value` is one of `allowed`; `key` says where it was given."""
    if value not in (names := list(allowed)):
        raise SettingsError(f"{key} = {value!r}; {_allowed(value, names)}")


def validate(values: object, settings: type[Settings], key: str) -> Settings:
    """Return `values` as `settings`.

    Raises:
        SettingsError: with a line for each wrong key or value, each key written in full, as `dvc exp run -S` takes it.
    """
    try:
        return settings.model_validate(values)
    except ValidationError as error:
        lines = [_line(dict(problem), settings, key) for problem in error.errors(include_url=False)]
        raise SettingsError("\n".join(lines)) from None


def _line(problem: dict[str, Any], settings: type[BaseModel], key: str) -> str:
    place: tuple[int | str, ...] = problem["loc"]
    full_key = ".".join([key, *map(str, place)])
    if problem["type"] == "extra_forbidden":
        return f"params.yaml: {full_key} is not a setting; {_allowed(place[-1], _fields(settings, place[:-1]))}"
    if problem["type"] == "missing":
        return f"params.yaml: {full_key} is missing"
    reason = problem["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    # A rule between settings is about a whole section: its message names them.
    value = "" if isinstance(problem["input"], dict) else f" = {problem['input']!r}"
    return f"params.yaml: {full_key}{value}; allowed: {reason}"


def _fields(settings: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    """Return the field names of the model that stands at `place` inside `settings`."""
    for name in place:
        annotation = settings.model_fields[str(name)].annotation
        models = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type)]
        settings = next(kind for kind in models if issubclass(kind, BaseModel))
    return list(settings.model_fields)


def _allowed(value: object, names: Iterable[str]) -> str:
    listed = list(names)
    near = difflib.get_close_matches(str(value), listed, n=1)
    return f"allowed: {', '.join(listed)}" + (f" (did you mean {near[0]}?)" if near else "")
