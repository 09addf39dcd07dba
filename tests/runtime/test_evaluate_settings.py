from itertools import combinations
from typing import get_args

import pytest

from vgg_ablation.runtime.params import SettingsError, validate
from vgg_ablation.runtime.settings import EvaluateSettings, Protocol

KEY = "studies.x.evaluate"
NAMES = get_args(Protocol)


def read(**lists: object) -> EvaluateSettings:
    """Return the settings with these lists, and `dense` for the other training scales."""
    protocols = {"fixed": ["dense"], "large": ["dense"], "jitter": ["dense"], **lists}
    return validate({"protocols": protocols}, EvaluateSettings, KEY)


def refusal(**lists: object) -> str:
    with pytest.raises(SettingsError) as refused:
        read(**lists)
    return str(refused.value)


def test_each_training_scale_has_its_protocols_in_the_order_given() -> None:
    protocols = read(fixed=["dense", "centre"], jitter=["multi_crop"]).protocols
    found = {scale: protocols.of(scale) for scale in ("fixed", "large", "jitter")}
    assert found == {"fixed": ("dense", "centre"), "large": ("dense",), "jitter": ("multi_crop",)}


def test_a_protocol_is_evaluated_at_least() -> None:
    assert "protocols.large = (); allowed: at least 1 item" in refusal(large=[])


def test_an_unknown_protocol_is_refused() -> None:
    assert "protocols.fixed.0 = 'center'; allowed: 'centre', 'dense'" in refusal(fixed=["center"])


def test_one_name_is_no_list() -> None:
    assert refusal(jitter="dense") == f"params.yaml: {KEY}.protocols.jitter = 'dense'; allowed: a list of names"


def test_a_protocol_that_is_listed_twice_is_refused() -> None:
    assert refusal(fixed=["dense", "centre", "dense"]) == (
        f"params.yaml: {KEY}.protocols.fixed = ['dense', 'centre', 'dense']; "
        "allowed: names without repetition (dense is listed twice)"
    )


@pytest.mark.parametrize("others", [names for count in range(4) for names in combinations(NAMES[:-1], count)])
def test_combined_is_refused_unless_both_that_it_averages_are_listed(others: tuple[str, ...]) -> None:
    listed = ["combined", *others]
    if {"dense_scales", "multi_crop"} <= set(others):
        assert read(jitter=listed).protocols.jitter == tuple(listed)
    else:
        assert refusal(jitter=listed).endswith(
            "allowed: combined along with dense_scales and multi_crop, whose mean it is"
        )


def test_one_list_for_all_training_scales_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"protocols = .*; allowed: a mapping with fixed, large, jitter"):
        validate({"protocols": ["centre", "dense"]}, EvaluateSettings, KEY)
