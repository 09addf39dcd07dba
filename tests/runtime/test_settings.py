"""Every setting, found by walking the classes: what its type and bounds allow is accepted, all else refused."""

import copy
import datetime
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from annotated_types import Ge, Gt, Le, Lt
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from vgg_ablation.runtime.params import Params, SettingsError, read_params, validate
from vgg_ablation.runtime.settings import DataSettings, StudySettings
from vgg_ablation.runtime.settings_reference import FILE, render

ROOT = Path(__file__).parents[2]
STUDIES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["studies"]
Place = tuple[str, ...]


def walk(model: type[BaseModel], place: Place = ()) -> Iterator[tuple[Place, type[BaseModel] | FieldInfo]]:
    """Yield each section and each setting with its place in a study."""
    yield place, model
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from walk(field.annotation, (*place, name))
        else:
            yield (*place, name), field


WALKED = dict(walk(StudySettings))
SECTIONS = {place: item for place, item in WALKED.items() if isinstance(item, type)}
FIELDS = {place: item for place, item in WALKED.items() if isinstance(item, FieldInfo)}
NUMBERS = {place: field for place, field in FIELDS.items() if field.annotation in (int, float)}


def leaves(block: dict[str, Any], place: Place = ()) -> Iterator[Place]:
    for name, value in block.items():
        yield from leaves(value, (*place, name)) if isinstance(value, dict) else [(*place, name)]


def with_value(place: Place, value: object) -> dict[str, Any]:
    """Return the sample's block with one value, and as much room for it as the other settings can leave."""
    block = copy.deepcopy(STUDIES["sample"])
    block["model"]["input_side"] = 32
    for scale in block["scales"].values():
        scale |= {"train": 1024, "test": [1022, 1023, 1024]}
    block["scales"]["jitter"]["train"] = [1023, 1024]
    for name in ("learning_rate", "weight_decay"):
        block["tune"][name] = {"low": 5e-324, "high": sys.float_info.max}
    holder = block
    for name in place[:-1]:
        holder = holder[name]
    holder[place[-1]] = value
    return block


def accepted(block: dict[str, Any]) -> dict[str, Any]:
    """Return a study's settings as they were read, tuples as lists."""
    return Params("all", "none", "fixed", "tiny", block).whole(StudySettings).model_dump(mode="json")


def refused(block: dict[str, Any]) -> list[str]:
    """Return the lines that are said of a study, each without its beginning."""
    with pytest.raises(SettingsError) as error:
        accepted(block)
    lines = str(error.value).split("\n")
    assert all(line.isprintable() and len(line) < 1500 for line in lines)
    return [line.removeprefix("params.yaml: studies.tiny.") for line in lines]


def names(line: str, place: Place) -> bool:
    """Return whether a line begins with a key in full, or with an item of its list."""
    rest = line.removeprefix(".".join(place))
    return rest != line and rest.startswith((" ", "."))


# The classes.


def test_params_yaml_and_the_settings_have_the_same_keys() -> None:
    for study in STUDIES.values():
        assert set(leaves(study)) == set(FIELDS)


@pytest.mark.parametrize("section", SECTIONS.values(), ids=lambda section: section.__name__)
def test_settings_have_no_defaults_and_no_derived_values(section: type[BaseModel]) -> None:
    """DVC sees the values in params.yaml only."""
    assert all(field.is_required() for field in section.model_fields.values())
    assert section.model_config.get("frozen")
    own = {name for kind in section.__mro__ for name in vars(kind) if kind.__module__ == StudySettings.__module__}
    assert {name for name in own if not name.startswith("_")} <= {"model_config", "single", "of", "epochs_at"}


# The reference.


def test_the_reference_is_the_one_that_the_settings_give() -> None:
    studies = {name: validate(block, StudySettings) for name, block in STUDIES.items()}
    assert (ROOT / FILE).read_text(encoding="utf-8") == render(
        studies, read_params(ROOT / "params.yaml").of_appendix_b()
    ), "run `make docs`"


def test_the_full_study_differs_from_the_paper_in_the_initialisation_only() -> None:
    rows = [line.split(" | ") for line in (ROOT / FILE).read_text(encoding="utf-8").splitlines()]
    assert [row[0] for row in rows if "**" in row[-1] and len(row) > 5] == ["| `model.init` ≠"]


# Values within bounds.


def ends(field: FieldInfo) -> tuple[Any, Any]:
    """Return the smallest and the largest value that a number's bounds allow."""
    low, high = -math.inf, sys.float_info.max
    for item in field.metadata:
        match item:
            case Ge():
                low = item.ge
            case Gt():
                low = math.nextafter(item.gt, math.inf)  # pyright: ignore[reportArgumentType]
            case Le():
                high = item.le
            case Lt():
                high = item.lt - 1 if field.annotation is int else math.nextafter(item.lt, 0)  # pyright: ignore
    return low, high


@pytest.mark.parametrize("place", NUMBERS, ids=".".join)
def test_the_outermost_numbers_within_the_bounds_are_accepted(place: Place) -> None:
    low, high = ends(NUMBERS[place])
    low = {"scales.large.train": 36}.get(".".join(place), low)  # as far as crops fit into the images
    high = {"model.input_side": 992}.get(".".join(place), high)
    if place[0] == "tune" and place[-1] in ("low", "high"):
        low, high = (low, 1.0) if place[-1] == "low" else (1.0, high)
    for value in (low, high):
        found: Any = accepted(with_value(place, value))
        for name in place:
            found = found[name]
        assert found == value


# Values that are refused.


@pytest.mark.parametrize("place", NUMBERS, ids=".".join)
def test_the_next_number_beyond_a_bound_is_refused_by_its_key(place: Place) -> None:
    low, high = ends(NUMBERS[place])
    whole = NUMBERS[place].annotation is int
    beyond = (low - 1, high + 1) if whole else (math.nextafter(low, -math.inf), math.nextafter(high, math.inf))
    for value in beyond:
        (line,) = refused(with_value(place, value))
        assert names(line, place)


WRONG = [None, "", "5", "true", [], [1], [["x", "y"]], {}, {"x": 1}, datetime.date(2024, 1, 1), b"x", math.nan,
         math.inf, 10**400, "sample\x1b[31m", "x" * 20_000]  # fmt: skip
"""Values of every kind that YAML has; none has the type of a setting."""


@pytest.mark.parametrize("value", WRONG, ids=lambda value: repr(value)[:20])
def test_a_value_of_a_wrong_type_is_refused_by_each_key(value: object) -> None:
    for place in FIELDS:
        if (place[-1], value) in [("source", "5"), ("source", "true"), ("batch_size", [1])]:  # could be meant
            continue
        lines = refused(with_value(place, value))
        assert lines
        assert all(names(line, place) for line in lines)


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=50)
@given(place=st.sampled_from([place for place in WALKED if place]), value=json)
@example(("train", "epochs"), 1 << 20_000)  # Python writes no integer of that many digits
@example(("data", "categories"), ["mug", "dog", "mug"])
def test_any_changed_value_is_read_as_it_is_or_refused_in_clear_lines(place: Place, value: object) -> None:
    block = with_value(place, value)
    try:
        assert accepted(block) == block
    except SettingsError:
        assert all(names(line, place) or "; allowed: " in line for line in refused(block))


@pytest.mark.parametrize("place", SECTIONS, ids=lambda place: ".".join(place) or "study")
def test_an_unknown_key_is_refused_with_those_known(place: Place) -> None:
    known = list(SECTIONS[place].model_fields)
    (line,) = refused(with_value((*place, f"{known[0]}s"), 1))
    said = f"{'.'.join((*place, known[0]))}s is not a setting; allowed: {', '.join(known)} (did you mean {known[0]}?)"
    assert line == said


@pytest.mark.parametrize("place", FIELDS, ids=".".join)
def test_a_missing_setting_is_refused_by_its_key(place: Place) -> None:
    block = with_value(place, None)
    holder = block
    for name in place[:-1]:
        holder = holder[name]
    del holder[place[-1]]
    assert refused(block) == [f"{'.'.join(place)} is missing"]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("train.schedule", "step", "train.schedule = 'step'; allowed: 'plateau' or 'cosine'"),
        ("model.input_side", 50, "model.input_side = 50; allowed: a multiple of 32"),
        ("model", None, "model = None; allowed: a mapping with input_side, width, dropout, init"),
        ("model.init", "imagenet", "model; allowed: init imagenet only with input_side 224 and width 1, those of"),
        ("data.categories", ["mug"], "data.categories = ['mug']; allowed: all, or a list of two names or more"),
        ("data.categories", ["a", "b", "a"], "data.categories = ['a', 'b', 'a']; allowed: each name once (a"),
        ("train.schedule", "plateau", "train; allowed: refit only with schedule cosine, as plateau needs"),
        ("tune.batch_size", 64, "tune.batch_size = 64; allowed: a list of whole numbers"),
        ("tune.batch_size", [], "tune.batch_size = []; allowed: a list of whole numbers"),
        ("tune.batch_size", [0, 16], "tune.batch_size.0 = 0; allowed: greater than or equal to 1"),
        ("tune.weight_decay", {"low": 1e-2, "high": 1e-5}, "tune.weight_decay; allowed: low must be smaller than high"),
        ("scales.fixed.test", [288, 256, 320], "scales.fixed.test = [288, 256, 320]; allowed: an ascending list"),
        ("scales.fixed.test", [256, 288], "scales.fixed.test.2 is missing"),
        ("scales.jitter.train", [512, 512], "scales.jitter.train = [512, 512]; allowed: an ascending list"),
        ("scales.jitter.train", 384, "scales.jitter.train = 384; allowed: a list of whole numbers"),
        ("scales.large.test", [31, 352, 384], "scales.large.test.0 = 31; allowed: greater than or equal to 32"),
        ("evaluate.protocols.large", [], "evaluate.protocols.large = []; allowed: a list of names"),
        ("evaluate.protocols.fixed", ["center"], "evaluate.protocols.fixed.0 = 'center'; allowed: 'centre', 'dense'"),
        ("evaluate.protocols.fixed", "dense", "evaluate.protocols.fixed = 'dense'; allowed: a list of names"),
        ("evaluate.protocols.fixed", ["combined"], "evaluate.protocols.fixed = ['combined']; allowed: combined only"),
    ],
    ids=str,
)  # fmt: skip
def test_a_refusal_says_what_is_allowed(key: str, value: object, said: str) -> None:
    (line,) = refused(with_value(tuple(key.split(".")), value))
    assert line.startswith(said)


def test_every_wrong_setting_has_its_line() -> None:
    block = with_value(("train", "epochs"), 0)
    block["train"]["momentum"] = 1
    block["data"]["clutter"] = "no"
    assert len(refused(block)) == 3


SMALLEST = {
    "fixed": {"train": 64, "test": [64, 68, 72]},
    "large": {"train": 68, "test": [64, 68, 72]},
    "jitter": {"train": [68, 96], "test": [64, 68, 72]},
}
"""The smallest scales for crops of 64 pixels."""


@pytest.mark.parametrize(
    ("scale", "key", "value", "said"),
    [
        ("fixed", "train", 64, None),
        ("fixed", "train", 63, "scales.fixed.train (63) at least model.input_side (64)"),
        ("large", "train", 67, "scales.large.train (67) at least model.input_side plus 4 (68)"),
        ("jitter", "train", [67, 96], "scales.jitter.train (67) at least model.input_side plus 4 (68)"),
        ("jitter", "test", [63, 68, 72], "scales.jitter.test (63) at least model.input_side (64)"),
    ],
)
def test_crops_must_fit_into_their_images(scale: str, key: str, value: object, said: str | None) -> None:
    block = copy.deepcopy(STUDIES["sample"])
    block["model"]["input_side"], block["scales"] = 64, copy.deepcopy(SMALLEST)
    block["scales"][scale][key] = value
    if said is None:
        assert accepted(block) == block
    else:
        with pytest.raises(SettingsError) as error:
            accepted(block)
        assert f"; allowed: {said}, as crops are cut from the rescaled images" in str(error.value)


def test_larger_scales_need_the_margin_at_the_size_of_the_stored_images_too() -> None:
    """Their centre crops are cut from larger images, which are rescaled to it."""
    block = copy.deepcopy(STUDIES["sample"])
    block["model"]["input_side"], block["scales"] = 64, copy.deepcopy(SMALLEST)
    block["scales"]["fixed"]["train"] = 65
    block["scales"]["large"]["test"] = [64, 65, 72]
    with pytest.raises(
        SettingsError, match=r"scales\.large\.test\[1\] \(65\) at least model\.input_side plus 4 \(68\)"
    ):
        accepted(block)


@pytest.mark.parametrize("source", ["data/raw/images.tar", "./data/../data/processed", "{root}/results/none/C"])
def test_a_source_that_dvc_would_delete_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.chdir(tmp_path)
    data = STUDIES["sample"]["data"]
    with pytest.raises(SettingsError, match=r"source = .*; allowed: a file or folder outside of data/raw, "):
        validate({**data, "source": source.format(root=tmp_path)}, DataSettings)
    validate({**data, "source": "mine/data/raw/images.tar"}, DataSettings)


@pytest.mark.parametrize("name", sorted(STUDIES.keys() - {"office10"}))
def test_a_study_keeps_the_papers_proportions_of_scales(name: str) -> None:
    """The larger S and Q over the crop, within a tenth of the paper's; params.yaml says why office10's are smaller."""

    def proportions(study: dict[str, Any]) -> list[float]:
        fixed, large, jitter = study["scales"].values()
        sides = (fixed["train"], large["train"], *jitter["train"], *jitter["test"])
        return [side / study["model"]["input_side"] for side in sides]

    assert proportions(STUDIES[name]) == pytest.approx(proportions(STUDIES["caltech256"]), rel=0.1)
