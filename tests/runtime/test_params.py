import copy
import runpy
import sys
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.utils.hydra import apply_overrides
from dvc.utils.serialize import dumps_yaml
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from vgg_ablation.model.table1 import PLAIN
from vgg_ablation.runtime import paths
from vgg_ablation.runtime.params import Params, SettingsError, read_arguments, read_params
from vgg_ablation.runtime.settings import SCALES, SELECTIONS, StudySettings

ROOT = Path(__file__).parents[2]
PARAMS = ROOT / "params.yaml"
STUDIES: dict[str, dict[str, Any]] = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))["studies"]
SELECTION = "arch: all\nnorm: none\nscale: fixed\nstudy: s\n"


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "params.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refusal(folder: Path, text: str | bytes) -> str:
    """Return the one line that is said of a params.yaml, without the folder's name."""
    with pytest.raises(SettingsError) as error:
        read_params(written(folder, text)).whole(StudySettings)
    return str(error.value).removeprefix(f"{folder}/")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all examples: each writes its own params.yaml over the last."""
    return tmp_path_factory.mktemp("params")


# The repository's params.yaml.


@pytest.mark.parametrize(
    "override",
    [
        ["studies.sample.train.epochs=5", "arch=C"],
        ["studies.sample.evaluate.protocols.jitter=[dense]", "studies.office10.data.categories=all"],
        ["studies.office10.scales.fixed.test=[32,64,96]", "studies.sample.tune.learning_rate.low=1e-7"],
    ],
    ids=" ".join,
)
def test_a_setting_changed_by_dvc_changes_its_own_lines_only(tmp_path: Path, override: list[str]) -> None:
    """`dvc exp run -S` rewrites the file with this function of DVC, which drops comments behind lists."""
    path = written(tmp_path, PARAMS.read_bytes())
    apply_overrides(path, override)
    before, after = PARAMS.read_text().splitlines(), path.read_text().splitlines()
    comments = [line.partition("#")[2] for line in before if "#" in line]
    assert [line.partition("#")[2] for line in after if "#" in line] == comments
    assert after.count("") == before.count("")
    new = [line for line in after if line not in before]
    assert len(new) <= len(override)
    read_params(path)


# What is read.


def test_the_selection_is_read(tmp_path: Path) -> None:
    path = written(
        tmp_path, "arch: A_LRN\nnorm: all\nscale: jitter\nstudy: two cores\nstudies: {a: {x: 1}, two cores: {x: 2}}"
    )
    assert read_params(path) == Params("A_LRN", "all", "jitter", "two cores", {"x": 2})


@examples(max_examples=40)
@given(
    value=st.floats(allow_nan=False, allow_infinity=False)
    | st.integers()
    | st.integers(-300, 300).map(lambda exponent: float(f"1e{exponent}"))
)
def test_a_number_that_dvc_wrote_is_read_as_it_was(folder: Path, value: float) -> None:
    text = dumps_yaml({"arch": "all", "norm": "none", "scale": "fixed", "study": "s", "studies": {"s": {"x": value}}})
    read = read_params(written(folder, text)).block["x"]
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize("text", ["1e-4", "1e-04", "1E-4", "1.0e-4", "0.0001"])
def test_a_small_number_may_be_written_in_any_way(tmp_path: Path, text: str) -> None:
    assert read_params(written(tmp_path, f"{SELECTION}studies: {{s: {{x: {text}}}}}")).block == {"x": 1e-4}


# What is refused.


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"arch: \xff", "params.yaml is not valid YAML: 'utf-8' codec can't decode byte 0xff in position 6: invalid"),
        ("arch: all\nstudy: [", "params.yaml is not valid YAML: expected the node content, but found '<stream end>'"),
        ("arch: all\narch: C", 'params.yaml is not valid YAML: found duplicate key "arch" with value "C" (original'),
        ("arch: \x00", "params.yaml is not valid YAML: unacceptable character #x0000"),
        ("[" * 500, "params.yaml is not valid YAML: maximum recursion depth exceeded"),
        (f"{SELECTION}studies: {{s: {{x: 2024-13-45}}}}", "params.yaml is not valid YAML: month must be in 1..12"),
        ("", "params.yaml = None; allowed: a mapping with arch, norm, scale, study, studies"),
        ("studies: {}\narch: all\nnorm: all\nscale: fixed", "params.yaml: study is missing"),
        (f"{SELECTION}studies: sample", "params.yaml: studies = 'sample'; allowed: a valid dictionary"),
        (f"{SELECTION}studies: {{s: }}", "params.yaml: studies.s = None; allowed: a valid dictionary"),
        (f"{SELECTION}studies: {{}}\narchs: C", "params.yaml: archs is not a setting; allowed: arch, norm, scale, "),
        (f"{SELECTION}studies: {{s2: {{}}}}", "params.yaml: study = 's'; allowed: s2 (did you mean s2?)"),
        ("arch: []\nnorm: all\nscale: all\nstudy: s\nstudies: {}", "params.yaml: arch = []; allowed: a valid string"),
        ('arch: all\nnorm: all\nscale: all\nstudy: "\\e[2J"\nstudies: {}', r"params.yaml: study = '\x1b[2J'; "),
    ],
    ids=lambda text: str(text)[:30],
)  # fmt: skip
def test_a_wrong_file_is_refused_in_one_line(tmp_path: Path, text: str | bytes, said: str) -> None:
    line = refusal(tmp_path, text)
    assert line.startswith(said)
    assert line.isprintable()


def test_a_duplicate_key_is_named_with_its_line(tmp_path: Path) -> None:
    line = refusal(tmp_path, f"{SELECTION}studies:\n  s:\n    train:\n      epochs: 1\n      'epochs': 2\n")
    assert 'found duplicate key "epochs"' in line
    assert line.endswith(", line 9")


def test_a_missing_file_says_where_to_run(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"params\.yaml not found; run from the repository's root$"):
        read_params(tmp_path / "params.yaml")


LIKE_YAML = st.text(st.sampled_from("[]{}:,-?&*!|>'\"%@`#<=~ \n\t0123456789abe.")) | st.text() | st.binary()


@examples(max_examples=60)
@given(text=LIKE_YAML, inside=st.booleans())
def test_any_text_that_is_no_study_gives_clear_lines(folder: Path, text: str | bytes, inside: bool) -> None:
    content = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    if inside:
        content = f"{SELECTION}studies:\n  s: ".encode() + content
    with pytest.raises(SettingsError) as error:
        read_params(written(folder, content)).whole(StudySettings)
    assert all(line.isprintable() and len(line) < 1500 for line in str(error.value).split("\n"))


# Command line arguments and the stage `check`.


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "arch = ''; allowed: A, B_5x5"),
        (["A", "jiter"], "scale = 'jiter'; allowed: fixed, large, jitter (did you mean jitter?)"),
        (["large", "A"], "arch = 'large'; allowed: A, B_5x5"),
        (["A", "large", "\x1b[31m", "C"], r"'\x1b[31m' is an unexpected argument; give arch and scale"),
    ],
    ids=" ".join,
)
def test_the_first_wrong_argument_is_named(monkeypatch: pytest.MonkeyPatch, given: list[str], said: str) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", *given])
    with pytest.raises(SettingsError) as error:
        read_arguments(arch=["A", "B_5x5"], scale=SCALES)
    assert str(error.value) == said


def check(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    arch: str,
    norm: str,
    scale: str,
    data: Mapping[str, object] | None = None,
    study: str = "sample",
) -> None:
    """Run the stage `check` on a selection of a study, with changes to its section `data`."""
    monkeypatch.chdir(folder)
    block = copy.deepcopy(STUDIES[study])
    block["data"] |= data or {}
    written(
        folder, yaml.safe_dump({"arch": arch, "norm": norm, "scale": scale, "study": study, "studies": {study: block}})
    )
    runpy.run_path(str(ROOT / "stages/check.py"))


@pytest.mark.parametrize("scale", SELECTIONS)
def test_every_net_may_be_selected_at_every_training_scale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scale: str
) -> None:
    for arch, norm in product(("all", PLAIN[-1]), ("none", "batch", "all")):
        check(tmp_path, monkeypatch, arch, norm, scale)
        (tmp_path / paths.SETTINGS_VALID).unlink()


@pytest.mark.parametrize(
    ("arch", "norm", "scale", "data", "said"),
    [
        ("all", "bach", "fixed", {}, "norm = 'bach'; allowed: none, batch, all (did you mean batch?)"),
        ("b", "none", "fixed", {}, f"arch = 'b'; allowed: all, {', '.join(PLAIN)} (did you mean B?)"),
        ("a_lrn", "none", "fixed", {}, f"arch = 'a_lrn'; allowed: all, {', '.join(PLAIN)} (did you mean A_LRN?)"),
        ("all", "none", "256", {}, "scale = '256'; allowed: fixed, large, jitter, all"),
        ("A_LNR", "none", "all", {}, "arch = 'A_LNR'; allowed: all, A, A_LRN, "),
        ("all", "none", "all", {"splits": 0}, "studies.sample.data.splits = 0; allowed: greater than or equal to 1"),
    ],
)
def test_check_refuses_a_wrong_setting_in_one_line_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    arch: str, norm: str, scale: str, data: dict[str, object], said: str,
) -> None:  # fmt: skip
    with pytest.raises(SystemExit) as ended:
        check(tmp_path, monkeypatch, arch, norm, scale, data)
    assert ended.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"check: params.yaml: {said}")
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


def test_check_refuses_a_net_without_published_weights_where_training_starts_from_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    check(tmp_path, monkeypatch, "all", "all", "fixed", study="caltech256-finetune")
    with pytest.raises(SystemExit):
        check(tmp_path, monkeypatch, "B_5x5", "all", "fixed", study="caltech256-finetune")
    assert "no published ImageNet weights fit net B_5x5\n" in capsys.readouterr().err
