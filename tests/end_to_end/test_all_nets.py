"""A real `dvc repro` of a tiny study with several nets, and what reruns after an edit."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from repository import Repository

from vgg_ablation.evaluate.aggregate import FUSIONS
from vgg_ablation.model.table1 import ABLATION, count_parameters

ROOT = Path(__file__).parents[2]
KEPT = (ABLATION[0], *FUSIONS[0])
"""Nets that `arch: all` includes here: fewer than in the paper, since each takes several processes."""
NETS = [stage.format(arch) for arch in KEPT for stage in ("tune@{}-none", "train@{}-none", "evaluate@{}-none-fixed")]
pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def computed(origin, tmp_path_factory):
    """A repository after the study was computed in parallel, with the files of its resume state."""
    repository = origin.clone(tmp_path_factory.mktemp("full") / "repository")
    keep_few_nets(repository.folder)
    repository.succeed("python", "-m", "vgg_ablation.parallel")
    return repository, state(repository)


@pytest.fixture(scope="module")
def fully_run(computed):
    """The repository after `dvc repro`, committed, with what it printed."""
    repository, _ = computed
    done = repository.succeed("dvc", "repro")
    repository.succeed("git", "config", "user.name", "test")
    repository.succeed("git", "config", "user.email", "test@example.org")
    repository.succeed("git", "add", "--all")
    repository.succeed("git", "commit", "--quiet", "--message", "results")
    return repository, done


def state(repository: Repository) -> dict[str, int]:
    """Return the times of change of all checkpoints, weights, posteriors and trials in the resume state."""
    files = [
        file for kind in ("tune", "train", "evaluate") for file in (repository.folder / ".state" / kind).rglob("*")
    ]
    kept = [file for file in files if file.is_file() and file.name not in ("lock", "trials.lock", "holder.txt")]
    assert kept
    return {str(file.relative_to(repository.folder)): file.stat().st_mtime_ns for file in kept}


def keep_few_nets(folder: Path) -> None:
    """Leave the other nets out of `arch: all`."""
    nets = folder / "src/vgg_ablation/model/nets.yaml"
    blocks = yaml.safe_load(nets.read_text())
    nets.write_text(
        yaml.safe_dump({arch: {**net, "ablation": arch in KEPT} for arch, net in blocks.items()}, sort_keys=False)
    )
    work = folder / "stages/dvc.yaml"
    left_out = "|".join(set(ABLATION) - set(KEPT))
    work.write_text(re.sub(rf" +- results/\$\{{item\.norm\}}/({left_out})/.*\n", "", work.read_text()))


@pytest.fixture
def committed(fully_run):
    """The fully run repository, put back as it was after the test."""
    repository, _ = fully_run
    yield repository
    repository.succeed("git", "reset", "--quiet", "--hard")
    repository.succeed("dvc", "checkout", "--quiet", "--force", "report", "--with-deps")


def test_dvc_finds_what_was_computed_in_parallel(computed, fully_run):
    """First, as other tests compute more."""
    assert state(fully_run[0]) == computed[1]


def test_full_run_runs_every_stage_once_after_the_images(fully_run):
    _, done = fully_run
    assert sorted(done.stages) == sorted(
        ["check", "near-duplicates", "aggregate@none-fixed", "aggregate-search@none", "report", *NETS]
    )
    assert done.stages[-1] == "report"


def test_full_run_reports_every_net_and_protocol(fully_run):
    repository, _ = fully_run
    table = pd.read_csv(repository.folder / "reports/ablation.csv")
    assert set(zip(table["arch"], table["protocol"], strict=True)) == {
        (net, protocol)
        for net in (*KEPT, "+".join(FUSIONS[0]), "+".join(KEPT))
        for protocol in ("centre", "dense", "dense_scales", "multi_crop", "combined")
    }
    assert table.columns.tolist() == [
        "arch", "scale", "protocol", "weight_layers", "params", "gmacs", "train_scale", "test_scale", "runs",
        "top1_error", "top1_error_low", "top1_error_high", "top1_error_runs", "top5_error", "mean_class_recall", "nll",
        "ece", "training_error", "learning_rate", "weight_decay", "did_not_train", "paper_top1_error",
        "paper_top5_error",
    ]  # fmt: skip
    assert (table["runs"] == 2).all()
    for row in table[table["arch"].isin(KEPT)].itertuples():
        assert row.params == count_parameters(str(row.arch), 3, 32, 0.0625)


def test_reported_errors_follow_from_the_posteriors(fully_run):
    repository, _ = fully_run
    table = pd.read_csv(repository.folder / "reports/ablation.csv").set_index(["arch", "protocol"])
    for arch in KEPT:
        with np.load(
            repository.folder / "results/none" / arch / "fixed/evaluation/predictions.npz", allow_pickle=False
        ) as arrays:
            for protocol in ("centre", "dense"):
                errors = [
                    100 * np.mean(arrays[f"run_{run}_{protocol}"].argmax(1) != arrays[f"run_{run}_labels"])
                    for run in (0, 1)
                ]
                assert table.loc[(arch, protocol), "top1_error"] == pytest.approx(np.mean(errors), abs=0.01)


def test_test_images_are_in_no_training_split(fully_run):
    repository, _ = fully_run
    splits = pd.read_csv(repository.folder / "data/processed/splits.csv")
    with np.load(repository.folder / "results/none/A/fixed/evaluation/predictions.npz", allow_pickle=False) as arrays:
        for run in (0, 1):
            assert set(splits.loc[arrays[f"run_{run}_images"], f"split_{run}"]) == {"test"}


def test_status_is_clean_and_a_second_run_runs_nothing(fully_run):
    repository, _ = fully_run
    before = repository.snapshot()
    assert repository.succeed("dvc", "status", "report", "--with-deps").output.split() == [
        "check:",
        "always",
        "changed",
    ]
    assert repository.succeed("dvc", "repro").stages == ["check"]
    assert repository.snapshot() == before


EDITS = {
    "a console message": ("runtime/messages.py", []),
    "a report template": ("report/templates/result.md.jinja", ["report"]),
    "a claim rule": ("analysis/claims.py", ["report"]),
    "the downloader": ("dataset/download.py", ["download"]),
    "an augmentation": ("images/batches.py", NETS),
}
"""The file, and the stages that run again. What follows the nets' stages reruns if their results differ."""


def edit(repository: Repository, name: str, comment: str = "edited") -> None:
    """Add a comment to a file of the package, which changes no result."""
    file = repository.folder / "src/vgg_ablation" / name
    file.write_text(file.read_text() + (f"{{# {comment} #}}\n" if file.suffix == ".jinja" else f"# {comment}\n"))


def test_an_edit_reruns_what_it_can_change_and_nothing_else(fully_run):
    repository, _ = fully_run
    for what, (file, stages) in EDITS.items():
        edit(repository, file)
        assert sorted(repository.succeed("dvc", "repro", "--dry").stages) == sorted(["check", *stages]), what
        repository.succeed("git", "checkout", "--quiet", "--", "src")


def test_only_an_edit_that_can_change_the_weights_loses_checkpoints(committed):
    def trained() -> set[str]:
        committed.succeed("python", "stages/train.py", "D", "none", "fixed")
        return {folder.name for folder in (committed.folder / ".state/train").iterdir()}

    before = {folder.name for folder in (committed.folder / ".state/train").iterdir()}
    for what in ("a console message", "a report template", "a claim rule", "the downloader"):
        edit(committed, EDITS[what][0])
    assert trained() == before
    edit(committed, EDITS["an augmentation"][0], "edited in another way than before")
    assert len(trained()) == len(before) + 2, "one folder a run"


def test_a_single_setting_reruns_what_depends_on_it_alone(committed):
    done = committed.succeed(
        "dvc", "exp", "run", "-S", "studies.tiny.evaluate.protocols.fixed=[centre]", "-S", "arch=A"
    )
    assert sorted(done.stages) == ["check", "evaluate@A-none-fixed", "report"]


def test_one_net_by_hand_gives_the_bytes_that_dvc_gives_among_all(origin, fully_run, tmp_path):
    repository = origin.clone(tmp_path / "by-hand")
    params = repository.folder / "params.yaml"
    params.write_text(params.read_text().replace("arch: all", "arch: D"))
    for stage in (
        "check",
        "download",
        "preprocess",
        "near_duplicates",
        "tune D none",
        "train D none fixed",
        "evaluate D none fixed",
    ):
        name, *arguments = stage.split()
        repository.succeed("python", f"stages/{name}.py", *arguments)
    by_hand, by_dvc = repository.snapshot(), fully_run[0].snapshot()
    made = [name for name in by_hand if name.startswith(("results/none/D/", "data/")) and not name.endswith("cost.csv")]
    assert len(made) > 10
    assert {name: by_hand[name] for name in made} == {name: by_dvc[name] for name in made}


def test_weights_are_safetensors_with_torchvision_keys(fully_run):
    from safetensors import safe_open
    from torchvision.models import vgg16

    repository, _ = fully_run
    with safe_open(
        repository.folder / "results/none/D/fixed/training/weights/run-0.safetensors", framework="pt"
    ) as file:
        assert set(file.keys()) == set(vgg16(init_weights=False).state_dict())


def test_metrics_for_dvc_are_flat_numbers(fully_run):
    repository, _ = fully_run
    shown = json.loads(repository.succeed("dvc", "metrics", "show", "--json").output)
    values = shown[""]["data"]["reports/metrics.json"]["data"]
    assert set(KEPT) <= set(values)
    assert values.pop("best") in KEPT
    assert all(isinstance(value, int | float) for value in values.values())


def test_a_new_net_trains_and_is_reported_and_no_other_net_reruns(committed):
    """The steps of docs/architecture.md."""
    (block,) = re.findall(r"```yaml\n(F:\n.*?)```", (ROOT / "docs/architecture.md").read_text(), re.DOTALL)
    nets = committed.folder / "src/vgg_ablation/model/nets.yaml"
    nets.write_text(nets.read_text().replace("B_5x5:", f"{block}B_5x5:"))
    work = committed.folder / "stages/dvc.yaml"
    text = work.read_text().replace("E, B_5x5", "E, F, B_5x5")
    work.write_text(re.sub(r"( +- results/\$\{item\.norm\}/)E(/.*\n)", r"\1E\2\1F\2", text))
    done = committed.succeed("dvc", "repro")
    of_f = ["tune@F-none", "train@F-none", "evaluate@F-none-fixed"]
    assert sorted(done.stages) == sorted(["check", *of_f, "aggregate@none-fixed", "aggregate-search@none", "report"])
    table = pd.read_csv(committed.folder / "reports/ablation.csv").set_index(["arch", "protocol"])
    assert table.loc[("F", "dense"), "weight_layers"] == 21
