import inspect

import pytest
from pydantic import ValidationError

from vgg_ablation.model.vgg import VGG
from vgg_ablation.runtime.settings import ModelSettings

PAPER = {"input_side": 224, "width": 1.0, "batch_norm": False, "dropout": 0.5, "init": "kaiming"}


def test_settings_are_the_keyword_arguments_of_the_network() -> None:
    parameters = inspect.signature(VGG).parameters.values()
    assert {p.name for p in parameters if p.kind is p.KEYWORD_ONLY} == set(ModelSettings.model_fields)


@pytest.mark.parametrize("name", PAPER)
def test_every_setting_is_required_and_described(name: str) -> None:
    field = ModelSettings.model_fields[name]
    assert field.is_required()
    assert field.description
    assert field.description.endswith(".")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("input_side", 50, "multiple of 32"),
        ("input_side", 0, "greater than or equal to 32"),
        ("input_side", 224.5, "integer"),
        ("width", 0, "greater than 0"),
        ("width", 2.5, "less than or equal to 2"),
        ("width", float("nan"), "finite"),
        ("dropout", 1, "less than 1"),
        ("dropout", -0.1, "greater than or equal to 0"),
        ("batch_norm", "perhaps", "boolean"),
        ("init", "xavier", "'kaiming' or 'paper'"),
        ("depth", 19, "Extra inputs are not permitted"),
    ],
)
def test_a_wrong_setting_is_refused_with_what_is_allowed(name: str, value: object, message: str) -> None:
    with pytest.raises(ValidationError, match=f"(?s){name}.*{message}"):
        ModelSettings.model_validate(PAPER | {name: value})


def test_settings_do_not_change() -> None:
    settings = ModelSettings.model_validate(PAPER)
    with pytest.raises(ValidationError, match="frozen"):
        settings.width = 0.5  # pyright: ignore[reportAttributeAccessIssue]
