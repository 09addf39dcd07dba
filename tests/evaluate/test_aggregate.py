import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from vgg_ablation.errors import StageError
from vgg_ablation.evaluate.aggregate import join_nets, join_scales, join_search
from vgg_ablation.evaluate.arrays import writing

NETS = ("A", "A_LRN", "B", "C", "D", "E")
SCALES = ("fixed", "large", "jitter")
CLASSES, RUNS = 7, (0, 1)
IMAGES = {0: np.arange(0, 42, 2), 1: np.arange(0, 42, 2) + 1}
LABELS = np.repeat(np.arange(CLASSES), 3)


def posteriors(arch: str, scale: str, run: int, protocol: str) -> np.ndarray:
    seed = list(f"{arch} {scale} {run} {protocol}".encode())
    return np.random.default_rng(seed).dirichlet(np.ones(CLASSES), len(LABELS)).astype(np.float32)


def write_results(
    folder: Path, arch: str, scale: str, protocols: tuple[str, ...] = ("centre", "dense"), shift: int = 0
) -> None:
    """Write made-up results of one net as `evaluate` and `train` do, of images whose numbers are `shift` higher."""
    with writing(folder / "predictions.npz") as predict, writing(folder / "outcomes.npz") as write:
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
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "cost").mkdir()
    (folder / "curves.csv").write_text(f"arch,scale,loss\n{arch},{scale},0.1\n{arch},{scale},1e-05\n")
    (folder / "cost/train.csv").write_text(f'stage,arch,machine\ntrain,{arch},"a processor, 2 cores"\n')
    (folder / "cost/evaluate.csv").write_text(f"stage,arch,machine\nevaluate,{arch},\n")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for arch in NETS:
        write_results(tmp_path / arch / "fixed", arch, "fixed")
        (tmp_path / arch / "cost").mkdir()
        (tmp_path / arch / "trials.csv").write_text(f"arch,trial\n{arch},0\n{arch},1\n")
        (tmp_path / arch / "cost/tune.csv").write_text(f"stage,arch\ntune,{arch}\n")
    return tmp_path


@pytest.fixture
def joined(results: Path) -> Path:
    join_nets(results, "fixed")
    return results / "all/fixed"


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as found:
        return {name: found[name] for name in found.files}


def fused(members: tuple[str, ...]) -> Iterator[tuple[int, str, np.ndarray]]:
    """Yield the mean posteriors of nets by run and protocol."""
    for run in RUNS:
        for protocol in ("centre", "dense"):
            of_each = [posteriors(arch, "fixed", run, protocol).astype(np.float64) for arch in members]
            yield run, protocol, np.mean(of_each, axis=0)


def test_the_nets_are_those_of_table_1_in_its_order(joined: Path) -> None:
    assert [net["arch"] for net in json.loads((joined / "metrics.json").read_text())["nets"]] == list(NETS)


def test_a_net_is_joined_as_it_was_described(results: Path, joined: Path) -> None:
    (own,) = json.loads((results / "C/fixed/metrics.json").read_text())["nets"]
    assert own in json.loads((joined / "metrics.json").read_text())["nets"]


def test_the_two_best_and_all_nets_are_fused(joined: Path) -> None:
    fusions = json.loads((joined / "metrics.json").read_text())["fusions"]
    assert [(fusion["members"], fusion["scale"]) for fusion in fusions] == [(["D", "E"], "fixed"), ([*NETS], "fixed")]


@pytest.mark.parametrize(("place", "members"), [(0, ("D", "E")), (1, NETS)])
def test_a_fusions_error_is_that_of_the_mean_posterior(joined: Path, place: int, members: tuple[str, ...]) -> None:
    fusion = json.loads((joined / "metrics.json").read_text())["fusions"][place]
    found = {
        (run["run"], protocol): (run["test_images"], scores["top1_error"], scores["nll"])
        for run in fusion["runs"]
        for protocol, scores in run["protocols"].items()
    }
    expected = {}
    for run, protocol, mean in fused(members):
        error = 100 * np.mean(mean.argmax(1) != LABELS)
        nll = -np.log(mean[np.arange(len(LABELS)), LABELS]).mean()
        expected[run, protocol] = (len(LABELS), pytest.approx(error, abs=1e-4), pytest.approx(nll, abs=1e-5))
    assert found == expected


@pytest.mark.parametrize(("name", "members"), [("D+E", ("D", "E")), ("A+A_LRN+B+C+D+E", NETS)])
def test_a_fusions_outcomes_are_those_of_the_mean_posterior(joined: Path, name: str, members: tuple[str, ...]) -> None:
    found = read_arrays(joined / "outcomes.npz")
    for run, protocol, mean in fused(members):
        stem = f"{name}/fixed/{run}/{protocol}"
        np.testing.assert_array_equal(found[f"{stem}/class"], mean.argmax(1))
        np.testing.assert_allclose(found[f"{stem}/confidence"], mean.max(1), rtol=1e-6)
        np.testing.assert_allclose(found[f"{stem}/true"], mean[np.arange(len(LABELS)), LABELS], rtol=1e-6)


def test_every_nets_outcomes_are_copied(results: Path, joined: Path) -> None:
    found = read_arrays(joined / "outcomes.npz")
    for arch in NETS:
        for name, array in read_arrays(results / arch / "fixed/outcomes.npz").items():
            np.testing.assert_array_equal(found[name], array, strict=True)


def test_each_array_is_there_once(joined: Path) -> None:
    with np.load(joined / "outcomes.npz", allow_pickle=False) as found:
        assert len(found.files) == len(set(found.files))


@pytest.mark.parametrize("name", ["curves.csv", "cost/train.csv", "cost/evaluate.csv"])
def test_tables_are_joined_net_by_net(results: Path, joined: Path, name: str) -> None:
    tables = [pd.read_csv(results / arch / "fixed" / name, dtype=str) for arch in NETS]
    pd.testing.assert_frame_equal(pd.read_csv(joined / name, dtype=str), pd.concat(tables, ignore_index=True))


@pytest.mark.parametrize("name", ["trials.csv", "cost/tune.csv"])
def test_the_search_is_joined_net_by_net(results: Path, name: str) -> None:
    join_search(results)
    tables = [pd.read_csv(results / arch / name, dtype=str) for arch in NETS]
    pd.testing.assert_frame_equal(pd.read_csv(results / "all" / name, dtype=str), pd.concat(tables, ignore_index=True))


def test_joining_again_gives_the_same_bytes(results: Path, joined: Path) -> None:
    before = {path: path.read_bytes() for path in joined.rglob("*") if path.is_file()}
    join_nets(results, "fixed")
    assert {path: path.read_bytes() for path in joined.rglob("*") if path.is_file()} == before


def test_a_protocol_that_one_net_lacks_is_not_fused(tmp_path: Path) -> None:
    for arch in NETS:
        write_results(tmp_path / arch / "fixed", arch, "fixed", ("dense",) if arch == "A" else ("centre", "dense"))
    join_nets(tmp_path, "fixed")
    fusions = json.loads((tmp_path / "all/fixed/metrics.json").read_text())["fusions"]
    assert [list(fusion["runs"][0]["protocols"]) for fusion in fusions] == [["centre", "dense"], ["dense"]]


@pytest.mark.parametrize("arch", ["B", "E"])
def test_nets_with_other_test_images_are_not_joined(tmp_path: Path, arch: str) -> None:
    for net in NETS:
        write_results(tmp_path / net / "fixed", net, "fixed", shift=int(net == arch))
    with pytest.raises(StageError, match=f"{arch}/fixed/outcomes.npz: split/0/images is not that of .*A/fixed"):
        join_nets(tmp_path, "fixed")
    assert not (tmp_path / "all/fixed/metrics.json").exists()


def test_posteriors_of_other_images_are_not_fused(results: Path) -> None:
    """Where they are not of the same evaluation as the outcomes beside them."""
    (results / "other").mkdir()
    write_results(results / "other/E", "E", "fixed", shift=1)
    (results / "other/E/predictions.npz").replace(results / "E/fixed/predictions.npz")
    with pytest.raises(StageError, match=r"E/fixed/predictions\.npz: run 0 has other test images than in .*D/fixed"):
        join_nets(results, "fixed")


def test_a_table_with_other_columns_is_refused(results: Path) -> None:
    (results / "C/fixed/curves.csv").write_text("arch,loss\nC,0.1\n")
    with pytest.raises(StageError, match=r"C/fixed/curves\.csv: its columns are not those of .*A/fixed/curves\.csv"):
        join_nets(results, "fixed")


def test_metrics_without_nets_are_refused(results: Path) -> None:
    (results / "C/fixed/metrics.json").write_text("{}")
    with pytest.raises(StageError, match=r"C/fixed/metrics\.json has no list nets; run evaluate again"):
        join_nets(results, "fixed")


@pytest.mark.parametrize("name", ["predictions.npz", "outcomes.npz"])
def test_a_damaged_file_of_arrays_is_one_clear_line(results: Path, name: str) -> None:
    path = results / "E/fixed" / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StageError, match=f"^{path} is damaged .*run the stage that writes it again$"):
        join_nets(results, "fixed")


class TestScales:
    """One net's results, or those of all nets, at each training scale."""

    @pytest.fixture
    def results(self, tmp_path: Path) -> Path:
        for scale in SCALES:
            for arch in NETS:
                write_results(tmp_path / arch / scale, arch, scale)
            join_nets(tmp_path, scale)
        return tmp_path

    def test_they_are_joined_in_the_order_of_training(self, results: Path) -> None:
        join_scales(results, "C")
        nets = json.loads((results / "C/all/metrics.json").read_text())["nets"]
        assert [(net["arch"], net["scale"]) for net in nets] == [("C", scale) for scale in SCALES]

    def test_those_of_all_nets_are_joined_with_their_fusions(self, results: Path) -> None:
        join_scales(results, "all")
        found = json.loads((results / "all/all/metrics.json").read_text())
        assert [(net["arch"], net["scale"]) for net in found["nets"]] == [(a, scale) for scale in SCALES for a in NETS]
        assert [(fusion["members"][-2:], fusion["scale"]) for fusion in found["fusions"]] == [
            (["D", "E"], scale) for scale in SCALES for _ in range(2)
        ]

    @pytest.mark.parametrize("arch", ["C", "all"])
    def test_every_outcome_is_copied(self, results: Path, arch: str) -> None:
        join_scales(results, arch)
        found = read_arrays(results / arch / "all/outcomes.npz")
        expected = {}
        for scale in SCALES:
            expected |= read_arrays(results / arch / scale / "outcomes.npz")
        assert found.keys() == expected.keys()
        for name, array in expected.items():
            np.testing.assert_array_equal(found[name], array, strict=True)

    def test_tables_are_joined_scale_by_scale(self, results: Path) -> None:
        join_scales(results, "C")
        assert pd.read_csv(results / "C/all/curves.csv")["scale"].tolist() == [s for s in SCALES for _ in range(2)]

    def test_scales_with_other_test_images_are_not_joined(self, results: Path) -> None:
        (results / "other").mkdir()
        write_results(results / "other/C", "C", "jitter", shift=1)
        (results / "other/C/outcomes.npz").replace(results / "C/jitter/outcomes.npz")
        with pytest.raises(StageError, match=r"C/jitter/outcomes\.npz: split/0/images is not that of .*C/fixed"):
            join_scales(results, "C")
