"""Training of a net at the three scales on twelve images."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from published_fixtures import random_weights
from vgg_ablation.errors import StageError
from vgg_ablation.files import file_digest
from vgg_ablation.images.batches import Batches
from vgg_ablation.images.index import PIXELS_FILE, SPLITS_FILE, Index, write_checksums
from vgg_ablation.model.weights import read_description
from vgg_ablation.paper import recipe as paper
from vgg_ablation.runtime.paths import PROCESSED
from vgg_ablation.train import checkpoint
from vgg_ablation.train import run as run_module

Train = Callable[..., dict[str, Any]]
TINY = 1e-29  # a learning rate that changes no weight


def folder(scale: str, net: str = "none/C") -> Path:
    return Path("results", net, scale, "training")


def weights(scale: str, run: int = 0, net: str = "none/C") -> Path:
    return folder(scale, net) / "weights" / f"run-{run}.safetensors"


def outputs(scale: str) -> dict[str, bytes]:
    """Return all files of a training by name, but its cost."""
    files = [path for path in folder(scale).rglob("*") if path.is_file() and path != cost_file(scale)]
    return {path.name: path.read_bytes() for path in files}


def cost_file(scale: str) -> Path:
    return next(path for path in folder(scale).glob("*.csv") if path.name != "curves.csv")


def assert_same_weights(one: Path, other: Path) -> None:
    torch.testing.assert_close(load_file(one), load_file(other), rtol=0, atol=1e-25)


# Results.


def test_curves_record_and_cost_describe_the_training(train_c: Train) -> None:
    train_c(learning_rate=0.02)
    record = train_c("large", learning_rate=0.02)["training"]
    assert (record["scale"], record["epochs"], record["learning_rate"]) == ("large", 3, pytest.approx(0.006))
    curves = pd.read_csv(folder("large") / "curves.csv")
    assert curves[["arch", "scale", "run", "epoch"]].to_numpy().tolist() == [["C", "large", 0, n] for n in (1, 2, 3)]
    assert curves["learning_rate"][0] == pytest.approx(0.006)
    cost = pd.read_csv(cost_file("large")).loc[0]
    assert (cost["stage"], cost["scale"], cost["images"]) == ("train", "large", 3 * 8)


def test_weights_say_how_to_use_them(study: dict[str, Any], train_c: Train) -> None:
    """Images are stored with 32 pixels for the fixed scale and with 64 for the others."""
    study["train"]["refit"] = True
    for scale in ("fixed", "large", "jitter"):
        train_c(scale)
    found = {scale: read_description(weights(scale)) for scale in ("fixed", "large", "jitter")}
    sides = {scale: (each.stored_side, each.test_scale) for scale, each in found.items()}
    assert sides == {"fixed": (32, 32), "large": (64, 48), "jitter": (64, 50)}
    net = found["fixed"]
    assert (net.arch, net.width, net.input_side, net.classes) == ("C", 1 / 16, 32, ("001.x", "002.x"))
    index, pixels = Index.read(PROCESSED), np.fromfile(PROCESSED / PIXELS_FILE, np.uint8)
    trained = [number for number in range(12) if number // 2 % 4 != 3]
    colours = np.concatenate([index.image(pixels, number).reshape(-1, 3) for number in trained]) / 255
    np.testing.assert_allclose(net.mean, colours.mean(0), rtol=1e-6)
    np.testing.assert_allclose(net.deviation, colours.std(0), rtol=1e-6)
    assert {(each.mean, each.deviation) for each in found.values()} == {(net.mean, net.deviation)}


def test_a_run_that_diverges_is_recorded_and_the_stage_continues(train_c: Train) -> None:
    (run,) = train_c(learning_rate=1e30)["runs"]
    assert (run["did_not_train"], run["reason"]) == (True, "diverged in epoch 1: the loss is nan")
    (run,) = train_c("large")["runs"]  # from the weights of that run
    assert run["reason"] == "diverged in epoch 1: the loss is nan"


def test_a_net_whose_starting_net_diverges_is_recorded_and_the_stage_continues(
    study: dict[str, Any], train_c: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `init: paper`, C starts from an A that is trained at the paper's learning rate."""
    monkeypatch.setattr(paper, "LEARNING_RATE", 1e30)
    (run,) = train_c(init="paper")["runs"]
    assert (run["did_not_train"], run["reason"]) == (
        True,
        "net A (initial weights) diverged in epoch 1: the loss is nan",
    )
    assert pd.read_csv(cost_file("fixed"))["images"].tolist() == [0]


def test_a_run_that_stays_at_chance_is_recorded(train_c: Train) -> None:
    (run,) = train_c(learning_rate=TINY)["runs"]
    assert run["did_not_train"]
    assert run["reason"].startswith("no better than chance: training loss ")


def test_a_second_call_writes_the_same_bytes_at_the_cost_of_the_first(train_c: Train) -> None:
    found = []
    for _ in range(2):
        train_c()
        found.append((outputs("fixed"), pd.read_csv(cost_file("fixed"))["work_seconds"][0]))
        (folder("fixed") / "stale.txt").touch()  # deleted by the second call
    assert found[0] == found[1]


def test_the_cost_has_the_time_that_training_waited_for_checkpoints(
    train_c: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = checkpoint.keep

    def slow(*arguments: Any) -> None:
        time.sleep(0.3)
        keep(*arguments)

    train_c()
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "keep", slow)
        train_c("large")  # three epochs: two waits between them
    (waited,) = pd.read_csv(cost_file("large"))["checkpoint_seconds"]
    train_c("large")
    (again,) = pd.read_csv(cost_file("large"))["checkpoint_seconds"]
    assert 0.6 <= waited == again


def test_training_from_scratch_writes_the_same_bytes(train_c: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    train_c()
    first = outputs("fixed")
    monkeypatch.setenv("DVC_ROOT", "elsewhere")  # without checkpoints
    train_c()
    assert outputs("fixed") == first


# Initial weights of ImageNet.


def test_a_net_that_starts_from_imagenet_records_the_file_and_has_the_same_bytes_each_time(
    study: dict[str, Any], train_c: Train, narrow: None, weights_named: None, publish: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    file = publish("D", random_weights("D"))
    (run,) = train_c(init="imagenet")["runs"]
    assert run["start_sha256"] == file_digest(file)
    first = outputs("fixed")
    monkeypatch.setenv("DVC_ROOT", "elsewhere")
    train_c(init="imagenet")
    assert outputs("fixed") == first
    train_c()
    assert outputs("fixed") != first


def test_without_the_weights_of_imagenet_one_line_says_so_before_any_work(
    train_c: Train, narrow: None, weights_named: None
) -> None:
    with pytest.raises(StageError, match=r"holds no weights of net D; allowed: vgg16-397923af\.pth$"):
        train_c(init="imagenet")
    assert not folder("fixed").exists()


# Initial weights at the large and the jittered scale.


def test_each_run_starts_from_the_weights_of_the_same_run(study: dict[str, Any], train_c: Train) -> None:
    study["data"]["splits"] = 2
    train_c()
    train_c("large", learning_rate=TINY)
    for run in range(2):
        assert_same_weights(weights("large", run), weights("fixed", run))
    assert weights("fixed", 0).read_bytes() != weights("fixed", 1).read_bytes()


def test_batch_statistics_are_taken_over_too(train_c: Train) -> None:
    train_c(arch="C_BN")
    train_c("large", learning_rate=TINY, arch="C_BN")
    started, found = (load_file(weights(scale, net="batch/C")) for scale in ("fixed", "large"))
    steps = [name for name in started if name.endswith("num_batches_tracked")]
    assert steps
    assert all(found[name] == started[name] + 3 * 2 for name in steps)


def test_a_run_at_another_scale_sees_images_of_that_scale_in_another_order(
    train_c: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[object, int]] = []
    original = Batches.training

    def recorded(batches: Batches, images: Tensor, size: int, shift: float, generator: torch.Generator) -> Any:
        seen.append((batches.training_scale, generator.initial_seed()))
        return original(batches, images, size, shift, generator)

    monkeypatch.setattr(Batches, "training", recorded)
    for scale in ("fixed", "large", "jitter"):
        train_c(scale)
    scales = [scale for scale, _ in seen]
    assert scales == [None] * 2 + [48] * 3 + [(36, 64)] * 3
    assert len({seed for _, seed in seen}) == len(seen)


# What is refused.


def damage(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def refusal(train_c: Train, scale: str) -> str:
    with pytest.raises((StageError, OSError)) as error:
        train_c(scale)
    assert not folder(scale).exists()
    return str(error.value)


def test_damaged_weights_are_refused(train_c: Train) -> None:
    train_c()
    damage(weights("fixed"), -5)
    assert refusal(train_c, "large") == (f"{weights('fixed')}: checksum mismatch with training.json; run train again")


def test_a_missing_previous_scale_is_named(train_c: Train) -> None:
    train_c()
    assert str(folder("large") / "training.json") in refusal(train_c, "jitter")
    weights("fixed").unlink()
    assert str(weights("fixed")) in refusal(train_c, "large")


def test_fewer_runs_at_the_previous_scale_than_splits_are_refused(study: dict[str, Any], train_c: Train) -> None:
    train_c()
    study["data"]["splits"] = 2
    assert refusal(train_c, "large") == (
        "results/none/C/fixed/training/training.json has 1 runs, data.splits = 2; train again"
    )


def test_damaged_larger_images_are_refused_at_the_scales_that_use_them(train_c: Train) -> None:
    pixels = Path("data/processed/large/pixels.uint8")
    damage(pixels, 1000)
    train_c()
    assert f"{pixels} is damaged" in refusal(train_c, "large")


# Resuming.


@pytest.mark.parametrize(("scale", "before"), [("large", ["fixed"]), ("jitter", ["fixed", "large"])])
def test_an_interrupted_run_resumes_and_writes_the_bytes_of_an_uninterrupted_one(
    train_c: Train, monkeypatch: pytest.MonkeyPatch, scale: str, before: list[str]
) -> None:
    for name in before:
        train_c(name)
    reached: list[int] = []
    validate = run_module.validate

    def validated(*arguments: Any) -> tuple[float, float]:
        reached.append(len(reached) + 1)
        if reached[-1] == 3:
            raise KeyboardInterrupt
        return validate(*arguments)

    monkeypatch.setattr(run_module, "validate", validated)
    with pytest.raises(KeyboardInterrupt):
        train_c(scale)
    train_c(scale)
    assert len(reached) == 3 + 1, "the two finished epochs were not trained again"
    resumed = outputs(scale)
    monkeypatch.setenv("DVC_ROOT", "elsewhere")  # without checkpoints
    train_c(scale)
    assert outputs(scale) == resumed


def test_a_run_from_other_weights_has_other_checkpoints(train_c: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    record = train_c()
    train_c("large")
    first = outputs("large")
    save_file({name: tensor + 0.01 for name, tensor in load_file(weights("fixed")).items()}, weights("fixed"))
    record["runs"][0]["weights_sha256"] = file_digest(weights("fixed"))
    (folder("fixed") / "training.json").write_text(json.dumps(record))
    train_c("large")
    second = outputs("large")
    monkeypatch.setenv("DVC_ROOT", "elsewhere")  # without checkpoints
    train_c("large")
    assert outputs("large") == second != first


# Training on the validation images too.


def test_a_run_with_refit_is_that_of_a_split_whose_validation_images_are_training_images(
    study: dict[str, Any], train_c: Train
) -> None:
    """To the byte, so in the same order and with the same colour statistics."""
    study["train"]["refit"] = True
    record = train_c()["training"]
    assert (record["refit"], record["train_images"]) == (True, 8 + 2)
    refitted = weights("fixed").read_bytes()
    curves = pd.read_csv(folder("fixed") / "curves.csv")
    assert curves[["validation_loss", "validation_accuracy"]].isna().all(axis=None)

    study["train"]["refit"] = False
    splits = Path("data/processed") / SPLITS_FILE
    table = pd.read_csv(splits).replace("validation", "train")
    table.loc[table["split_0"].eq("test").idxmax(), ["split_0", "split_1"]] = "validation"  # a split needs one
    table.to_csv(splits, index=False)
    write_checksums(splits.parent)
    train_c()
    assert weights("fixed").read_bytes() == refitted
    assert pd.read_csv(folder("fixed") / "curves.csv")["train_loss"].equals(curves["train_loss"])


# Live curves.


def live_files(pattern: str) -> list[Path]:
    return sorted(Path("live").glob(pattern))


def test_live_curves_are_those_of_the_training_and_change_none_of_its_bytes(
    train_c: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_c()
    (shown,) = live_files("C/fixed/run-0-*/curves.csv")
    curves = pd.read_csv(folder("fixed") / "curves.csv").drop(columns=["arch", "scale", "run"])
    pd.testing.assert_frame_equal(pd.read_csv(shown)[list(curves)], curves)
    first = outputs("fixed")
    monkeypatch.setattr("vgg_ablation.runtime.live.LiveCurves._add", lambda *_: None)
    monkeypatch.setenv("DVC_ROOT", "elsewhere")  # without checkpoints
    train_c()
    assert outputs("fixed") == first
    assert not Path("elsewhere/live").exists()
