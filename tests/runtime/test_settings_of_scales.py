"""Section `scales` of a study, and what must agree between it and the net's input."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from vgg_ablation.runtime.params import SettingsError, validate
from vgg_ablation.runtime.settings import SCALES, ScalesSettings, StudySettings

STUDIES = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8"))["studies"]
PAPER = {
    "fixed": {"train": 256, "test": [224, 256, 288]},
    "large": {"train": 384, "test": [352, 384, 416]},
    "jitter": {"train": [256, 512], "test": [256, 384, 512]},
}
"""Section 4, Tables 3 and 4."""


def settings(**changes: dict[str, Any]) -> ScalesSettings:
    """Return the paper's scales, with `large={"train": 400}` setting `train` in `large`."""
    values = copy.deepcopy(PAPER)
    for name, change in changes.items():
        values[name] |= change
    return validate(values, ScalesSettings, "scales")


def refusal(**changes: dict[str, Any]) -> str:
    """Return the one line that is said of the paper's scales with changes."""
    with pytest.raises(SettingsError) as error:
        settings(**changes)
    (line,) = str(error.value).splitlines()
    return line.removeprefix("params.yaml: ")


# What is read of them.


def test_each_scale_is_had_by_its_name() -> None:
    scales = settings()
    assert [scales.of(name).train for name in SCALES] == [256, 384, (256, 512)]


def test_the_single_test_scale_is_the_middle_one() -> None:
    """Table 3: Q = S for fixed S, and the mean of the smallest and the largest S for jittered S."""
    scales = settings()
    assert [scales.of(name).single for name in SCALES] == [256, 384, (256 + 512) // 2]


sides = st.integers(32, 1024)


def ascending(count: int) -> st.SearchStrategy[list[int]]:
    return st.lists(sides, min_size=count, max_size=count, unique=True).map(sorted)


@given(trains=st.tuples(sides, sides, ascending(2)), tests=st.tuples(ascending(3), ascending(3), ascending(3)))
def test_the_largest_is_that_of_all_training_and_test_scales(
    trains: tuple[int, int, list[int]], tests: tuple[list[int], list[int], list[int]]
) -> None:
    values = {name: {"train": trains[place], "test": tests[place]} for place, name in enumerate(SCALES)}
    (fixed, large, jitter), found = trains, validate(values, ScalesSettings, "scales")
    assert found.largest == max([fixed, large, *jitter, *tests[0], *tests[1], *tests[2]])


# What is not allowed.


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(
    "test",
    [[288, 256, 320], [320, 288, 256], [256, 256, 288], [256, 288, 288]],
    ids=["middle first", "descending", "first twice", "last twice"],
)
def test_test_scales_that_do_not_ascend_are_refused(scale: str, test: list[int]) -> None:
    assert refusal(**{scale: {"test": test}}) == f"scales.{scale}.test = {test}; allowed: an ascending list"


@pytest.mark.parametrize("train", [[512, 256], [256, 256]])
def test_the_ends_of_the_jittered_scale_must_ascend(train: list[int]) -> None:
    assert refusal(jitter={"train": train}) == f"scales.jitter.train = {train}; allowed: an ascending list"


@pytest.mark.parametrize("value", [256, "256", None, [256.0, 288.0, 320.0], [True, 288, 320], ["256", "288", "320"]])
@pytest.mark.parametrize("scale", SCALES)
def test_test_scales_that_are_no_list_of_whole_numbers_are_refused(scale: str, value: object) -> None:
    line = refusal(**{scale: {"test": value}})
    assert line == f"scales.{scale}.test = {value!r}; allowed: a list of whole numbers"


@pytest.mark.parametrize("scale", SCALES)
def test_two_test_scales_are_too_few(scale: str) -> None:
    assert refusal(**{scale: {"test": [256, 288]}}).startswith(f"scales.{scale}.test.2 is missing")


@pytest.mark.parametrize("scale", SCALES)
def test_four_test_scales_are_too_many(scale: str) -> None:
    line = refusal(**{scale: {"test": [256, 288, 320, 352]}})
    assert line.startswith(f"scales.{scale}.test = (256, 288, 320, 352); allowed: at most 3 items")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"fixed": {"train": 31}}, "scales.fixed.train = 31; allowed: greater than or equal to 32"),
        ({"large": {"train": 1025}}, "scales.large.train = 1025; allowed: less than or equal to 1024"),
        ({"fixed": {"test": [31, 256, 288]}}, "scales.fixed.test.0 = 31; allowed: greater than or equal to 32"),
        ({"large": {"test": [352, 384, 1025]}}, "scales.large.test.2 = 1025; allowed: less than or equal to 1024"),
        ({"jitter": {"train": [31, 512]}}, "scales.jitter.train.0 = 31; allowed: greater than or equal to 32"),
        ({"jitter": {"train": [256, 1025]}}, "scales.jitter.train.1 = 1025; allowed: less than or equal to 1024"),
    ],
    ids=str,
)
def test_a_side_out_of_bounds_is_named_with_what_is_allowed(change: dict[str, dict[str, Any]], said: str) -> None:
    assert refusal(**change) == said


@pytest.mark.parametrize("scale", ["fixed", "large"])
def test_a_scale_that_is_not_jittered_has_one_training_scale(scale: str) -> None:
    line = refusal(**{scale: {"train": [256, 512]}})
    assert line == f"scales.{scale}.train = [256, 512]; allowed: a valid integer"


def test_the_jittered_scale_has_two_ends() -> None:
    assert refusal(jitter={"train": 384}) == "scales.jitter.train = 384; allowed: a list of whole numbers"


def test_an_unknown_scale_is_refused_beside_those_known() -> None:
    with pytest.raises(
        SettingsError, match=r"scales\.larger is not a setting; allowed: fixed, large, jitter \(did you"
    ):
        validate({**PAPER, "larger": PAPER["large"]}, ScalesSettings, "scales")


# Crops are cut from the rescaled images.


def study(side: int, scales: dict[str, Any]) -> StudySettings:
    """Return the sample with an input side and scales of its own."""
    block = copy.deepcopy(STUDIES["sample"])
    block["model"]["input_side"], block["scales"] = side, scales
    return validate(block, StudySettings, "studies.sample")


SMALLEST = {
    "fixed": {"train": 64, "test": [64, 68, 72]},
    "large": {"train": 68, "test": [64, 68, 72]},
    "jitter": {"train": [68, 96], "test": [64, 68, 72]},
}
"""The smallest scales for crops of 64 pixels."""


def test_crops_may_be_as_large_as_their_images_are() -> None:
    assert study(64, SMALLEST).scales.fixed.train == 64


@pytest.mark.parametrize(
    ("scale", "key", "value", "said"),
    [
        ("fixed", "train", 63, "scales.fixed.train (63) at least model.input_side (64)"),
        ("large", "train", 67, "scales.large.train (67) at least model.input_side plus 4 (68)"),
        ("jitter", "train", [67, 96], "scales.jitter.train (67) at least model.input_side plus 4 (68)"),
        ("fixed", "test", [63, 68, 72], "scales.fixed.test (63) at least model.input_side (64)"),
        ("large", "test", [63, 68, 72], "scales.large.test (63) at least model.input_side (64)"),
        ("jitter", "test", [63, 68, 72], "scales.jitter.test (63) at least model.input_side (64)"),
    ],
)
def test_an_image_that_a_crop_does_not_fit_in_is_refused_by_its_scale(
    scale: str, key: str, value: object, said: str
) -> None:
    scales = copy.deepcopy(SMALLEST)
    scales[scale][key] = value
    with pytest.raises(SettingsError) as error:
        study(64, scales)
    assert str(error.value) == (
        f"params.yaml: studies.sample; allowed: {said}, as crops are cut from the rescaled images"
    )


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_of_the_repository_has_the_papers_proportions(name: str) -> None:
    """The larger S and Q over the smaller, and all over the crop, within a tenth of the paper's."""
    side, scales = STUDIES[name]["model"]["input_side"], STUDIES[name]["scales"]

    def proportions(crop: int, block: dict[str, Any]) -> list[float]:
        large, jitter = block["large"], block["jitter"]
        return [each / crop for each in (block["fixed"]["train"], large["train"], *jitter["train"], *jitter["test"])]

    assert proportions(side, scales) == pytest.approx(proportions(224, PAPER), rel=0.1)
