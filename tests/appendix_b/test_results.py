"""Classifiers of hand-made features, what they show, and the report on it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from sklearn.metrics import recall_score

from vgg_ablation.appendix_b import classify
from vgg_ablation.appendix_b.classify import classify_nets
from vgg_ablation.appendix_b.descriptors import combine
from vgg_ablation.appendix_b.findings import Classified, Findings, Result
from vgg_ablation.appendix_b.merge import merge
from vgg_ablation.appendix_b.nets import features_name
from vgg_ablation.appendix_b.report import render
from vgg_ablation.appendix_b.table11 import TABLE_11
from vgg_ablation.device import Compute
from vgg_ablation.errors import StageError
from vgg_ablation.evaluate.arrays import read_arrays
from vgg_ablation.files import read_json, write_json
from vgg_ablation.images.index import Index
from vgg_ablation.runtime.console import Console
from vgg_ablation.runtime.params import read_params
from vgg_ablation.runtime.settings import AppendixBSettings

ROOT = Path(__file__).parents[2]
SCALES = (224, 256)

# Descriptors.


def test_descriptors_of_two_nets_at_two_scales_by_hand() -> None:
    one, other = np.array([[3, 0], [0, 0]], np.float32), np.array([[0, 4], [1, 0]], np.float32)
    parts = {224: [one, one], 256: [other, other]}
    chosen = np.array([0])
    found = {
        kind: combine(parts, chosen, kind, SCALES, normalise_scales=False)[0].tolist()
        for kind in ("stacked", "averaged")
    }
    assert found["stacked"] == pytest.approx(np.array([3, 0, 0, 4, 3, 0, 0, 4]) / 50**0.5)
    assert found["averaged"] == pytest.approx(np.array([1.5, 2, 1.5, 2]) / 12.5**0.5)
    equal = combine(parts, chosen, "stacked", SCALES, normalise_scales=True)[0].tolist()
    assert equal == pytest.approx([0.5, 0, 0, 0.5, 0.5, 0, 0, 0.5])
    assert combine(parts, chosen, "single", (256,), normalise_scales=False)[0].tolist() == pytest.approx(
        np.array([0, 1, 0, 1]) / 2**0.5
    )


def test_an_image_without_any_feature_has_a_descriptor_of_zeros() -> None:
    zeros = {224: [np.zeros((1, 3), np.float32)]}
    assert not combine(zeros, np.array([0]), "single", (224,), normalise_scales=True).any()


# Classifiers.


def settings(**changes: object) -> AppendixBSettings:
    block = yaml.safe_load((ROOT / "params.yaml").read_text())["appendix_b"]
    block |= {"scales": list(SCALES), "penalties": [0.1, 1.0, 10.0], "data": block["data"] | {"splits": 2}, **changes}
    return AppendixBSettings.model_validate(block)


@pytest.fixture
def images(tmp_path: Path, write_processed: Any) -> Path:
    """Twelve images of two categories, even and odd, in two equal splits."""
    write_processed(tmp_path / "images")
    return tmp_path / "images"


def write_features(folder: Path, images: Path, values: Mapping[int, np.ndarray], published: bool = True) -> Path:
    folder.mkdir()
    for scale, rows in values.items():
        rows.astype(np.float32).tofile(folder / features_name(scale))
    weights = {"net": "A", "file": "vgg11-8a719046.pth", "sha256": "8a719046" * 8, "published": published}
    info = {"net": "A", "weights": weights, "images_sha256": Index.read(images).digest, "scales": list(values)}
    write_json(folder / "features.json", info | {"relu": True, "sha256": {}, "device": "cpu", "precision": "float32"})
    return folder


@pytest.fixture
def separable(tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Features that tell the categories at the second scale, and nothing at the first."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    telling = np.eye(2)[np.arange(12) % 2]
    return write_features(tmp_path / "features", images, {224: np.ones((12, 2)), 256: telling})


def test_a_classifier_finds_what_the_features_tell(
    separable: Path, images: Path, tmp_path: Path, exact: Compute, console: Console
) -> None:
    out = tmp_path / "out"
    classify_nets({"A": separable}, images, out, settings=settings(), compute=exact, console=console)
    variants = read_json(out / "results.json")["variants"]
    recalls = {name: [row["recall"] for row in variant["splits"]] for name, variant in variants.items()}
    assert recalls == {
        "single-224": [50.0, 50.0],
        "single-256": [100.0, 100.0],
        "averaged": [100.0, 100.0],
        "stacked": [100.0, 100.0],
    }
    decisions = read_arrays(out / "decisions.npz")
    assert (decisions["stacked/0"] == decisions["0/labels"]).all()


def test_test_images_take_no_part_in_the_fit(
    separable: Path, images: Path, tmp_path: Path, exact: Compute, console: Console
) -> None:
    classify_nets({"A": separable}, images, tmp_path / "one", settings=settings(), compute=exact, console=console)
    rows = np.fromfile(separable / features_name(256), np.float32).reshape(12, 2)
    tests = read_arrays(tmp_path / "one" / "decisions.npz")["0/images"]
    rows[tests] = rows[tests, ::-1]
    rows.tofile(separable / features_name(256))
    info = read_json(separable / "features.json") | {"sha256": {"another": "file"}}
    write_json(separable / "features.json", info)
    classify_nets({"A": separable}, images, tmp_path / "other", settings=settings(), compute=exact, console=console)
    one, other = (read_json(tmp_path / name / "results.json")["variants"]["single-256"] for name in ("one", "other"))
    assert [row["recall"] for row in other["splits"]] == [0.0, 0.0]
    assert [row["recalls"] for row in other["splits"]] == [row["recalls"] for row in one["splits"]]


def test_an_interrupted_classification_resumes_with_the_same_bytes(
    separable: Path, images: Path, tmp_path: Path, exact: Compute, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[object] = []
    choose = classify.choose

    def counted(*arguments: Any) -> object:
        calls.append(arguments)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return choose(*arguments)

    monkeypatch.setattr(classify, "choose", counted)
    arguments = {"settings": settings(), "compute": exact, "console": console}
    with pytest.raises(KeyboardInterrupt):
        classify_nets({"A": separable}, images, tmp_path / "out", **arguments)
    classify_nets({"A": separable}, images, tmp_path / "out", **arguments)
    assert len(calls) == 8 + 1
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "elsewhere"))
    classify_nets({"A": separable}, images, tmp_path / "whole", **arguments)
    for name in ("results.json", "decisions.npz", "nets.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_features_of_other_images_are_refused(
    separable: Path, images: Path, tmp_path: Path, exact: Compute, console: Console
) -> None:
    write_json(separable / "features.json", read_json(separable / "features.json") | {"images_sha256": "other"})
    with pytest.raises(StageError, match="features of other images or scales"):
        classify_nets({"A": separable}, images, tmp_path / "out", settings=settings(), compute=exact, console=console)


# Findings.


def made_up(net: str, wrong: float, *, published: bool = True, at_edge: bool = False, splits: int = 3) -> Classified:
    """A net that is wrong on the first share of each of 4 classes of unequal size, in each split of 400 images."""
    labels = np.repeat(np.arange(4), [40, 80, 120, 160])
    place = np.concatenate([np.arange(size) / size for size in (40, 80, 120, 160)])
    decisions: dict[str, np.ndarray] = {}
    rows = []
    for split in range(splits):
        decisions |= {f"{split}/images": np.arange(400) + 100 * split, f"{split}/labels": labels}
        decisions[f"stacked/{split}"] = np.where(place < wrong + 0.025 * split, (labels + 1) % 4, labels)
        rows.append({"split": split, "penalty": 3.0, "at_edge": at_edge, "converged": True})
    weights = {"net": net, "file": "D.pth", "sha256": "ab" * 32, "published": published}
    info = {"net": net, "weights": weights, "scales": [256, 384, 512], "relu": True, "device": "cpu"}
    results = {
        "classes": 4,
        "penalties": [3.0],
        "normalise_scales": False,
        "features": [info | {"precision": "float32"}],
    }
    return Classified(net, results | {"variants": {"stacked": {"kind": "stacked", "splits": rows}}}, decisions)


def test_recall_is_that_of_scikit_learn_and_its_deviation_that_over_splits() -> None:
    one = made_up("D", 0.2)
    expected = [
        100 * recall_score(one.decisions[f"{split}/labels"], one.decisions[f"stacked/{split}"], average="macro")
        for split in range(3)
    ]
    found: Result = one.result("stacked")
    assert found.mean == pytest.approx(np.mean(expected))
    assert found.deviation == pytest.approx(np.std(expected, ddof=1))
    assert found.low < min(expected) < max(expected) < found.high


def with_averaged(one: Classified, wrong: float) -> Classified:
    """The same net, with averaged descriptors that are wrong on another share."""
    other = made_up(one.net, wrong)
    averaged = {f"averaged/{split}": other.decisions[f"stacked/{split}"] for split in range(3)}
    found = {**one.info["variants"], "averaged": other.info["variants"]["stacked"]}
    return Classified(one.net, one.info | {"variants": found}, {**one.decisions, **averaged})


@pytest.mark.parametrize(
    ("stacked", "averaged", "verdict"),
    [(0.1, 0.3, "reproduced"), (0.3, 0.1, "contradicted"), (0.2, 0.2, "undecided")],
)
def test_stacking_is_better_than_averaging_if_it_is_for_both_nets(
    stacked: float, averaged: float, verdict: str
) -> None:
    nets = {net: with_averaged(made_up(net, stacked), averaged) for net in "DE"}
    assert {one.claim.key: one.verdict for one in Findings(nets).judgements}["stacking"] == verdict
    nets["E"] = made_up("E", stacked)
    assert {one.claim.key: one.verdict for one in Findings(nets).judgements}["stacking"] == "not judged"


def verdicts(**wrong: float) -> dict[str, str]:
    nets = {name.replace("_", "+"): made_up(name, share) for name, share in wrong.items()}
    return {one.claim.key: one.verdict for one in Findings(nets).judgements}


def test_claims_are_judged_by_their_rules() -> None:
    found = verdicts(A=0.5, D=0.2, E=0.2, D_E=0.05)
    assert found == {"alike": "reproduced", "stacking": "not judged", "both": "reproduced", "depth": "reproduced"}
    found = verdicts(A=0.1, D=0.4, E=0.1, D_E=0.1)
    assert found == {"alike": "contradicted", "stacking": "not judged", "both": "undecided", "depth": "contradicted"}
    assert set(verdicts(D=0.2).values()) == {"not judged"}


def test_one_split_decides_no_claim() -> None:
    nets = {name: made_up(name, share, splits=1) for name, share in {"A": 0.5, "D": 0.2, "E": 0.2}.items()}
    found = {one.claim.key: one.verdict for one in Findings(nets).judgements}
    assert (found["alike"], found["depth"]) == ("undecided", "undecided")


# The report.


SUMMARY = {
    "source": "caltech256", "clutter": True, "splits": 3, "train_per_class": 60, "images": 30607, "train": 1,
    "validation": 1, "test": 1, "excluded": 2,
}  # fmt: skip


def report(*nets: Classified, norm: str = "none", **summary: object) -> dict[str, Any]:
    return render(Findings({net.net: net for net in nets}), norm, SUMMARY | summary)


def test_the_first_lines_name_images_and_weights() -> None:
    official = str(report(made_up("D", 0.2))["report.md"]).splitlines()[:6]
    assert "Images: **Caltech-256**, 4 classes, clutter included." in official
    assert any(line.startswith("Weights: torchvision's `IMAGENET1K_V1`") for line in official)
    other = str(report(made_up("D", 0.2, published=False), source="sample")["report.md"]).splitlines()[:6]
    assert "Images: **not the official archive of Caltech-256**, but `sample`, 4 classes." in other
    assert any(line.startswith("Weights: **of another author**") and "D from D.pth" in line for line in other)


def test_table_11_has_the_papers_numbers_and_a_dash_for_nets_without_weights() -> None:
    page = str(report(made_up("A", 0.5), made_up("D", 0.2))["report.md"]).partition("## Claims")[0]
    rows = {line.split("|")[1].strip(): line.split("|")[2:-1] for line in page.splitlines() if line.startswith("| ")}
    assert [cell.strip() for cell in rows["C"]] == ["16", "–", "–", "–", "–", "–"]
    assert [cell.strip() for cell in rows["D"]][-1] == "85.0 ± 0.2"
    assert [cell.strip() for cell in rows["A"]][-1] == "–"
    assert "- C: nobody has published weights of C." in page
    assert "E" not in rows


def test_the_page_says_how_the_images_are_split() -> None:
    text = str(report(made_up("D", 0.2), train=45, validation=15)["report.md"])
    assert "over 3 random splits with 60 training images a class, all others to test on" in text
    assert "its C is chosen on 25 % of the training images" in text
    assert "60 to train on, 15 of them held out to choose C, 1 to test on" in text
    text = str(report(made_up("D", 0.2), train_per_class="folders")["report.md"])
    assert "over 3 runs on the split that the source's folders give; in brackets its 95 % interval over runs" in text


def test_an_end_of_the_grid_is_marked() -> None:
    assert "3\\*" in str(report(made_up("D", 0.2, at_edge=True))["report.md"])


def test_the_same_results_give_the_same_bytes() -> None:
    nets = [made_up("A_BN", 0.5), made_up("D_BN", 0.2), made_up("D_BN+E_BN", 0.1)]
    first, again = report(*nets, norm="batch"), report(*nets, norm="batch")
    assert first == again
    assert json.loads(first["claims.json"])[0]["norm"] == "batch"
    assert b"<svg" in first["recall-by-depth.svg"]


def test_the_published_numbers_are_those_of_the_paper() -> None:
    text = ROOT.parent / "shared" / "paper.md"
    if not text.exists():
        pytest.skip(f"no {text}")
    for net, name in (("D", "D (16)"), ("E", "E (19)"), ("D+E", "D + E")):
        (row,) = (line for line in text.read_text().splitlines() if line.startswith(f"| {name} | 9"))
        assert row.split("|")[3].strip() == f"{TABLE_11[net].mean} +- {TABLE_11[net].deviation}"


# Selections.


def test_a_selection_lists_its_nets_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for norm, suffix in (("none", ""), ("batch", "_BN")):
        for arch in ("A", "B", "D", "E", "D+E"):
            names = "+".join(one + suffix for one in arch.split("+"))
            write_json(tmp_path / f"results/appendix-b/{norm}/{arch}/classification/nets.json", {names: "digest"})
    assert list(read_json(merge("all", "batch") / "nets.json")) == ["A_BN", "B_BN", "D_BN", "E_BN", "D_BN+E_BN"]
    merge("all", "none")
    assert len(read_json(merge("all", "all") / "nets.json")) == 10
    assert list(read_json(merge("D", "all") / "nets.json")) == ["D", "D_BN"]
    assert merge("D", "all") == Path("results/appendix-b/all/D/classification")


def test_settings_of_the_repository_are_the_papers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    found = read_params().of_appendix_b()
    assert (found.scales, found.data.splits, found.data.train_per_class) == ((256, 384, 512), 3, 60)
    assert (found.data.clutter, found.data.categories, found.data.validation_fraction) == (True, "all", 0.2)
