import copy
import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from vgg_ablation.data.settings import DataSettings
from vgg_ablation.model.settings import ModelSettings
from vgg_ablation.pipeline.params import Params, SettingsError, one_of, read_params
from vgg_ablation.settings import StudySettings
from vgg_ablation.train.settings import SearchRange, TrainSettings, TuneSettings

PARAMS = Path(__file__).parents[2] / "params.yaml"
STUDIES: dict[str, dict[str, Any]] = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))["studies"]


def study(**changes: object) -> dict[str, Any]:
    """Return the block of `sample`, with `data__side=64` setting `side` in `data`."""
    block = copy.deepcopy(STUDIES["sample"])
    for key, value in changes.items():
        *sections, name = key.split("__")
        place = block
        for section in sections:
            place = place[section]
        place[name] = value
    return block


def problems(block: dict[str, Any]) -> list[str]:
    """Return what is said of a study's block."""
    with pytest.raises(SettingsError) as error:
        Params("all", "sample", block).whole(StudySettings)
    return str(error.value).splitlines()


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "params.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# The repository's params.yaml.


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_of_the_repository_is_valid(name: str) -> None:
    Params("all", name, STUDIES[name]).whole(StudySettings)


def test_the_repository_selects_a_study_that_it_holds() -> None:
    assert read_params(PARAMS).block in STUDIES.values()


def keys(model: type[BaseModel]) -> dict[str, Any]:
    """Return the tree of a model's field names."""
    tree: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        models = [kind for kind in (field.annotation, *get_args(field.annotation)) if isinstance(kind, type)]
        inner = next((kind for kind in models if issubclass(kind, BaseModel)), None)
        tree[name] = keys(inner) if inner else None
    return tree


def names(block: dict[str, Any]) -> dict[str, Any]:
    return {name: names(value) if isinstance(value, dict) else None for name, value in block.items()}


@pytest.mark.parametrize("name", STUDIES)
def test_params_yaml_and_the_settings_have_the_same_keys(name: str) -> None:
    assert names(STUDIES[name]) == keys(StudySettings)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("data", "source", "caltech256"),
        ("data", "categories", "all"),
        ("data", "side", 256),  # S of section 3.1
        ("data", "train_per_class", 60),  # appendix B
        ("data", "validation_fraction", 0.2),
        ("data", "splits", 3),
        ("data", "clutter", False),
        ("model", "input_side", 224),  # section 2.1
        ("model", "width", 1.0),
        ("model", "batch_norm", False),
        ("model", "dropout", 0.5),  # section 3.1
        ("train", "epochs", 74),
        ("train", "batch_size", 256),
        ("train", "momentum", 0.9),
        ("train", "schedule", "plateau"),
        ("train", "colour_shift", 0.1),  # Krizhevsky et al., section 4.1
    ],
)
def test_the_full_study_keeps_to_the_papers_protocol(section: str, key: str, value: object) -> None:
    assert STUDIES["caltech256"][section][key] == value


def test_the_full_study_searches_for_long_enough() -> None:
    assert STUDIES["caltech256"]["tune"]["trials"] >= 20


@pytest.mark.parametrize("name", STUDIES)
def test_a_studys_search_can_prune(name: str) -> None:
    tune = STUDIES[name]["tune"]
    assert tune["prune_after"] < tune["epochs"]
    assert tune["random_trials"] < tune["trials"]


# What is said of a wrong one.


def test_an_unknown_key_is_named_in_full_beside_the_nearest() -> None:
    (line,) = problems(study(train__epoch=5))
    assert line.startswith("params.yaml: studies.sample.train.epoch is not a setting")
    assert line.endswith("(did you mean epochs?)")


def test_an_unknown_key_is_told_which_are_known() -> None:
    (line,) = problems(study(tune__learning_rate__step=1))
    assert "studies.sample.tune.learning_rate.step is not a setting; allowed: low, high" in line


def test_an_unknown_section_is_told_which_are_known() -> None:
    (line,) = problems(study(trian={}))
    assert "allowed: data, model, train, tune, evaluate (did you mean train?)" in line


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"train__epochs": 0}, "studies.sample.train.epochs = 0; allowed: greater than or equal to 1"),
        ({"train__momentum": "fast"}, "studies.sample.train.momentum = 'fast'; allowed: a valid number"),
        ({"train__schedule": "step"}, "studies.sample.train.schedule = 'step'; allowed: 'plateau' or 'cosine'"),
        ({"model__input_side": 50}, "studies.sample.model.input_side = 50; allowed: a multiple of 32"),
        ({"data__clutter": None}, "studies.sample.data.clutter = None; allowed: a valid boolean"),
        ({"data__validation_fraction": 1}, "studies.sample.data.validation_fraction = 1; allowed: less than 1"),
    ],
    ids=str,
)
def test_a_wrong_value_is_named_with_its_key_and_what_is_allowed(change: dict[str, object], said: str) -> None:
    (line,) = problems(study(**change))
    assert line.startswith(f"params.yaml: {said}")


def test_a_missing_key_is_named_in_full() -> None:
    block = study()
    del block["train"]["epochs"]
    assert problems(block) == ["params.yaml: studies.sample.train.epochs is missing"]


def test_a_missing_section_is_named_in_full() -> None:
    with pytest.raises(SettingsError, match=r"^params\.yaml: studies\.sample\.data"):
        Params("all", "sample", {}).section("data", DataSettings)


def test_every_wrong_setting_has_its_line() -> None:
    assert len(problems(study(train__epochs=0, train__momentum=1, data__side=1))) == 3


@pytest.mark.parametrize("value", ["backpack", ["backpack"], ["backpack", 3], []], ids=str)
def test_wrong_categories_are_said_in_one_line_under_the_key_that_dvc_takes(value: object) -> None:
    (line,) = problems(study(data__categories=value))
    assert re.match(r"params\.yaml: studies\.sample\.data\.categories( |\.\d+ )", line)


def test_a_category_listed_twice_is_named() -> None:
    (line,) = problems(study(data__categories=["mug", "dog", "mug"]))
    assert "mug" in line


def test_a_crop_larger_than_the_stored_images_is_refused() -> None:
    (line,) = problems(study(model__input_side=96))
    assert "model.input_side (96) at most data.side (72)" in line


def test_a_range_must_have_its_ends_in_order() -> None:
    (line,) = problems(study(tune__weight_decay={"low": 1e-2, "high": 1e-5}))
    assert line.startswith("params.yaml: studies.sample.tune.weight_decay")


def float_keys() -> list[str]:
    sections = {"data": DataSettings, "model": ModelSettings, "train": TrainSettings, "tune": TuneSettings}
    keys = [f"{section}__{name}" for section, settings in sections.items()
            for name, field in settings.model_fields.items() if field.annotation is float]  # fmt: skip
    return [*keys, *(f"tune__learning_rate__{end}" for end in SearchRange.model_fields)]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("key", float_keys())
def test_a_number_that_is_not_finite_is_refused(key: str, value: float) -> None:
    assert key.replace("__", ".") in problems(study(**{key: value}))[0]


def test_settings_cannot_be_changed_later() -> None:
    settings = Params("all", "sample", study()).section("train", TrainSettings)
    with pytest.raises(ValueError, match="frozen"):
        settings.epochs = 1  # pyright: ignore[reportAttributeAccessIssue]


# What is said of a wrong file or selection.


def test_a_missing_file_says_where_to_run(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="run from the repository's root"):
        read_params(tmp_path / "params.yaml")


@pytest.mark.parametrize("text", ["arch: a: b", "arch: [", "\t- x", b"arch: \xff\xfe", b"arch: \x00"], ids=repr)
def test_a_file_that_is_no_yaml_is_refused_in_one_line(tmp_path: Path, text: str | bytes) -> None:
    with pytest.raises(SettingsError) as error:
        read_params(written(tmp_path, text))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "[]", "arch: all", "studies: sample", "studies: []"])
def test_a_file_without_studies_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match="studies"):
        read_params(written(tmp_path, text))


def test_an_unknown_study_is_told_the_nearest(tmp_path: Path) -> None:
    path = written(tmp_path, "arch: all\nstudy: ofice10\nstudies: {sample: {}, office10: {}}")
    with pytest.raises(
        SettingsError, match=r"study = 'ofice10'; allowed: sample, office10 \(did you mean office10\?\)"
    ):
        read_params(path)


@pytest.mark.parametrize("value", ["", "[sample, office10]", "{sample: 1}"])
def test_a_study_that_is_no_name_is_refused(tmp_path: Path, value: str) -> None:
    path = written(tmp_path, f"arch: all\nstudy: {value}\nstudies: {{sample: {{}}, office10: {{}}}}")
    with pytest.raises(SettingsError, match="allowed: sample, office10"):
        read_params(path)


def test_an_unknown_key_beside_the_studies_is_refused(tmp_path: Path) -> None:
    """`dvc exp run -S archs=C` would otherwise run everything."""
    path = written(tmp_path, "arch: all\narchs: C\nstudy: sample\nstudies: {sample: {}}")
    with pytest.raises(SettingsError, match=r"archs is not a setting; .*did you mean arch\?"):
        read_params(path)


def test_the_selection_is_read(tmp_path: Path) -> None:
    path = written(tmp_path, "arch: A_LRN\nstudy: b\nstudies: {a: {x: 1}, b: {x: 2}}")
    assert read_params(path) == Params("A_LRN", "b", {"x": 2})


def test_a_study_may_be_named_by_a_number(tmp_path: Path) -> None:
    assert read_params(written(tmp_path, "arch: all\nstudy: 10\nstudies: {10: {x: 1}}")).block == {"x": 1}


@pytest.mark.parametrize("value", ["A-LRN", "a", "['A', 'C']", None], ids=str)
def test_an_unknown_net_is_told_which_are_known(value: object) -> None:
    with pytest.raises(SettingsError, match=r"^arch = .*; allowed: A, A_LRN, C"):
        one_of("arch", value, ["A", "A_LRN", "C"])


def test_a_known_net_passes() -> None:
    one_of("arch", "C", ["A", "C"])
