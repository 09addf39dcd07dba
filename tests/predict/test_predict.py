"""Predictions of a tiny study's net, compared with the study's own evaluation."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from trained_fixtures import CATEGORIES, Trained
from vgg_ablation.device import choose_compute
from vgg_ablation.errors import StageError
from vgg_ablation.evaluate.arrays import read_arrays
from vgg_ablation.files import read_table
from vgg_ablation.predict.__main__ import main
from vgg_ablation.predict.classify import classify, read_image, stored_side
from vgg_ablation.predict.nets import TrainedNet

FIXED, LARGE = Path("results/batch/A/fixed"), Path("results/batch/A/large")


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Return what runs the command: exit status, output, errors."""

    def run(*arguments: object) -> tuple[int, str, str]:
        status = 0
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def answers(output: str) -> dict[str, dict[str, float]]:
    return {
        image["path"]: {each["name"]: each["posterior"] for each in image["classes"]}
        for image in json.loads(output)["images"]
    }


@pytest.mark.parametrize(("folder", "protocol"), [(FIXED, "centre"), (LARGE, "dense")])
def test_each_runs_posteriors_of_its_test_images_are_those_of_the_study(
    trained: Trained, folder: Path, protocol: str
) -> None:
    """The large scale is made from larger images, and tested at another size than it is trained at."""
    net = TrainedNet.open(str(folder))
    predictions = read_arrays(folder / "evaluation/predictions.npz")
    names = read_table(Path("data/processed/index.csv"))["path"]
    compute = choose_compute(1)
    for number, run in zip(net.weights, net.read(), strict=True):
        numbers = predictions[f"run_{number}_images"]
        side = stored_side(run.description, net.view)
        images = [read_image(trained.files[names[image]], side) for image in numbers]
        found = classify([run], images, net.view, compute)
        expected = predictions[f"run_{number}_{protocol}"]
        assert np.ptp(expected) > 0.01
        np.testing.assert_allclose(found, expected, atol=5e-3 if compute.precision == torch.bfloat16 else 1e-5)


def test_answers_are_the_mean_over_the_runs(trained: Trained, said: Callable) -> None:
    net, path = TrainedNet.open("A"), next(iter(trained.files.values()))
    compute, image = choose_compute(1), [read_image(path, 40)]
    single = [classify([run], image, net.view, compute)[0].numpy() for run in net.read()]
    status, output, errors = said("A", path, "--json")
    assert (status, errors, len(single)) == (0, "", 2)
    (found,) = answers(output).values()
    for label, name in enumerate(CATEGORIES):
        assert found[name] == pytest.approx(np.mean([each[label] for each in single]), abs=1e-5)
    assert {name: json.loads(output)[name] for name in ("net", "scale", "runs", "method", "test_scale")} == {
        "net": "A_BN", "scale": "fixed", "runs": [0, 1], "method": "centre", "test_scale": 40,
    }  # fmt: skip


def test_a_folder_is_searched_and_the_order_is_that_of_the_names(trained: Trained, said: Callable) -> None:
    status, output, _ = said(FIXED, "photos", "--json")
    assert status == 0
    assert list(answers(output)) == [f"photos/{name}" for name in sorted(trained.files)]


def test_an_image_has_the_same_answer_alone_and_among_others(trained: Trained, said: Callable) -> None:
    together = answers(said(LARGE, "photos", "--json")[1])
    path = "photos/002.green/002_0003.jpg"
    (alone,) = answers(said(LARGE, path, "--json")[1]).values()
    assert alone == pytest.approx(together[path], abs=5e-3)


def test_text_has_the_classes_in_percent_the_most_probable_first(trained: Trained, said: Callable) -> None:
    path = "photos/001.red/001_0001.jpg"
    (expected,) = answers(said("A_BN", path, "--json")[1]).values()
    _, output, _ = said("A_BN", path)
    head, named, *lines = output.splitlines()
    assert (head, named) == ("net A_BN, scale fixed, runs [0, 1], method centre, test scale 40", path)
    assert lines == [f"  {100 * share:5.1f} %  {name}" for name, share in expected.items()]
    assert list(expected.values()) == sorted(expected.values(), reverse=True)


def test_a_file_that_is_no_image_is_named_and_the_others_are_answered(
    trained: Trained, said: Callable, tmp_path: Path
) -> None:
    (tmp_path / "notes\n.txt").write_text("no image")
    shutil.copy(next(iter(trained.files.values())), tmp_path / "photo.jpg")
    Image.new("L", (3000, 10)).save(tmp_path / "strip.png")
    (tmp_path / ".hidden").touch()
    status, output, errors = said("A", tmp_path, tmp_path / "absent.jpg", os.devnull, "--json")
    assert status == 1
    images: list[dict[str, Any]] = json.loads(output)["images"]
    assert [(Path(image["path"]).name, image.get("error")) for image in images] == [
        ("notes\n.txt", "not an image"),
        ("photo.jpg", None),
        ("strip.png", "too elongated: 3000 x 10 pixels"),
        ("absent.jpg", "No such file or directory"),
        ("null", "not a file"),
    ]
    assert f"predict: {tmp_path}/notes\\n.txt: not an image\n" in errors
    assert errors.count("\n") == 4


def test_an_empty_folder_is_an_error(trained: Trained, said: Callable, tmp_path: Path) -> None:
    assert said("A", tmp_path)[::2] == (1, "predict: no files in these folders\n")


# Nets that cannot be used.


def test_a_name_that_is_no_net_lists_those_that_are_there(trained: Trained, said: Callable) -> None:
    there = "evaluated nets: results/batch/A/fixed, results/batch/A/large"
    assert said("D", "photos") == (1, "", f"predict: D: neither a folder nor a net in results; {there}\n")


def test_a_name_with_and_without_batch_normalisation_is_ambiguous(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for norm in ("none", "batch"):
        Path(f"results/{norm}/C/fixed").mkdir(parents=True)
    with pytest.raises(StageError, match=r"^C may be results/none/C/fixed or results/batch/C/fixed; name one of them$"):
        TrainedNet.open("C")
    with pytest.raises(StageError, match=r"^C_BN: no evaluated net is there; no net is evaluated here yet"):
        TrainedNet.open("C_BN")


@pytest.fixture
def copy(trained: Trained, tmp_path: Path) -> Path:
    """A copy of the net's results to change."""
    return Path(shutil.copytree(FIXED, tmp_path / "fixed"))


def test_weights_that_were_not_evaluated_are_refused(copy: Path) -> None:
    weights = copy / "training/weights/run-1.safetensors"
    weights.write_bytes((copy / "training/weights/run-0.safetensors").read_bytes())
    with pytest.raises(StageError, match=f"^{weights}: not the weights that were evaluated; run dvc repro again$"):
        TrainedNet.open(str(copy))


def changed(copy: Path, *untrained: int) -> TrainedNet:
    metrics = json.loads((copy / "evaluation/metrics.json").read_text())
    for run in untrained:
        metrics["nets"][0]["runs"][run]["did_not_train"] = True
    (copy / "evaluation/metrics.json").write_text(json.dumps(metrics))
    return TrainedNet.open(str(copy))


def test_runs_that_did_not_train_are_left_out(copy: Path) -> None:
    assert list(changed(copy, 0).weights) == [1]
    with pytest.raises(StageError, match=f"^{copy}: none of its 2 runs trained$"):
        changed(copy, 0, 1)
