import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from vgg_ablation.errors import StageError
from vgg_ablation.evaluate.aggregate import merge_nets, merge_scales, merge_search
from vgg_ablation.evaluate.arrays import read_arrays, writing
from vgg_ablation.model.table1 import ABLATION

NETS = ABLATION
SCALES = ("fixed", "large", "jitter")
CLASSES, RUNS = 7, (0, 1)
IMAGES = {0: np.arange(0, 42, 2), 1: np.arange(0, 42, 2) + 1}
LABELS = np.repeat(np.arange(CLASSES), 3)
RESULTS = Path("results/none")


def posteriors(arch: str, scale: str, run: int, protocol: str) -> np.ndarray:
    seed = list(f"{arch} {scale} {run} {protocol}".encode())
    return np.random.default_rng(seed).dirichlet(np.ones(CLASSES), len(LABELS)).astype(np.float32)


def write_results(
    arch: str, scale: str, protocols: tuple[str, ...] = ("centre", "dense"), shift: int = 0, results: Path = RESULTS
) -> None:
    """Write made-up results of one net as `train` and `evaluate` do; `shift` is added to the numbers of its images."""
    training, evaluation = (results / arch / scale / stage for stage in ("training", "evaluation"))
    with writing(evaluation / "predictions.npz") as predict, writing(evaluation / "decisions.npz") as write:
        for run in RUNS:
            predict(f"run_{run}_images", IMAGES[run] + shift)
            predict(f"run_{run}_labels", LABELS)
            write(f"split/{run}/images", (IMAGES[run] + shift).astype(np.int32))
            write(f"split/{run}/labels", LABELS.astype(np.int16))
            for protocol in protocols:
                found = posteriors(arch, scale, run, protocol)
                predict(f"run_{run}_{protocol}", found)
                write(f"{arch}/{scale}/{run}/{protocol}/class", found.argmax(1).astype(np.int16))
    runs = [{"run": run, "protocols": {protocol: {} for protocol in protocols}} for run in RUNS]
    metrics = {"nets": [{"arch": arch, "scale": scale, "runs": runs}], "fusions": []}
    (evaluation / "metrics.json").write_text(json.dumps(metrics))
    (evaluation / "cost.csv").write_text(f"stage,arch,scale\nevaluate,{arch},{scale}\n")
    training.mkdir()
    (training / "curves.csv").write_text(f"arch,scale,loss\n{arch},{scale},0.1\n{arch},{scale},1e-05\n")
    (training / "cost.csv").write_text(f'stage,arch,scale,machine\ntrain,{arch},{scale},"a processor, 2 cores"\n')


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder with the results of all nets at the fixed scale."""
    monkeypatch.chdir(tmp_path)
    for arch in NETS:
        write_results(arch, "fixed")


def with_batch_norm(arch: str) -> None:
    """Write results of a net with batch normalisation too."""
    write_results(f"{arch}_BN", "fixed", results=Path("other"))
    Path("results/batch").mkdir()
    (Path("other") / f"{arch}_BN").replace(Path("results/batch") / arch)


def read_metrics(folder: str) -> dict[str, list]:
    return json.loads((RESULTS / folder / "evaluation/metrics.json").read_text())


def assert_tables_merged(name: str, merged: str, parts: list[str]) -> None:
    tables = [pd.read_csv(RESULTS / part / name, dtype=str) for part in parts]
    pd.testing.assert_frame_equal(pd.read_csv(RESULTS / merged / name, dtype=str), pd.concat(tables, ignore_index=True))


def assert_decisions_merged(merged: str, parts: list[str]) -> None:
    found = read_arrays(RESULTS / merged / "evaluation/decisions.npz")
    expected: dict[str, np.ndarray] = {}
    for part in parts:
        expected |= read_arrays(RESULTS / part / "evaluation/decisions.npz")
    assert expected.keys() <= found.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, strict=True)


def fused(members: tuple[str, ...]) -> Iterator[tuple[int, str, np.ndarray]]:
    """Yield the mean posteriors of nets by run and protocol."""
    for run in RUNS:
        for protocol in ("centre", "dense"):
            yield (
                run,
                protocol,
                np.mean([posteriors(arch, "fixed", run, protocol).astype(np.float64) for arch in members], axis=0),
            )


def test_the_results_of_the_nets_are_merged_in_the_order_of_table_1() -> None:
    merge_nets("all", "fixed")
    parts = [f"{arch}/fixed" for arch in NETS]
    expected = [net for part in parts for net in read_metrics(part)["nets"]]
    assert read_metrics("all/fixed")["nets"] == expected
    assert_decisions_merged("all/fixed", parts)
    for name in ("training/curves.csv", "training/cost.csv", "evaluation/cost.csv"):
        assert_tables_merged(name, "all/fixed", parts)


def test_the_searches_of_the_nets_are_merged() -> None:
    for arch in NETS:
        (RESULTS / arch / "search").mkdir()
        (RESULTS / arch / "search/trials.csv").write_text(f"arch,trial\n{arch},0\n{arch},1\n")
        (RESULTS / arch / "search/cost.csv").write_text(f"stage,arch\ntune,{arch}\n")
    merge_search("all")
    for name in ("search/trials.csv", "search/cost.csv"):
        assert_tables_merged(name, "all", list(NETS))


@pytest.mark.parametrize(("place", "members"), [(0, ("D", "E")), (1, NETS)])
def test_metrics_and_decisions_of_a_fusion_are_those_of_the_mean_posterior(place: int, members: tuple) -> None:
    merge_nets("all", "fixed")
    fusion = read_metrics("all/fixed")["fusions"][place]
    decisions = read_arrays(RESULTS / "all/fixed/evaluation/decisions.npz")
    assert (fusion["members"], fusion["scale"], len(fusion["runs"])) == ([*members], "fixed", 2)
    for run, protocol, mean in fused(members):
        measures = fusion["runs"][run]["protocols"][protocol]
        true = mean[np.arange(len(LABELS)), LABELS]
        assert measures["top1_error"] == pytest.approx(100 * np.mean(mean.argmax(1) != LABELS), abs=1e-4)
        assert measures["nll"] == pytest.approx(-np.log(true).mean(), abs=1e-5)
        stem = f"{'+'.join(members)}/fixed/{run}/{protocol}"
        np.testing.assert_array_equal(decisions[f"{stem}/class"], mean.argmax(1))
        np.testing.assert_allclose(decisions[f"{stem}/confidence"], mean.max(1), rtol=1e-6)


def test_only_protocols_that_all_members_were_tested_under_are_fused() -> None:
    for arch in NETS:
        write_results(arch, "large", ("dense",) if arch == "A" else ("centre", "dense"))
    merge_nets("all", "large")
    fusions = read_metrics("all/large")["fusions"]
    assert [list(fusion["runs"][0]["protocols"]) for fusion in fusions] == [["centre", "dense"], ["dense"]]


@pytest.mark.parametrize("arch", ["C", "all"])
def test_the_results_at_the_scales_are_merged_in_the_order_of_training(arch: str) -> None:
    for scale in SCALES:
        if scale != "fixed":
            for net in NETS:
                write_results(net, scale)
        merge_nets("all", scale)
    merge_scales(arch)
    parts = [f"{arch}/{scale}" for scale in SCALES]
    found = read_metrics(f"{arch}/all")
    for name in ("nets", "fusions"):
        assert found[name] == [entry for part in parts for entry in read_metrics(part)[name]]
    assert_decisions_merged(f"{arch}/all", parts)
    for name in ("training/curves.csv", "training/cost.csv", "evaluation/cost.csv"):
        assert_tables_merged(name, f"{arch}/all", parts)


def test_the_results_without_and_with_batch_normalisation_are_merged_and_not_fused() -> None:
    with_batch_norm("C")
    merge_nets("C_all", "fixed")
    parts = ["../none/C/fixed", "../batch/C/fixed"]
    expected = [net for part in parts for net in read_metrics(part)["nets"]]
    assert [net["arch"] for net in expected] == ["C", "C_BN"]
    assert read_metrics("../all/C/fixed") == {"nets": expected, "fusions": []}
    assert_decisions_merged("../all/C/fixed", parts)
    assert_tables_merged("training/curves.csv", "../all/C/fixed", parts)


def test_one_net_is_not_merged_with_itself() -> None:
    with pytest.raises(StageError, match="C_BN is one net: there is nothing to merge"):
        merge_nets("C_BN", "fixed")


def replace(path: str, arch: str, scale: str) -> None:
    """Replace a file of results by that of an evaluation of other images."""
    write_results(arch, scale, shift=1, results=Path("other"))
    (Path("other") / path).replace(RESULTS / path)


def test_nets_with_other_test_images_are_not_merged() -> None:
    replace("E/fixed/evaluation/decisions.npz", "E", "fixed")
    with pytest.raises(StageError, match=r"E/fixed/evaluation/decisions\.npz: split/0/images differs from .*A/fixed"):
        merge_nets("all", "fixed")
    assert not (RESULTS / "all/fixed/evaluation/metrics.json").exists()


def test_posteriors_of_other_test_images_are_not_fused() -> None:
    replace("E/fixed/evaluation/predictions.npz", "E", "fixed")
    with pytest.raises(StageError, match=r"E/fixed/\S+: run 0 has other test images than in .*D/fixed"):
        merge_nets("all", "fixed")


def test_scales_with_other_test_images_are_not_merged() -> None:
    write_results("C", "large")
    write_results("C", "jitter", shift=1)
    with pytest.raises(StageError, match=r"C/jitter/evaluation/decisions\.npz: split/0/images differs from .*C/fixed"):
        merge_scales("C")


def test_a_table_with_other_columns_is_refused() -> None:
    (RESULTS / "C/fixed/training/curves.csv").write_text("arch,loss\nC,0.1\n")
    with pytest.raises(StageError, match=r"C/fixed/training/curves\.csv: other columns than in .*A/fixed"):
        merge_nets("all", "fixed")


def test_metrics_without_nets_are_refused() -> None:
    (RESULTS / "C/fixed/evaluation/metrics.json").write_text("{}")
    with pytest.raises(StageError, match=r"C/fixed/evaluation/metrics\.json has no list nets; run evaluate again"):
        merge_nets("all", "fixed")
