"""Reading `params.yaml`: the chosen study's sections, each validated against its folder's settings."""

import difflib
import re
import reprlib
import sys
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from vgg_ablation.errors import StageError

PARAMS_FILE = Path("params.yaml")
_TOP = ("arch", "scale", "study", "studies")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # what a terminal obeys, and halves of characters
_LONGEST_NAME = 60  # characters of a name or value that a message repeats
_LONGEST_TEXT = 400

Settings = TypeVar("Settings", bound=BaseModel)


class SettingsError(StageError):
    """A setting is wrong; the message names the key, the value and what is allowed, one line a setting."""


@dataclass(frozen=True)
class Params:
    """What `params.yaml` says: the selection (`arch`, `scale`, `study`) and the study's block, not yet validated."""

    arch: str
    scale: str
    study: str
    block: dict[str, Any]

    def section(self, name: str, settings: type[Settings]) -> Settings:
        """Return section `name` of the selected study, validated.

        Raises:
            SettingsError: the section is missing, or a key or value in it is not allowed.
        """
        return validate(self.block.get(name), settings, f"studies.{_name(self.study)}.{name}")

    def whole(self, settings: type[Settings]) -> Settings:
        """Return the selected study's whole block, validated. Raises SettingsError as `section` does."""
        return validate(self.block, settings, f"studies.{_name(self.study)}")


def read_params(path: Path = PARAMS_FILE) -> Params:
    """Read `path` and select the study that it names.

    Raises:
        SettingsError: the file is missing or cannot be read, is no YAML mapping, has a key twice or text with control
            characters, or names a study that it does not hold.
    """
    values = _read(path)
    blocks = _blocks(values)
    study = values.get("study")
    if type(study) not in (str, int) or study not in blocks:
        raise SettingsError(f"{path}: study = {_shown(study)}; {_allowed(study, map(_name, blocks))}")
    if not isinstance(block := blocks[study], dict):
        raise SettingsError(f"{path}: studies.{_name(study)} = {_shown(block)}; allowed: a mapping of settings")
    if not isinstance(arch := values.get("arch"), str):
        raise SettingsError(f"{path}: arch = {_shown(arch)}; allowed: all, or the name of a net")
    if not isinstance(scale := values.get("scale"), str):
        raise SettingsError(f"{path}: scale = {_shown(scale)}; allowed: all, or the name of a training scale")
    return Params(arch, scale, study if isinstance(study, str) else _name(study), block)


def read_studies(settings: type[Settings], path: Path = PARAMS_FILE) -> list[Settings]:
    """Return the blocks of all studies in `path`, validated. Raises SettingsError as `read_params` and `validate`."""
    blocks = _blocks(_read(path))
    return [validate(block, settings, f"studies.{_name(name)}") for name, block in blocks.items()]


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
        raise SettingsError(f"{beyond[0]!r} is one argument too many; give {' and '.join(allowed)}")
    return given


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


class _Loader(yaml.SafeLoader):
    """Reads YAML as DVC does where PyYAML does not: `1e-05`, as `dvc exp run -S` writes it, is a number."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Return the value of `node`; PyYAML lets other errors than its own out for numbers and dates that are none."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError):
            kind = node.tag.rpartition(":")[2]
            raise yaml.constructor.ConstructorError(
                None, None, f"{_shown(node.value)} is not of the kind {kind}", node.start_mark
            ) from None

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Carry out `<<`, and keep one value a key: mappings merged twice over and over would fill the memory."""
        super().flatten_mapping(node)
        node.value = list({(key.tag, key.value): (key, value) for key, value in node.value}.values())


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+\Z"),
    list("-+.0123456789"),
)


def _read(path: Path) -> dict[Any, Any]:
    values = _load(path)
    if not isinstance(values, dict) or not isinstance(values.get("studies"), dict):
        raise SettingsError(f"{path}: studies = missing; allowed: a mapping from study names to settings")
    if unknown := [name for name in values if name not in _TOP]:
        allowed = _allowed(unknown[0], _TOP)
        raise SettingsError(f"{path}: {_name(unknown[0])} is not a setting; {allowed}")
    return values


def _blocks(values: dict[Any, Any]) -> dict[Any, Any]:
    """Return the studies that have a name, by their types: `yes` is no name, and Python would take it for 1."""
    return {name: block for name, block in values["studies"].items() if type(name) in (str, int)}


def _load(path: Path) -> object:
    try:
        loader = _Loader(path.read_text(encoding="utf-8"))
        if (root := loader.get_single_node()) is None:
            return None
        _examine(root, path)
        return loader.construct_document(root)
    except FileNotFoundError:
        raise SettingsError(f"{path} is not here; run from the repository's root") from None
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is not valid YAML: its byte {error.start + 1} is not UTF-8") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{path} is not valid YAML: {_plain(' '.join(str(error).split()))}") from None
    except RecursionError:
        raise SettingsError(f"{path} is not valid YAML: its brackets are nested too deeply") from None


def _examine(root: yaml.Node, path: Path) -> None:
    """Raise SettingsError for a key that stands twice, of which PyYAML would take the last, and for control characters.

    Each node is looked at once, however many aliases repeat it.
    """
    waiting = deque([(root, "")])
    examined: set[int] = set()
    while waiting:
        node, place = waiting.popleft()
        if id(node) in examined:
            continue
        examined.add(id(node))
        if isinstance(node, yaml.MappingNode):
            lines: dict[tuple[str, str], int] = {}
            for key, value in node.value:
                line = key.start_mark.line + 1
                if not isinstance(key, yaml.ScalarNode) or _CONTROL.search(key.value):
                    raise SettingsError(f"{path}: line {line} has a key that is no plain name")
                key_place = f"{place}.{_name(key.value)}".removeprefix(".")
                if before := lines.get((key.tag, key.value)):
                    raise SettingsError(f"{path}: {key_place} stands twice, in lines {before} and {line}; keep one")
                lines[key.tag, key.value] = line
                waiting.append((value, key_place))
        elif isinstance(node, yaml.SequenceNode):
            waiting += [(item, place) for item in node.value]
        elif node.tag == yaml.resolver.Resolver.DEFAULT_SCALAR_TAG and _CONTROL.search(node.value):
            raise SettingsError(f"{path}: {place} = {_shown(node.value)}; allowed: text without control characters")


def _line(problem: dict[str, Any], settings: type[BaseModel], key: str) -> str:
    place: tuple[int | str, ...] = problem["loc"]
    full_key = ".".join([key, *map(_name, place)])
    if problem["type"] in ("extra_forbidden", "invalid_key"):
        return f"params.yaml: {full_key} is not a setting; {_allowed(place[-1], _fields(settings, place[:-1]))}"
    if problem["type"] == "missing":
        return f"params.yaml: {full_key} is missing"
    reason = problem["msg"]
    for opening in ("Value error, ", "Input should be ", "String should have ", "Tuple should have "):
        reason = reason.removeprefix(opening)
    if problem["type"] == "model_type":
        reason = f"a mapping with {', '.join(_fields(settings, place))}"
    # A rule between settings is about a whole section: its message names them.
    rule = problem["type"] == "value_error" and _model(settings, place)
    value = "" if rule else f" = {_shown(problem['input'])}"
    return f"params.yaml: {full_key}{value}; allowed: {_plain(reason)}"


def _model(settings: type[BaseModel], place: tuple[int | str, ...]) -> type[BaseModel] | None:
    """Return the model that stands at `place` inside `settings`; None where a value does."""
    model: type[BaseModel] | None = settings
    for name in place:
        annotation = model.model_fields[str(name)].annotation if model else None
        model = annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
    return model


def _fields(settings: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    model = _model(settings, place)
    assert model is not None  # noqa: S101 - only a model's keys can be unknown
    return list(model.model_fields)


def _allowed(value: object, names: Iterable[str]) -> str:
    listed = list(names)
    near = difflib.get_close_matches(_name(value), listed, n=1)
    return f"allowed: {_plain(', '.join(listed))}" + (f" (did you mean {near[0]}?)" if near else "")


def _name(value: object) -> str:
    """Return a name or key as a message repeats it."""
    return _plain(value if isinstance(value, str) else _shown(value), _LONGEST_NAME)


def _shown(value: object) -> str:
    """Return a value as a message repeats it: as Python writes it, on one line and cut short."""
    short = reprlib.Repr()
    short.maxlevel = 2
    short.maxdict = short.maxlist = short.maxset = 4
    short.maxstring = short.maxlong = short.maxother = _LONGEST_NAME
    try:
        return _plain(short.repr(value))
    except ValueError:  # Python writes no number that is longer
        return "a number of thousands of digits"


def _plain(text: str, longest: int = _LONGEST_TEXT) -> str:
    """Return `text` without what a terminal would obey, and cut short."""
    cut = text if len(text) <= longest else f"{text[: longest - 3]}..."
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in cut)
