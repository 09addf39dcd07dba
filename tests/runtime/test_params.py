import copy
import re
import runpy
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from dvc.utils.serialize import dumps_yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from vgg_ablation.model.table1 import ARCHITECTURES
from vgg_ablation.runtime.params import Params, SettingsError, one_of, read_arguments, read_params, validate
from vgg_ablation.runtime.settings import SCALES, DataSettings, StudySettings, TrainSettings

PARAMS = Path(__file__).parents[2] / "params.yaml"
STUDIES: dict[str, dict[str, Any]] = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))["studies"]
SELECTION = "arch: all\nscale: fixed\nstudy: s\n"


def study(**changes: object) -> dict[str, Any]:
    """Return the block of `sample`, with `train__epochs=5` setting `epochs` in `train`."""
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
        Params("all", "fixed", "sample", block).whole(StudySettings)
    return str(error.value).splitlines()


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "params.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# The repository's params.yaml.


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_of_the_repository_is_valid(name: str) -> None:
    Params("all", "fixed", name, STUDIES[name]).whole(StudySettings)


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
        ("scales", "fixed", {"train": 256, "test": [224, 256, 288]}),  # Tables 3 and 4
        ("scales", "large", {"train": 384, "test": [352, 384, 416]}),
        ("scales", "jitter", {"train": [256, 512], "test": [256, 384, 512]}),
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
    assert "allowed: data, scales, compute, model, train, fine_tune, tune, evaluate (did you mean train?)" in line


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
        Params("all", "fixed", "sample", {}).section("data", DataSettings)


def test_every_wrong_setting_has_its_line() -> None:
    assert len(problems(study(train__epochs=0, train__momentum=1, scales__fixed__train=1))) == 3


@pytest.mark.parametrize("value", ["backpack", ["backpack"], ["backpack", 3], []], ids=str)
def test_wrong_categories_are_said_in_one_line_under_the_key_that_dvc_takes(value: object) -> None:
    (line,) = problems(study(data__categories=value))
    assert re.match(r"params\.yaml: studies\.sample\.data\.categories( |\.\d+ )", line)


def test_a_category_listed_twice_is_named() -> None:
    (line,) = problems(study(data__categories=["mug", "dog", "mug"]))
    assert "mug" in line


def test_a_range_must_have_its_ends_in_order() -> None:
    (line,) = problems(study(tune__weight_decay={"low": 1e-2, "high": 1e-5}))
    assert line.startswith("params.yaml: studies.sample.tune.weight_decay")


def test_settings_cannot_be_changed_later() -> None:
    settings = Params("all", "fixed", "sample", study()).section("train", TrainSettings)
    with pytest.raises(ValueError, match="frozen"):
        settings.epochs = 1  # pyright: ignore[reportAttributeAccessIssue]


# How YAML is read.


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all: each example writes its own params.yaml over the last."""
    return tmp_path_factory.mktemp("params")


@given(
    value=st.floats(allow_nan=False, allow_infinity=False)
    | st.integers()
    | st.integers(-300, 300).map(lambda exponent: float(f"1e{exponent}"))
)
def test_a_number_that_dvc_wrote_is_read_as_it_was(folder: Path, value: float) -> None:
    """`dvc exp run -S` writes `1e-05`, which plain PyYAML reads as text."""
    text = dumps_yaml({"arch": "all", "scale": "fixed", "study": "s", "studies": {"s": {"x": value}}})
    read = read_params(written(folder, text)).block["x"]
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize("text", ["1e-4", "1E-4", "+1e-4", "1.e-4", ".1e-3", "1.0e-4", "0.0001"])
def test_a_small_number_may_be_written_as_people_do(tmp_path: Path, text: str) -> None:
    assert read_params(written(tmp_path, f"{SELECTION}studies: {{s: {{x: {text}}}}}")).block == {"x": 1e-4}


@pytest.mark.parametrize("text", ["1e", "e5", "1e-4x", "'1e-4'", "1.2.3e4"])
def test_a_text_that_looks_like_a_number_stays_a_text(tmp_path: Path, text: str) -> None:
    read = read_params(written(tmp_path, f"{SELECTION}studies: {{s: {{x: {text}}}}}")).block
    assert read == {"x": text.strip("'")}


def test_a_study_may_take_over_the_settings_of_another(tmp_path: Path) -> None:
    path = written(tmp_path, "arch: all\nscale: fixed\nstudy: b\nstudies:\n  a: &a {x: 1, y: 2}\n  b: {<<: *a, y: 3}")
    assert read_params(path).block == {"x": 1, "y": 3}


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = written(tmp_path, b"\xef\xbb\xbf" + f"{SELECTION}studies: {{s: {{x: 1}}}}".encode())
    assert read_params(path) == Params("all", "fixed", "s", {"x": 1})


@pytest.mark.parametrize(
    ("text", "key", "lines"),
    [
        ("arch: all\narch: C\nstudy: s\nstudies: {s: {}}", "arch", "1 and 2"),
        ("arch: all\nstudy: s\nstudies:\n  s: {}\n  s: {}", "studies.s", "4 and 5"),
        (
            "study: s\nstudies:\n  s:\n    train:\n      epochs: 1\n      'epochs': 2",
            "studies.s.train.epochs",
            "5 and 6",
        ),
        ("study: s\nstudies:\n  s: &s {}\n  t: {<<: *s, <<: *s}", "studies.t.<<", "4 and 4"),
    ],
    ids=["top", "study", "setting", "merge"],
)
def test_a_key_that_stands_twice_is_named_with_its_lines(tmp_path: Path, text: str, key: str, lines: str) -> None:
    """As DVC does, which does not say where; PyYAML would take the last."""
    with pytest.raises(
        SettingsError, match=rf"params\.yaml: {re.escape(key)} stands twice, in lines {lines}; keep one$"
    ):
        read_params(written(tmp_path, text))


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("place", "key"),
    [
        ("arch: *last\nscale: fixed\nstudy: t", "arch"),
        ("arch: all\nscale: *last\nstudy: t", "scale"),
        ("arch: all\nscale: fixed\nstudy: *last", "study"),
        ("arch: all\nscale: fixed\nstudy: s", r"studies\.s"),
    ],
)
def test_aliases_of_aliases_are_refused_in_a_short_line(tmp_path: Path, place: str, key: str) -> None:
    """Written out, they would be 10**30 words long."""
    lists = "".join(f"    - &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 30))
    bomb = f"studies:\n  bomb:\n    - &a0 [x]\n{lists}    - &last [*a29]\n  s: *last\n  t: {{}}\n"
    with pytest.raises(SettingsError) as error:
        read_params(written(tmp_path, bomb + place))
    assert re.match(rf".*params\.yaml: {key} = \[", str(error.value))
    assert len(str(error.value)) < 1000


@pytest.mark.timeout(20)
def test_mappings_merged_over_and_over_stay_small(tmp_path: Path) -> None:
    """Each holds the one before twice: 2**40 pairs where none is dropped."""
    merged = "".join(f"  a{level}: &a{level} {{<<: [*a{level - 1}, *a{level - 1}]}}\n" for level in range(1, 41))
    path = written(tmp_path, f"arch: all\nscale: fixed\nstudy: a40\nstudies:\n  a0: &a0 {{x: 1}}\n{merged}")
    assert read_params(path).block == {"x": 1}


@pytest.mark.parametrize(
    "value",
    ["2024-13-45", "!!int ''", "!!bool x", "!!timestamp x", "!!float ''", "9" * 5000, "!!binary zz", "=", "!x y", "*x"],
    ids=lambda value: value[:20],
)
def test_a_value_that_yaml_cannot_read_is_refused_in_a_line_that_says_where(tmp_path: Path, value: str) -> None:
    with pytest.raises(SettingsError, match=r"^.*params\.yaml is not valid YAML: .* line 3, column ") as error:
        read_params(written(tmp_path, f"arch: all\nstudy: s\nstudies: {{s: {{x: {value}}}}}"))
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 1000


def test_a_number_too_long_to_print_is_refused_by_its_key() -> None:
    (line,) = problems(study(train__epochs=1 << 20_000))
    assert line.startswith("params.yaml: studies.sample.train.epochs = a number of thousands of digits; allowed: ")


@pytest.mark.parametrize("text", ["[" * 10_000, "{a: " * 10_000], ids=lambda text: text[:4])
def test_brackets_without_end_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match="nested too deeply"):
        read_params(written(tmp_path, text))


@pytest.mark.parametrize("key", ["? [a]\n", "? {a: b}\n", '"\\e[31m"'])
def test_a_key_that_is_no_name_is_refused_by_its_line(tmp_path: Path, key: str) -> None:
    with pytest.raises(SettingsError, match=r"params\.yaml: line 2 has a key that is no plain name$"):
        read_params(written(tmp_path, f"arch: all\n{key}: 1\n"))


# What is said of a wrong file or selection.


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").mkdir()
    with pytest.raises(SettingsError, match=r"params\.yaml cannot be read: Is a directory"):
        read_params(tmp_path / "params.yaml")


def test_a_file_in_another_encoding_is_told_where(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="its byte 1 is not UTF-8"):
        read_params(written(tmp_path, "arch: all".encode("utf-16")))


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


def test_a_study_without_settings_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"studies\.s = None; allowed: a mapping"):
        read_params(written(tmp_path, "arch: all\nstudy: s\nstudies: {s: }"))


@pytest.mark.parametrize("value", ["yes", "1.0", "2024-01-01"])
def test_a_study_that_yaml_takes_for_no_name_is_refused(tmp_path: Path, value: str) -> None:
    """True and 1.0 are equal to 1, and would choose another study."""
    path = written(tmp_path, f"arch: all\nstudy: {value}\nstudies: {{1: {{}}, {value}: {{}}}}")
    with pytest.raises(SettingsError, match=r"study = .*; allowed: 1$"):
        read_params(path)


def test_a_study_may_have_spaces_in_its_name(tmp_path: Path) -> None:
    path = written(tmp_path, "arch: all\nscale: fixed\nstudy: two cores\nstudies: {two cores: {x: 1}}")
    assert read_params(path) == Params("all", "fixed", "two cores", {"x": 1})


@pytest.mark.parametrize("value", ["", "[fixed, large]", "256", "yes"])
def test_a_scale_that_is_no_name_is_refused(tmp_path: Path, value: str) -> None:
    path = written(tmp_path, f"arch: all\nscale: {value}\nstudy: s\nstudies: {{s: {{}}}}")
    with pytest.raises(
        SettingsError, match=r"params\.yaml: scale = .*; allowed: all, or the name of a training scale$"
    ):
        read_params(path)


def test_a_selection_without_a_scale_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"params\.yaml: scale = None; allowed: "):
        read_params(written(tmp_path, "arch: all\nstudy: s\nstudies: {s: {}}"))


@pytest.mark.parametrize("value", ["", "[A, C]", "3", "yes"])
def test_a_net_that_is_no_name_is_refused(tmp_path: Path, value: str) -> None:
    path = written(tmp_path, f"arch: {value}\nstudy: s\nstudies: {{s: {{}}}}")
    with pytest.raises(SettingsError, match=r"params\.yaml: arch = .*; allowed: all, or the name of a net$"):
        read_params(path)


def test_an_unknown_key_beside_the_studies_is_refused(tmp_path: Path) -> None:
    """`dvc exp run -S archs=C` would otherwise run everything."""
    path = written(tmp_path, "arch: all\narchs: C\nstudy: sample\nstudies: {sample: {}}")
    with pytest.raises(SettingsError, match=r"archs is not a setting; .*did you mean arch\?"):
        read_params(path)


def test_the_selection_is_read(tmp_path: Path) -> None:
    path = written(tmp_path, "arch: A_LRN\nscale: jitter\nstudy: b\nstudies: {a: {x: 1}, b: {x: 2}}")
    assert read_params(path) == Params("A_LRN", "jitter", "b", {"x": 2})


def test_a_study_may_be_named_by_a_number(tmp_path: Path) -> None:
    assert read_params(written(tmp_path, "arch: all\nscale: fixed\nstudy: 10\nstudies: {10: {x: 1}}")).block == {"x": 1}


@pytest.mark.parametrize("value", ["A-LRN", "a", "['A', 'C']", None], ids=str)
def test_an_unknown_net_is_told_which_are_known(value: object) -> None:
    with pytest.raises(SettingsError, match=r"^arch = .*; allowed: A, A_LRN, C"):
        one_of("arch", value, ["A", "A_LRN", "C"])


def test_a_known_net_passes() -> None:
    one_of("arch", "C", ["A", "C"])


# What a stage is called with, and what the stage `check` lets pass.

CHECK = PARAMS.with_name("stages") / "check.py"


def arguments(monkeypatch: pytest.MonkeyPatch, *given: str) -> list[str]:
    """Return what is read of a command line that names a net and a training scale."""
    monkeypatch.setattr(sys, "argv", ["train.py", *given])
    return read_arguments(arch=["A", "B_5x5"], scale=SCALES)


def test_arguments_are_read_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    assert arguments(monkeypatch, "B_5x5", "jitter") == ["B_5x5", "jitter"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "arch = ''; allowed: A, B_5x5"),
        (["A"], "scale = ''; allowed: fixed, large, jitter"),
        (["B_5x4", "large"], "arch = 'B_5x4'; allowed: A, B_5x5 (did you mean B_5x5?)"),
        (["A", "jiter"], "scale = 'jiter'; allowed: fixed, large, jitter (did you mean jitter?)"),
        (["A", "all"], "scale = 'all'; allowed: fixed, large, jitter"),
        (["large", "A"], "arch = 'large'; allowed: A, B_5x5"),
        (["A", "large", "C"], "'C' is one argument too many; give arch and scale"),
        (["A", "large", "\x1b[31m", "C"], r"'\x1b[31m' is one argument too many; give arch and scale"),
    ],
    ids=" ".join,
)
def test_wrong_arguments_are_refused_by_the_first_that_is_wrong(
    monkeypatch: pytest.MonkeyPatch, given: list[str], said: str
) -> None:
    with pytest.raises(SettingsError) as error:
        arguments(monkeypatch, *given)
    assert str(error.value) == said


def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arch: str, scale: str) -> None:
    """Run the stage `check` on a selection of the sample."""
    monkeypatch.chdir(tmp_path)
    selection = {"arch": arch, "scale": scale, "study": "sample", "studies": {"sample": study()}}
    written(tmp_path, yaml.safe_dump(selection))
    runpy.run_path(str(CHECK))


@pytest.mark.parametrize("arch", ["all", *ARCHITECTURES])
@pytest.mark.parametrize("scale", ["fixed", "large", "jitter", "all"])
def test_every_net_may_be_selected_at_every_training_scale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arch: str, scale: str
) -> None:
    check(tmp_path, monkeypatch, arch, scale)
    assert (tmp_path / "data" / "settings-are-valid.txt").exists()


@pytest.mark.parametrize(
    ("arch", "scale", "said"),
    [
        ("all", "fixd", "scale = 'fixd'; allowed: fixed, large, jitter, all (did you mean fixed?)"),
        ("all", "256", "scale = '256'; allowed: fixed, large, jitter, all"),
        ("B5x5", "all", "arch = 'B5x5'; allowed: all, A, A_LRN, B, C, D, E, B_5x5 (did you mean B_5x5?)"),
    ],
)
def test_an_unknown_selection_is_refused_in_one_line_before_any_work(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arch: str,
    scale: str,
    said: str,
) -> None:
    with pytest.raises(SystemExit):
        check(tmp_path, monkeypatch, arch, scale)
    assert capsys.readouterr().err == f"check: params.yaml: {said}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


# A source that is named by its place.


@pytest.mark.parametrize("source", ["data/raw/images.tar", "./data/../data/processed", "{root}/results/C"])
def test_a_source_that_dvc_would_delete_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.chdir(tmp_path)
    data = yaml.safe_load(PARAMS.read_text())["studies"]["sample"]["data"]
    with pytest.raises(SettingsError, match=r"k\.source = .*; allowed: a file or folder outside of data/raw, "):
        validate({**data, "source": source.format(root=tmp_path)}, DataSettings, "k")
    validate({**data, "source": "mine/data/raw/images.tar"}, DataSettings, "k")
