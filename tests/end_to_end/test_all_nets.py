"""Real `dvc repro` of a tiny study with all nets, and what a change after it makes run."""

import json

import numpy as np
import pandas as pd
import pytest

from vgg_ablation.model.table1 import ABLATION, count_parameters

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def fully_run(origin, tmp_path_factory):
    """A repository after `dvc repro`, committed, with what it printed."""
    repository = origin.clone(tmp_path_factory.mktemp("full") / "repository")
    done = repository.succeed("dvc", "repro")
    repository.succeed("git", "config", "user.name", "test")
    repository.succeed("git", "config", "user.email", "test@example.org")
    repository.succeed("git", "add", "--all")
    repository.succeed("git", "commit", "--quiet", "--message", "results")
    return repository, done


@pytest.fixture
def committed(fully_run):
    """The fully run repository, put back as it was after the test."""
    repository, _ = fully_run
    yield repository
    repository.succeed("git", "checkout", "--quiet", ".")
    repository.succeed("dvc", "checkout", "--quiet", "report", "--with-deps")


def test_full_run_runs_every_stage_once_after_the_check(fully_run):
    _, done = fully_run
    nets = [stage.format(arch) for arch in ABLATION for stage in ("tune@{}", "train@{}", "evaluate@{}-fixed")]
    shared = ["check", "download", "preprocess", "near-duplicates", "aggregate@fixed", "aggregate-search", "report"]
    assert sorted(done.stages) == sorted([*shared, *nets])
    assert done.stages[0] == "check"
    assert done.stages[-1] == "report"


def test_full_run_reports_every_net_and_protocol(fully_run):
    repository, _ = fully_run
    table = pd.read_csv(repository.folder / "reports/ablation.csv")
    assert set(zip(table["arch"], table["protocol"], strict=True)) == {
        (net, protocol)
        for net in (*ABLATION, "D+E", "+".join(ABLATION))
        for protocol in ("centre", "dense", "dense_scales", "multi_crop", "combined")
    }
    assert table.columns.tolist() == [
        "arch", "scale", "protocol", "weight_layers", "params", "gmacs", "train_scale", "test_scale", "runs",
        "top1_error", "top1_error_low", "top1_error_high", "top1_error_runs", "top5_error", "mean_class_recall", "nll",
        "ece", "training_error", "learning_rate", "weight_decay", "did_not_train", "paper_top1_error",
        "paper_top5_error",
    ]  # fmt: skip
    assert (table["runs"] == 2).all()
    for row in table[table["arch"].isin(ABLATION)].itertuples():
        assert row.params == count_parameters(str(row.arch), 3, 32, 0.0625)


def test_reported_error_follows_from_the_kept_posteriors(fully_run):
    repository, _ = fully_run
    table = pd.read_csv(repository.folder / "reports/ablation.csv").set_index(["arch", "protocol"])
    for arch in ABLATION:
        with np.load(repository.folder / "results" / arch / "fixed" / "predictions.npz", allow_pickle=False) as kept:
            for protocol in ("centre", "dense"):
                errors = [
                    100 * np.mean(kept[f"run_{run}_{protocol}"].argmax(1) != kept[f"run_{run}_labels"])
                    for run in (0, 1)
                ]
                assert table.loc[(arch, protocol), "top1_error"] == pytest.approx(np.mean(errors), abs=0.01)


def test_test_images_are_in_no_training_split(fully_run):
    repository, _ = fully_run
    splits = pd.read_csv(repository.folder / "data/processed/splits.csv")
    with np.load(repository.folder / "results/A/fixed/predictions.npz", allow_pickle=False) as kept:
        for run in (0, 1):
            assert set(splits.loc[kept[f"run_{run}_images"], f"split_{run}"]) == {"test"}


def test_status_is_clean_and_a_second_run_runs_nothing(fully_run):
    repository, _ = fully_run
    before = repository.snapshot()
    assert "up to date" in repository.succeed("dvc", "status", "report", "--with-deps").output
    assert repository.succeed("dvc", "repro").stages == []
    assert repository.snapshot() == before


def test_one_net_after_a_full_run_retrains_nothing(committed):
    done = committed.succeed("dvc", "exp", "run", "-S", "arch=C")
    assert sorted(done.stages) == ["check", "report"]


def test_an_edit_in_the_report_folder_retrains_nothing(committed):
    file = committed.folder / "src/vgg_ablation/report/__init__.py"
    file.write_text(file.read_text() + "# edited\n")
    assert committed.succeed("dvc", "repro").stages == ["report"]


def test_a_single_setting_reruns_what_depends_on_it_alone(committed):
    done = committed.succeed(
        "dvc", "exp", "run", "-S", "studies.tiny.evaluate.protocols.fixed=[centre]", "-S", "arch=A"
    )
    assert sorted(done.stages) == ["check", "evaluate@A-fixed", "report"]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("arch=Z", "check: params.yaml: arch = 'Z'; allowed: all, A, A_LRN, B, C, D, E, B_5x5"),
        ("scale=larg", "check: params.yaml: scale = 'larg'; allowed: fixed, large, jitter, all (did you mean large?)"),
        ("study=Z", "check: params.yaml: study = 'Z'; allowed: sample, office10, caltech256, tiny"),
        (
            "studies.tiny.tune.learning_rate.low=-1",
            "check: params.yaml: studies.tiny.tune.learning_rate.low = -1; allowed: greater than 0",
        ),
    ],
)
def test_a_wrong_selection_fails_with_a_clear_line_before_any_work(committed, change, line):
    before = committed.snapshot()
    done = committed.run("dvc", "exp", "run", "-S", change)
    after = committed.snapshot()
    assert done.status != 0
    assert line in (done.output + done.errors).splitlines()
    assert done.stages in (["check"], [])
    assert {name for name in before if after.get(name) != before[name]} <= {
        "params.yaml",
        "data/settings-are-valid.txt",
    }


def test_one_net_by_hand_gives_the_bytes_that_dvc_gives_among_all(origin, fully_run, tmp_path):
    repository = origin.clone(tmp_path / "by-hand")
    params = repository.folder / "params.yaml"
    params.write_text(params.read_text().replace("arch: all", "arch: C"))
    for stage in (
        "check",
        "download",
        "preprocess",
        "near_duplicates",
        "tune C",
        "train C fixed",
        "evaluate C fixed",
        "report",
    ):
        name, *arguments = stage.split()
        repository.succeed("python", f"stages/{name}.py", *arguments)
    by_hand, by_dvc = repository.snapshot(), fully_run[0].snapshot()
    assert "reports/ablation.md" in by_hand
    made = [name for name in by_hand if name.startswith(("results/C/", "data/")) and "/cost/" not in name]
    assert len(made) > 10
    assert {name: by_hand[name] for name in made} == {name: by_dvc[name] for name in made}


def test_weights_are_safetensors_with_torchvision_keys(fully_run):
    from safetensors import safe_open
    from torchvision.models import vgg16

    repository, _ = fully_run
    with safe_open(repository.folder / "results/D/fixed/weights/run-0.safetensors", framework="pt") as file:
        assert set(file.keys()) == set(vgg16(init_weights=False).state_dict())


def test_metrics_for_dvc_are_flat_numbers(fully_run):
    repository, _ = fully_run
    shown = json.loads(repository.succeed("dvc", "metrics", "show", "--json").output)
    values = shown[""]["data"]["reports/metrics.json"]["data"]
    assert set(ABLATION) <= set(values)
    assert values.pop("best") in ABLATION
    assert all(isinstance(value, int | float | dict) for value in values.values())
