import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vgg_ablation.data import download
from vgg_ablation.pipeline import state as state_module
from vgg_ablation.pipeline.console import Stage
from vgg_ablation.pipeline.errors import StageError
from vgg_ablation.pipeline.state import state_folder
from vgg_ablation.scratch import reachable
from vgg_ablation.scratch.reachable import DOWNLOAD, KINDS, judge
from vgg_ablation.settings import StudySettings

SETTINGS = "settings of no study in params.yaml (those given by -S alone are not known here)"
UNREADABLE = "unreadable: determinants.json is missing or damaged"
OTHER_MODEL = {"input_side": 64, "width": 0.125, "batch_norm": False, "dropout": 0.5, "init": "paper"}
ROOMY = {
    "fixed": {"train": 72, "test": [72, 76, 80]},
    "large": {"train": 96, "test": [88, 96, 104]},
    "jitter": {"train": [72, 96], "test": [72, 84, 96]},
}
OTHER_TRAIN = {
    "epochs": 7, "batch_size": 5, "momentum": 0.5, "schedule": "plateau", "patience": 9, "colour_shift": 0.0,
}  # fmt: skip
OTHER_TUNE = {
    "epochs": 7, "learning_rate": {"low": 1e-3, "high": 1e-1}, "weight_decay": {"low": 1e-4, "high": 1e-2},
    "sampler": "tpe", "random_trials": 9, "pruner": "median", "prune_after": 9, "seed": 1,
}  # fmt: skip
OTHER_IMAGES = {"source": "caltech256", "categories": ["a", "b"], "clutter": True, "seed": 1}


def list_kind(kind: str) -> list[Path]:
    found = sorted(Path(".state", kind).iterdir())
    assert found
    return found


def reasons(kind: str, *blocks: dict) -> set[str]:
    """Return why the folders of a kind cannot be reached by studies; "" for those that can."""
    studies = [StudySettings.model_validate(block) for block in blocks]
    return {judge(kind, folder, studies).why for folder in list_kind(kind)}


def changed(block: dict, section: str, name: str, value: object) -> dict:
    return {**block, section: {**block[section], name: value}}


@pytest.mark.parametrize("kind", list(KINDS))
def test_what_the_stages_leave_can_be_reached(repository: Path, studies: dict, kind: str) -> None:
    """Fails where a stage has a determinant, or code, that is not known here."""
    assert reasons(kind, *studies.values()) == {""}


def test_every_kind_of_state_is_known(repository: Path) -> None:
    kinds = {path.parent.parent.relative_to(".state").as_posix() for path in Path(".state").rglob("determinants.json")}
    assert kinds == set(KINDS)


@pytest.mark.parametrize(
    ("kind", "section", "name", "value"),
    [
        *(("train", "model", *item) for item in OTHER_MODEL.items()),
        *(("train", "train", *item) for item in OTHER_TRAIN.items() if item[0] != "epochs"),
        *(("tune", "model", *item) for item in OTHER_MODEL.items()),
        *(("tune", "train", *item) for item in OTHER_TRAIN.items()),
        *(("tune", "tune", *item) for item in OTHER_TUNE.items()),
        *(("evaluate", "model", *item) for item in OTHER_MODEL.items()),
        *(("search-cost/images", "data", *item) for item in OTHER_IMAGES.items()),
        *(("search-cost/curves", "model", *item) for item in OTHER_MODEL.items()),
        *(("search-cost/curves", "train", *item) for item in OTHER_TRAIN.items()),
        ("search-cost/images", "scales", "fixed", {"train": 40, "test": [32, 36, 40]}),
        ("search-cost/curves", "tune", "epochs", 7),
    ],
)
def test_state_of_a_setting_that_is_no_more_is_out_of_reach(
    repository: Path, studies: dict, kind: str, section: str, name: str, value: object
) -> None:
    block = changed(studies["plain"], section, name, value)
    if name == "input_side":  # larger crops need larger images
        block["scales"] = ROOMY
    assert reasons(kind, block) == {SETTINGS}


@pytest.mark.parametrize(
    ("kind", "section", "name", "value"),
    [
        ("tune", "tune", "trials", 50),
        ("tune", "data", "splits", 1),
        ("train", "tune", "epochs", 7),
        ("train", "data", "splits", 5),
        ("evaluate", "train", "epochs", 7),
        ("evaluate", "evaluate", "protocols", {scale: ["dense"] for scale in ROOMY}),
        ("search-cost/images", "data", "train_per_class", 9),
        ("search-cost/images", "scales", "fixed", {"train": 32, "test": [33, 36, 40]}),
        ("search-cost/curves", "tune", "seed", 1),
    ],
)
def test_a_setting_that_determines_nothing_costs_no_state(
    repository: Path, studies: dict, kind: str, section: str, name: str, value: object
) -> None:
    assert "" in reasons(kind, changed(studies["plain"], section, name, value))


@pytest.mark.parametrize(
    ("section", "name", "value", "lost"),
    [
        ("train", "epochs", 7, {"fixed"}),
        ("fine_tune", "epochs", 7, {"large", "jitter"}),
        ("scales", "large", {"train": 52, "test": [40, 48, 56]}, {"large"}),
        ("scales", "large", {"train": 48, "test": [40, 52, 56]}, {"large"}),
        ("scales", "large", {"train": 48, "test": [44, 48, 60]}, set()),
        ("scales", "jitter", {"train": [36, 60], "test": [36, 50, 64]}, {"jitter"}),
        ("scales", "jitter", {"train": [36, 64], "test": [36, 51, 64]}, {"jitter"}),
    ],
)
def test_a_setting_of_some_scales_costs_the_training_at_those_alone(
    repository: Path, studies: dict, section: str, name: str, value: object, lost: set[str]
) -> None:
    study = StudySettings.model_validate(changed(studies["plain"], section, name, value))
    found: dict[str, set[str]] = {}
    for folder in list_kind("train"):
        verdict = judge("train", folder, [study])
        if verdict.net == "C":  # and not the A that another study's C starts from
            scale = json.loads((folder / "determinants.json").read_text())["scale"]
            found.setdefault(scale, set()).add(verdict.why)
    assert found == {scale: {SETTINGS} if scale in lost else {""} for scale in ("fixed", "large", "jitter")}


def test_a_run_that_no_study_asks_for_is_out_of_reach(repository: Path, studies: dict) -> None:
    study = StudySettings.model_validate(changed(studies["plain"], "data", "splits", 1))
    found = {}
    for folder in list_kind("train"):
        verdict = judge("train", folder, [study])
        if verdict.net == "C":  # and not the A that another study's C starts from
            found[json.loads((folder / "determinants.json").read_text())["run"]] = verdict.why
    assert found == {0: "", 1: SETTINGS}


class TestShallow:
    """The A that a deeper net's search starts from."""

    @pytest.fixture
    def folder(self, repository: Path) -> Path:
        (folder,) = (path for path in list_kind("train") if '"arch": "A"' in (path / "determinants.json").read_text())
        return folder

    def test_it_is_reached_from_a_study_whose_nets_start_from_it(self, folder: Path, studies: dict) -> None:
        assert judge("train", folder, [StudySettings.model_validate(studies["from_a"])]).why == ""

    def test_it_is_as_long_as_the_search(self, folder: Path, studies: dict) -> None:
        block = changed(studies["from_a"], "tune", "epochs", 1)
        assert judge("train", folder, [StudySettings.model_validate(block)]).why == SETTINGS

    def test_another_a_is_as_long_as_its_own_training(self, folder: Path, studies: dict) -> None:
        found = json.loads((folder / "determinants.json").read_text())
        found["model"]["init"] = "kaiming"
        study = StudySettings.model_validate(changed(studies["from_a"], "model", "init", "kaiming"))
        verdicts = {}
        for epochs in (study.tune.epochs, study.train.epochs):
            found["recipe"]["epochs"] = epochs
            verdicts[epochs] = judge("train", state_folder("train", found), [study]).why
        assert verdicts == {study.tune.epochs: SETTINGS, study.train.epochs: ""}


@pytest.mark.parametrize(
    ("edited", "lost"),
    [
        ("data", {*KINDS}),
        ("model", {*KINDS} - {"search-cost/images"}),
        ("pipeline", {*KINDS} - {"search-cost/images"}),
        ("train", {"train", "tune", "search-cost/curves"}),
        ("evaluate", {"evaluate"}),
        ("report", set()),
    ],
)
def test_state_of_other_code_is_out_of_reach(
    repository: Path, studies: dict, monkeypatch: pytest.MonkeyPatch, edited: str, lost: set[str]
) -> None:
    package = repository / "package"
    shutil.copytree(state_module.PACKAGE, package)
    monkeypatch.setattr(state_module, "PACKAGE", package)
    (package / edited / "new.py").write_text("")
    found = {kind: reasons(kind, *studies.values()) for kind in KINDS}
    assert found == {kind: {"other code"} if kind in lost else {""} for kind in KINDS}


def test_state_with_another_set_of_determinants_is_that_of_other_code(repository: Path, studies: dict) -> None:
    for kind in KINDS:
        found = json.loads((list_kind(kind)[0] / "determinants.json").read_text())
        shutil.rmtree(Path(".state", kind))
        state_folder(kind, {**found, "one more": 1})
        state_folder(kind, {name: value for name, value in found.items() if name != "source"})
        assert reasons(kind, *studies.values()) == {"other code"}


def test_state_of_another_librarys_version_is_out_of_reach(
    repository: Path, studies: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = reachable.library_versions() | {"scipy": "0.1"}
    monkeypatch.setattr(reachable, "library_versions", lambda: versions)
    assert {kind: reasons(kind, *studies.values()) for kind in KINDS} == {kind: {"other libraries"} for kind in KINDS}


def test_state_of_a_net_that_is_no_more_is_out_of_reach(repository: Path, studies: dict) -> None:
    found = json.loads((list_kind("train")[0] / "determinants.json").read_text())
    folder = state_folder("train", {**found, "arch": "F"})
    study = StudySettings.model_validate(studies["plain"])
    assert judge("train", folder, [study]).why == "no such net"


@given(damage=st.tuples(st.integers(0, 10**4), st.binary(max_size=4)), cut=st.booleans())
def test_a_damaged_record_is_unreadable(
    made: Path, studies: dict, tmp_path_factory: pytest.TempPathFactory, damage: tuple[int, bytes], cut: bool
) -> None:
    """Unless the bytes that came over it, white space say, mean the same."""
    original = min((made / ".state" / "tune").iterdir())
    folder = tmp_path_factory.mktemp("damaged") / original.name
    folder.mkdir()
    content = (original / "determinants.json").read_bytes()
    place = damage[0] % len(content)
    rest = b"" if cut else content[place + len(damage[1]) :]
    written = content[:place] + damage[1] + rest
    (folder / "determinants.json").write_bytes(written)
    try:
        same = json.dumps(json.loads(written), sort_keys=True) == json.dumps(json.loads(content), sort_keys=True)
    except ValueError:
        same = False
    every = [StudySettings.model_validate(block) for block in studies.values()]
    assert judge("tune", folder, every).why == ("" if same else UNREADABLE)


def test_a_folder_without_a_record_is_unreadable(repository: Path) -> None:
    folder = Path(".state/train/0123")
    folder.mkdir()
    assert judge("train", folder, []).why == UNREADABLE


class TestDownload:
    """What came of an archive, by the source that it is of."""

    @pytest.fixture
    def refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
        """Return an address that a real, refused download left its state for."""
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(download, "FIRST_WAIT", 0.0)
        address = "http://127.0.0.1:9/archive.tar"
        with pytest.raises(StageError):
            download.fetch(address, tmp_path / "archive.tar", Stage("test"))
        return address

    def test_it_is_reached_from_a_study_that_names_the_address(self, refused: str, studies: dict) -> None:
        assert reasons(DOWNLOAD, changed(studies["plain"], "data", "source", refused)) == {""}

    def test_it_is_out_of_reach_where_no_study_names_it(self, refused: str, studies: dict) -> None:
        assert reasons(DOWNLOAD, *studies.values()) == {"source of no study in params.yaml"}

    def test_the_official_archive_goes_by_its_name(
        self, studies: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(download, "FIRST_WAIT", 0.0)
        monkeypatch.setattr(download, "OFFICIAL_ADDRESS", "http://127.0.0.1:9/archive.tar")
        monkeypatch.delenv(download.MIRRORS, raising=False)
        with pytest.raises(StageError):
            download.fetch_official(tmp_path / "archive.tar", Stage("test"))
        assert reasons(DOWNLOAD, changed(studies["plain"], "data", "source", "caltech256")) == {""}
