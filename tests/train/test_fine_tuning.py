"""The script of the stage `train` at the large and the jittered scale, from the weights of the scale before."""

import json
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from vgg_ablation.images.batches import Batches
from vgg_ablation.runtime.state import file_digest
from vgg_ablation.train import run as run_module

Train = Callable[..., dict[str, Any]]
NOTHING_MOVES = 1e-29  # learning rate that leaves every weight where it is


@pytest.fixture(autouse=True)
def fine_tuning(study: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a study have one epoch at the fixed scale and three at the others, and nets that weights alone describe."""
    monkeypatch.setattr("vgg_ablation.device.product_rate", lambda _: 1e9)  # it takes longer than the epochs
    study["train"]["epochs"] = 1
    study["fine_tune"]["epochs"] = 3
    study["model"] |= {"batch_norm": False, "dropout": 0.5}


def weights(scale: str, run: int = 0) -> Path:
    return Path("results", "C", scale, "weights", f"run-{run}.safetensors")


def outputs(scale: str) -> dict[str, bytes]:
    """Return the bytes of what the stage writes at a scale, but for its cost."""
    folder = Path("results", "C", scale)
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.parent.name != "cost"}


def refusal(train_c: Train, scale: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one line with which a stage ends that writes nothing."""
    capsys.readouterr()
    with pytest.raises(SystemExit):
        train_c(scale)
    (line,) = capsys.readouterr().err.splitlines()
    assert not Path("results", "C", scale).exists()
    return line


# Where a run starts.


@pytest.mark.parametrize(("scale", "before"), [("large", ["fixed"]), ("jitter", ["fixed", "large"])])
def test_a_run_starts_from_the_very_weights_of_the_scale_before(train_c: Train, scale: str, before: list[str]) -> None:
    for name in before:
        train_c(name)
    train_c(scale, learning_rate=NOTHING_MOVES)
    started, found = (load_file(weights(name)) for name in (before[-1], scale))
    assert started.keys() == found.keys()
    for name, tensor in started.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-25)


def test_each_run_starts_from_the_weights_of_its_own(study: dict[str, Any], train_c: Train) -> None:
    study["data"]["splits"] = 2
    train_c()
    train_c("large", learning_rate=NOTHING_MOVES)
    first, second = (load_file(weights("large", run))["classifier.6.weight"] for run in range(2))
    torch.testing.assert_close(first, load_file(weights("fixed", 0))["classifier.6.weight"], rtol=0, atol=1e-25)
    torch.testing.assert_close(second, load_file(weights("fixed", 1))["classifier.6.weight"], rtol=0, atol=1e-25)
    assert not torch.equal(first, second)


def test_training_goes_on_from_there(train_c: Train) -> None:
    train_c()
    train_c("large")
    started, found = load_file(weights("fixed")), load_file(weights("large"))
    assert not any(torch.equal(found[name], started[name]) for name in started)


def test_weights_that_a_run_lost_are_lost_at_the_next_scale_too(train_c: Train) -> None:
    (lost,) = train_c(learning_rate=1e30)["runs"]
    (found,) = train_c("large")["runs"]
    assert lost["did_not_train"]
    assert (found["did_not_train"], found["reason"]) == (True, "diverged in epoch 1: the loss is nan")


# How it trains.


@pytest.mark.parametrize("scale", ["large", "jitter"])
def test_the_rate_starts_at_a_tenth_of_the_tuned_one(train_c: Train, scale: str) -> None:
    """Section 3.1: 1e-3 in place of 1e-2."""
    for name in ("fixed", "large", "jitter"):
        train_c(name, learning_rate=0.02)
    rates = pd.read_csv(f"results/C/{scale}/curves.csv")["learning_rate"]
    assert rates[0] == pytest.approx(0.002)
    assert pd.read_csv("results/C/fixed/curves.csv")["learning_rate"][0] == pytest.approx(0.02)


def test_the_record_has_the_rate_the_epochs_and_the_scale_of_its_own(train_c: Train) -> None:
    found = {scale: train_c(scale, learning_rate=0.02)["training"] for scale in ("fixed", "large")}
    told = {scale: (how["scale"], how["epochs"], how["learning_rate"]) for scale, how in found.items()}
    assert told == {"fixed": ("fixed", 1, 0.02), "large": ("large", 3, pytest.approx(0.002))}


def test_the_curve_has_the_epochs_of_fine_tuning(train_c: Train) -> None:
    train_c()
    train_c("large")
    curves = pd.read_csv("results/C/large/curves.csv")
    rows = curves[["arch", "scale", "run", "epoch"]].to_numpy().tolist()
    assert rows == [["C", "large", 0, epoch] for epoch in (1, 2, 3)]


def test_the_cost_is_of_the_net_at_the_scale(train_c: Train) -> None:
    train_c()
    train_c("large")
    cost = pd.read_csv("results/C/large/cost/train.csv").loc[0]
    assert (cost["arch"], cost["scale"], cost["images"]) == ("C", "large", 3 * 8)


@dataclass(frozen=True)
class Seen:
    """What an epoch of training asked of the images."""

    training_scale: int | tuple[int, int] | None
    test_scale: int | None
    seed: int


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Seen]:
    """Note down every epoch's images from here on."""
    noted: list[Seen] = []
    training = Batches.training

    def note(
        self: Batches, images: Tensor, batch_size: int, colour_shift: float, generator: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        noted.append(Seen(self.training_scale, self.test_scale, generator.initial_seed()))
        return training(self, images, batch_size, colour_shift, generator)

    monkeypatch.setattr(Batches, "training", note)
    return noted


def test_images_have_the_scales_of_the_settings(train_c: Train, seen: list[Seen]) -> None:
    for scale in ("fixed", "large", "jitter"):
        train_c(scale)
    scales = [astuple(epoch)[:2] for epoch in seen]
    assert scales == [(None, None)] + 3 * [(48, 48)] + 3 * [((36, 64), 50)]


def test_no_epoch_of_any_scale_or_run_draws_the_crops_of_another(
    study: dict[str, Any], train_c: Train, seen: list[Seen]
) -> None:
    study["data"]["splits"] = 2
    for scale in ("fixed", "large", "jitter"):
        train_c(scale)
    assert len({epoch.seed for epoch in seen}) == len(seen) == 2 * (1 + 3 + 3)


def test_nets_at_the_same_scale_draw_the_same_crops(study: dict[str, Any], train_c: Train, seen: list[Seen]) -> None:
    for width in (1 / 16, 1 / 8):
        study["model"]["width"] = width
        for scale in ("fixed", "large"):
            train_c(scale)
    assert seen[:4] == seen[4:]


# What it does not start from.


def test_damaged_weights_are_refused(train_c: Train, capsys: pytest.CaptureFixture[str]) -> None:
    train_c()
    content = bytearray(weights("fixed").read_bytes())
    content[-5] ^= 1
    weights("fixed").write_bytes(content)
    line = refusal(train_c, "large", capsys)
    assert line.removeprefix(f"train C large: {weights('fixed')}: damaged, ") == (
        "its SHA-256 is not that in training.json; run train again"
    )


def test_missing_weights_are_named(train_c: Train, capsys: pytest.CaptureFixture[str]) -> None:
    train_c()
    weights("fixed").unlink()
    assert str(weights("fixed")) in refusal(train_c, "large", capsys)


def test_weights_of_another_net_are_refused(
    study: dict[str, Any], train_c: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    train_c()
    study["model"]["width"] = 1 / 8
    assert f"{weights('fixed')}: of another net than the settings describe" in refusal(train_c, "large", capsys)


def test_a_scale_is_not_trained_before_the_one_it_starts_from(
    train_c: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    train_c()
    assert "results/C/large/training.json" in refusal(train_c, "jitter", capsys)


def test_fewer_runs_before_than_splits_are_refused(
    study: dict[str, Any], train_c: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    train_c()
    study["data"]["splits"] = 2
    line = refusal(train_c, "large", capsys)
    assert line == "train C large: results/C/fixed/training.json is of 1 runs, data.splits of 2; train again"


def test_damaged_larger_images_are_refused_and_do_not_matter_to_the_fixed_scale(
    train_c: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = Path("data/processed/large/pixels.uint8")
    content = bytearray(pixels.read_bytes())
    content[1000] ^= 1
    pixels.write_bytes(content)
    train_c()
    assert f"{pixels} is damaged" in refusal(train_c, "large", capsys)


# How it goes on.


def interrupt_in_epoch(number: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Have the validation in an epoch interrupted; return a list that grows by each epoch that gets there."""
    reached: list[int] = []
    validate = run_module.validate

    def validated(*arguments: Any) -> tuple[float, float]:
        reached.append(len(reached) + 1)
        if reached[-1] == number:
            raise KeyboardInterrupt
        return validate(*arguments)

    monkeypatch.setattr(run_module, "validate", validated)
    return reached


@pytest.mark.parametrize(("scale", "before"), [("large", ["fixed"]), ("jitter", ["fixed", "large"])])
def test_an_interrupted_run_goes_on_and_writes_the_bytes_of_one_that_was_not(
    train_c: Train, monkeypatch: pytest.MonkeyPatch, scale: str, before: list[str]
) -> None:
    for name in before:
        train_c(name)
    reached = interrupt_in_epoch(3, monkeypatch)
    with pytest.raises(SystemExit):
        train_c(scale)
    train_c(scale)
    assert len(reached) == 3 + 1, "the two epochs that had ended were not trained again"
    resumed = outputs(scale)
    monkeypatch.setenv("DVC_ROOT", "elsewhere")  # where no checkpoint lies
    train_c(scale)
    assert outputs(scale) == resumed


def test_a_run_from_other_weights_does_not_go_on_from_the_state_of_this_one(
    train_c: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = train_c()
    train_c("large")
    first = outputs("large")
    moved = {name: tensor + 0.01 for name, tensor in load_file(weights("fixed")).items()}
    save_file(moved, weights("fixed"))
    record["runs"][0]["weights_sha256"] = file_digest(weights("fixed"))
    Path("results/C/fixed/training.json").write_text(json.dumps(record))
    train_c("large")
    second = outputs("large")
    monkeypatch.setenv("DVC_ROOT", "elsewhere")  # where no checkpoint lies
    train_c("large")
    assert outputs("large") == second != first
