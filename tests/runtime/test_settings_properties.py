"""Every setting there is, found by walking the models: what its type and bounds allow is accepted, all else refused."""

import copy
import datetime
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pandas as pd
import pytest
import yaml
from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen, MultipleOf
from dvc.utils.serialize import dumps_yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DataObject, SearchStrategy
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from vgg_ablation.runtime.params import SettingsError, read_params
from vgg_ablation.runtime.settings import StudySettings

ROOT = Path(__file__).parents[2]
SAMPLE: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["studies"]["sample"]
TEXT = st.text(st.characters(exclude_categories=("Cc", "Cs")))  # neither what a terminal obeys nor halves of characters
WRONG = [
    None, True, False, 0, 1, 5, 10**400, -(10**400), 1.0, 1.5, math.nan, math.inf, -math.inf, "", " ", "5", "1e", "1.0",
    "true", "ALL", "all ", "sample", [], [1], ["x"], [None], ["x", "y", "x"], ["x", ""], [["x", "y"]], {}, {"x": 1},
    datetime.date(2024, 1, 1), b"x", {"x"},
]  # fmt: skip
"""Of every kind that YAML has."""


@dataclass(frozen=True)
class Leaf:
    """A setting that holds a value."""

    place: tuple[str, ...]
    field: FieldInfo

    @property
    def key(self) -> str:
        return ".".join(self.place)

    def bound(self, kind: type) -> Any:
        """Return the bound of a kind, or None."""
        found = [constraint for constraint in self.field.metadata if isinstance(constraint, kind)]
        return getattr(found[0], {"MinLen": "min_length", "MaxLen": "max_length", "MultipleOf": "multiple_of"}.get(
            kind.__name__, kind.__name__.lower())) if found else None  # fmt: skip


def models(model: type[BaseModel], place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], type[BaseModel]]]:
    """Yield each mapping of a study with its place."""
    yield place, model
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from models(field.annotation, (*place, name))


MODELS = dict(models(StudySettings))
LEAVES = [
    Leaf((*place, name), field)
    for place, model in MODELS.items()
    for name, field in model.model_fields.items()
    if (*place, name) not in MODELS
]
NUMBERS = [leaf for leaf in LEAVES if leaf.field.annotation in (int, float)]
EACH = pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.key)


def ends(leaf: Leaf) -> tuple[Any, Any]:
    """Return the smallest and the largest value that a number's bounds allow; None for no bound."""
    low, above, high, below = (leaf.bound(kind) for kind in (Ge, Gt, Le, Lt))
    if leaf.field.annotation is int:
        low = above + 1 if above is not None else low
        return low, below - 1 if below is not None else high
    low = math.nextafter(above, math.inf) if above is not None else low
    high = math.nextafter(below, -math.inf) if below is not None else high
    return low, sys.float_info.max if high is None else high


def right(annotation: Any, leaf: Leaf) -> SearchStrategy[Any]:
    """Return what draws values of a setting, as YAML has them; a kind of setting that is not known here is an error."""
    names = get_args(annotation)
    if annotation is bool:
        return st.booleans()
    if annotation is int:
        (low, high), step = ends(leaf), leaf.bound(MultipleOf) or 1
        return st.sampled_from([low, high]) | st.integers(-(-low // step), high // step).map(lambda count: count * step)
    if annotation is float:
        low, high = ends(leaf)
        whole = st.integers(math.ceil(low), min(math.floor(high), 2**53))  # `width: 1` is a number too
        inside = st.sampled_from([low, high]) | st.floats(low, high)
        return inside | whole if math.ceil(low) <= math.floor(high) else inside
    if annotation is str:
        return TEXT.filter(lambda text: (leaf.bound(MinLen) or 1) <= len(text) <= (leaf.bound(MaxLen) or math.inf))
    if get_origin(annotation) is Literal:
        return st.sampled_from(names)
    if get_origin(annotation) is tuple and names[-1] is not Ellipsis:  # sides of images
        (length,) = {get_args(name) for name in names}
        side = right(int, Leaf(leaf.place, length[1]))
        return st.lists(side, min_size=len(names), max_size=len(names), unique=True).map(sorted)
    if get_origin(annotation) is tuple:
        least = (
            2 if leaf.place == ("data", "categories") else leaf.bound(MinLen)
        )  # one category is nothing to tell apart
        listed = st.lists(right(names[0], leaf), min_size=least, max_size=4, unique=True)
        return listed.map(with_both_of_combined) if leaf.place[0] == "evaluate" else listed
    if get_origin(annotation) in (Union, UnionType):
        return st.one_of([right(kind, leaf) for kind in names])
    raise NotImplementedError(f"{leaf.key}: {annotation}")


def with_both_of_combined(protocols: list[str]) -> list[str]:
    """Return protocols with what `combined` is the mean of, where they hold that."""
    needed = ["dense_scales", "multi_crop"] if "combined" in protocols else []
    return [*protocols, *(name for name in needed if name not in protocols)]


def fits(annotation: Any, value: Any) -> bool:
    """Return whether `value` is of a setting's type, whatever its bounds."""
    if annotation is float:
        return type(value) in (int, float) and abs(value) <= sys.float_info.max
    if annotation in (bool, int, str):
        return type(value) is annotation
    if get_origin(annotation) is Literal:
        return value in get_args(annotation)
    if get_origin(annotation) is Annotated:
        return fits(get_args(annotation)[0], value)
    if get_origin(annotation) is tuple and Ellipsis not in get_args(annotation):
        kinds = get_args(annotation)
        whole = isinstance(value, list) and len(value) == len(kinds)
        return whole and all(fits(kind, item) for kind, item in zip(kinds, value, strict=True))
    if get_origin(annotation) is tuple:
        kind, least = get_args(annotation)[0], 2 if get_args(annotation)[0] is str else 1
        whole = isinstance(value, list) and all(fits(kind, item) and item for item in value)
        return whole and least <= len(value) and (kind is not str or len(set(value)) == len(value))
    return any(fits(kind, value) for kind in get_args(annotation))


def beyond(leaf: Leaf) -> SearchStrategy[Any]:
    """Return what draws numbers outside a number's bounds, those next to them first."""
    low, high = ends(leaf)
    if leaf.field.annotation is int:
        outside = st.sampled_from([low - 1, high + 1, 10**400])
        outside |= st.integers(max_value=low - 1) | st.integers(min_value=high + 1)
        step = leaf.bound(MultipleOf)
        return outside | st.integers(low, high).filter(lambda value: value % step) if step else outside
    under, over = math.nextafter(low, -math.inf), math.nextafter(high, math.inf)
    return st.sampled_from([under, over, math.nan, -(10**400), 10**400]) | st.floats(max_value=under)


def with_value(leaf: Leaf, value: object) -> dict[str, Any]:
    """Return a study with this value, whose other settings leave it as much room as they can."""
    block = roomy()
    holder(block, leaf.place)[leaf.place[-1]] = value
    return block


def roomy() -> dict[str, Any]:
    """Return a study whose settings leave each single one as much room as they can."""
    block = copy.deepcopy(SAMPLE)
    block["model"]["input_side"] = 32
    for scale in block["scales"].values():
        scale["test"] = [1022, 1023, 1024]
        scale["train"] = 1024
    block["scales"]["jitter"]["train"] = [1023, 1024]
    for name in ("learning_rate", "weight_decay"):
        block["tune"][name] = {"low": 5e-324, "high": sys.float_info.max}
    return block


def holder(block: dict[Any, Any], place: tuple[str, ...]) -> dict[Any, Any]:
    """Return the mapping in `block` that holds the setting at `place`."""
    for name in place[:-1]:
        block = block[name]
    return block


def agrees(block: dict[str, Any]) -> bool:
    """Return whether a study keeps to the rules between settings."""
    ranges = [block["tune"]["learning_rate"], block["tune"]["weight_decay"]]
    return block["model"]["input_side"] <= largest_crop(block) and all(each["low"] < each["high"] for each in ranges)


def largest_crop(block: dict[str, Any]) -> int:
    """Return a side that crops may have in a study's images, by its scales alone, and most often the largest.

    An image that is rescaled while it is cropped has four pixels more (`data.rescale`).
    """
    scales = block["scales"]
    cropped = [scales["large"]["train"], *scales["jitter"]["train"], *(scale["test"][1] for scale in scales.values())]
    return min(scales["fixed"]["train"], min(cropped) - 4, *(scale["test"][0] for scale in scales.values()))


def raised(sides: list[int]) -> list[int]:
    """Return ascending sides of images that the smallest crop can be cut from while they are rescaled."""
    return [max(side, 32 + 4 + place) for place, side in enumerate(sides)]


@st.composite
def studies(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a whole study that is valid."""
    block: dict[str, Any] = {}
    for place in MODELS:
        if place:
            holder(block, place)[place[-1]] = {}
    for leaf in LEAVES:
        holder(block, leaf.place)[leaf.place[-1]] = draw(right(leaf.field.annotation, leaf), label=leaf.key)
    scales = block["scales"]
    (scales["large"]["train"],) = raised([scales["large"]["train"]])
    scales["jitter"]["train"] = raised(scales["jitter"]["train"])
    for scale in scales.values():
        scale["test"][1:] = raised(scale["test"][1:])
    block["model"]["input_side"] = min(block["model"]["input_side"], largest_crop(block) // 32 * 32)
    for name in ("learning_rate", "weight_decay"):
        low, high = sorted(block["tune"][name].values())
        assume(low < high)
        block["tune"][name] = {"low": low, "high": high}
    return block


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all: each example writes its own params.yaml over the last."""
    return tmp_path_factory.mktemp("settings")


def write(folder: Path, block: object) -> Path:
    path = folder / "params.yaml"
    path.write_text(
        dumps_yaml({"arch": "all", "scale": "fixed", "study": "tiny", "studies": {"tiny": block}}), encoding="utf-8"
    )
    return path


def accepted(folder: Path, block: object) -> dict[str, Any]:
    """Return a study's settings as they were read, tuples as lists."""
    return read_params(write(folder, block)).whole(StudySettings).model_dump(mode="json")


def refused(folder: Path, block: object) -> list[str]:
    """Return what is said of a study, which is to be lines that a terminal can show."""
    path = write(folder, block)
    with pytest.raises(SettingsError) as error:
        read_params(path).whole(StudySettings)
    lines = str(error.value).split("\n")
    assert all(line.isprintable() and len(line) < 1500 for line in lines)
    return [line.removeprefix(str(path.parent)).removeprefix("/") for line in lines]


def names(line: str, key: str) -> bool:
    """Return whether a line begins with a key in full, or with an item of its list."""
    rest = line.removeprefix(f"params.yaml: studies.tiny.{key}")
    return rest != line and rest.startswith((" ", "."))


def test_the_walk_reaches_every_setting_that_a_study_has() -> None:
    held = pd.json_normalize(SAMPLE).columns  # the keys of nested mappings, joined by dots
    assert sorted(leaf.key for leaf in LEAVES) == sorted(held)


# What is valid.


def outermost(leaf: Leaf, end: int) -> Any:
    """Return the smallest or the largest value that a number's bounds and the rules between settings allow."""
    value = ends(leaf)[end]
    if agrees(with_value(leaf, value)):
        return value
    if leaf.key.startswith("tune."):
        return math.nextafter(value, 1)  # the range's other end has the outermost one
    return {"scales.large.train": 32 + 4, "model.input_side": 1024 - 32}[leaf.key]  # crops are cut from these images


@pytest.mark.parametrize("leaf", NUMBERS, ids=lambda leaf: leaf.key)
@pytest.mark.parametrize("end", [0, 1], ids=["smallest", "largest"])
def test_the_outermost_number_that_the_bounds_allow_is_accepted(folder: Path, leaf: Leaf, end: int) -> None:
    value = outermost(leaf, end)
    assert holder(accepted(folder, with_value(leaf, value)), leaf.place)[leaf.place[-1]] == value


@settings(max_examples=60)
@given(block=studies())
def test_a_whole_study_within_all_bounds_is_read_as_it_is(folder: Path, block: dict[str, Any]) -> None:
    assert accepted(folder, block) == block


# What is not.


@pytest.mark.parametrize("value", WRONG, ids=lambda value: repr(value)[:20])
def test_a_value_is_refused_by_every_key_whose_type_it_is_not_of(folder: Path, value: object) -> None:
    block = copy.deepcopy(SAMPLE)
    wrong = [leaf for leaf in LEAVES if not fits(leaf.field.annotation, value)]
    for leaf in wrong:
        holder(block, leaf.place)[leaf.place[-1]] = value
    lines = refused(folder, block)
    assert [leaf.key for leaf in LEAVES if any(names(line, leaf.key) for line in lines)] == [leaf.key for leaf in wrong]
    assert all(any(names(line, leaf.key) for leaf in wrong) for line in lines)


@EACH
def test_an_empty_text_is_refused_by_its_key(folder: Path, leaf: Leaf) -> None:
    (line,) = refused(folder, with_value(leaf, ""))
    assert names(line, leaf.key)


@pytest.mark.parametrize("leaf", NUMBERS, ids=lambda leaf: leaf.key)
@pytest.mark.parametrize("end", [0, 1], ids=["smallest", "largest"])
def test_the_number_next_beyond_the_outermost_one_is_refused_by_its_key(folder: Path, leaf: Leaf, end: int) -> None:
    value, way = ends(leaf)[end], (-1, 1)[end]
    whole = leaf.field.annotation is int
    (line,) = refused(folder, with_value(leaf, value + way if whole else math.nextafter(value, way * math.inf)))
    assert names(line, leaf.key)


@settings(max_examples=50)
@given(data=st.data())
def test_each_number_beyond_its_bounds_has_one_line(folder: Path, data: DataObject) -> None:
    block = copy.deepcopy(SAMPLE)
    for leaf in NUMBERS:
        holder(block, leaf.place)[leaf.place[-1]] = data.draw(beyond(leaf), label=leaf.key)
    lines = refused(folder, block)
    assert [leaf.key for leaf in NUMBERS for line in lines if names(line, leaf.key)] == [leaf.key for leaf in NUMBERS]
    assert len(lines) == len(NUMBERS)


@pytest.mark.parametrize(
    "leaf", [leaf for leaf in LEAVES if get_origin(leaf.field.annotation) is Literal], ids=lambda leaf: leaf.key
)
@settings(max_examples=20)
@given(data=st.data())
def test_an_unknown_name_is_refused_by_its_key_beside_those_known(folder: Path, leaf: Leaf, data: DataObject) -> None:
    known = get_args(leaf.field.annotation)
    like = st.sampled_from(known).flatmap(lambda name: st.sampled_from([name.upper(), f"{name} ", name[:-1]]))
    (line,) = refused(folder, with_value(leaf, data.draw(like | TEXT.filter(lambda text: text not in known))))
    assert names(line, leaf.key)
    assert line.endswith(f"allowed: {' or '.join(map(repr, known))}")


@EACH
def test_a_character_that_a_terminal_obeys_is_refused_by_its_key(folder: Path, leaf: Leaf) -> None:
    (line,) = refused(folder, with_value(leaf, "sample\x1b[31m"))
    assert names(line, leaf.key)
    assert "sample\\x1b[31m" in line


@EACH
def test_a_text_without_end_is_refused_in_a_short_line(folder: Path, leaf: Leaf) -> None:
    (line,) = refused(folder, with_value(leaf, "x" * 20_000))
    assert names(line, leaf.key)


@EACH
def test_a_missing_setting_is_refused_by_its_key(folder: Path, leaf: Leaf) -> None:
    block = with_value(leaf, None)
    del holder(block, leaf.place)[leaf.place[-1]]
    assert refused(folder, block) == [f"params.yaml: studies.tiny.{leaf.key} is missing"]


@pytest.mark.parametrize("place", [place for place in MODELS if place], ids=".".join)
@pytest.mark.parametrize("value", [None, 5, "x", [], True], ids=repr)
def test_a_section_that_is_no_mapping_is_told_what_it_holds(
    folder: Path, place: tuple[str, ...], value: object
) -> None:
    block = copy.deepcopy(SAMPLE)
    holder(block, place)[place[-1]] = value
    (line,) = refused(folder, block)
    assert names(line, ".".join(place))
    assert line.endswith(f"allowed: a mapping with {', '.join(MODELS[place].model_fields)}")


@pytest.mark.parametrize("place", MODELS, ids=lambda place: ".".join(place) or "study")
@settings(max_examples=20)
@given(data=st.data())
def test_an_unknown_key_is_refused_in_full_beside_those_known(
    folder: Path, place: tuple[str, ...], data: DataObject
) -> None:
    known = list(MODELS[place].model_fields)
    key = data.draw(TEXT.filter(lambda text: text not in known) | st.sampled_from([1, 10**30, 1.5, True, None]))
    block = copy.deepcopy(SAMPLE)
    holder(block, (*place, ""))[key] = 1
    (line,) = refused(folder, block)
    assert line.startswith(".".join(["params.yaml: studies.tiny", *place, ""]))
    assert f" is not a setting; allowed: {', '.join(known)}" in line


# The stage itself.


def check(folder: Path, block: object) -> subprocess.CompletedProcess[str]:
    """Run the stage `check` on a study."""
    write(folder, block)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(
        [sys.executable, ROOT / "stages/check.py"],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@settings(max_examples=4)
@given(block=studies())
def test_the_stage_check_passes_a_valid_study(folder: Path, block: dict[str, Any]) -> None:
    done = check(folder, block)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("end", [0, 1], ids=["smallest", "largest"])
def test_the_stage_check_passes_a_study_of_outermost_numbers_at_once(folder: Path, end: int) -> None:
    block = roomy()
    for leaf in NUMBERS:
        if leaf.place[-1] not in ("low", "high"):
            holder(block, leaf.place)[leaf.place[-1]] = outermost(leaf, end)
    done = check(folder, block)
    assert (done.returncode, done.stderr) == (0, "")


@settings(max_examples=4)
@given(leaf=st.sampled_from(NUMBERS), data=st.data())
def test_the_stage_check_refuses_a_wrong_setting_in_one_line(folder: Path, leaf: Leaf, data: DataObject) -> None:
    done = check(folder, with_value(leaf, data.draw(beyond(leaf))))
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1
    assert names(line.removeprefix("check: "), leaf.key)
