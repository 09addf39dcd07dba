"""A tiny study on two nodes of a real Ray cluster on this machine, with a core each."""

import asyncio
import copy
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import psutil
import pytest
import torch

from tiny_study import ROOT, SAMPLE, SCALES
from vgg_ablation.device import choose_compute
from vgg_ablation.errors import StageError
from vgg_ablation.evaluate.cache import Checkpoints
from vgg_ablation.imagenet import kept_weights
from vgg_ablation.model.weights import unpack
from vgg_ablation.parallel.__main__ import drive
from vgg_ablation.parallel.computing import compute_unit
from vgg_ablation.parallel.processes import Event
from vgg_ablation.parallel.schedule import Schedule
from vgg_ablation.parallel.units import Unit, Work
from vgg_ablation.runtime.settings import StudySettings
from vgg_ablation.train import run as run_module
from vgg_ablation.train.search import Trial
from vgg_ablation.train.trials import Trials

ray = pytest.importorskip("ray", reason="Ray is not installed: make cluster")

from ray.cluster_utils import Cluster as LocalCluster  # noqa: E402  # pyright: ignore[reportMissingImports]

from vgg_ablation.parallel import nodes as nodes_module  # noqa: E402
from vgg_ablation.parallel.cluster import Cluster  # noqa: E402
from vgg_ablation.parallel.nodes import Hub, Site, require_same, run_on_node  # noqa: E402

pytestmark = pytest.mark.usefixtures("torch_as_before")

EPOCHS = 20


@pytest.fixture(scope="module")
def work() -> Work:
    """Three trials and two runs of a net that starts from layers of a trained A."""
    block = copy.deepcopy(SAMPLE)
    block["data"]["splits"] = 2
    block["scales"] = SCALES
    block["train"]["refit"] = False  # a run that validates can be interrupted by its validation
    block["model"] |= {"input_side": 32, "width": 1 / 16, "init": "paper"}
    block["train"]["epochs"] = EPOCHS
    block["tune"] |= {
        "trials": 3,
        "round_size": 2,
        "epochs": 3,
        "random_trials": 1,
        "pruner": "none",
        "batch_size": [4],
    }
    block["evaluate"]["protocols"]["fixed"] = ["centre"]
    return Work(StudySettings.model_validate(block), "fixed")


@pytest.fixture
def units(work: Work) -> list[Unit]:
    return work.units(["B"])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_processed: Callable[[Path], None]) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    write_processed(tmp_path / "data" / "processed")
    return tmp_path


Results = dict[str, Any]


def results(folder: Path, work: Work) -> Results:
    """Return what the units left in the resume state, without durations."""
    state = folder / ".state"
    (search,) = (state / "tune").iterdir()
    stored = Trials(search, work.study.tune.round_size, print)
    found: Results = {"trials": {number: Trial.of(trial) for number, trial in stored.read().items()}}
    found["rows"] = len(stored._open().trials)
    for file in (*state.glob("*/*/determinants.json"), *state.glob("train/*/weights.safetensors")):
        found[file.relative_to(state).as_posix()] = file.read_bytes()
    for file in state.glob("evaluate/*/*.0"):
        content = Checkpoints(file.with_suffix(""), print).read()
        assert content is not None
        found[file.relative_to(state).as_posix()] = unpack(content, "")["posteriors"].tolist()
    return found


@pytest.fixture(scope="module")
def expected(work: Work, tmp_path_factory: pytest.TempPathFactory, write_processed: Callable[[Path], None]) -> Results:
    """The same units, one after another in this process."""
    folder = tmp_path_factory.mktemp("here")
    before = torch.get_deterministic_debug_mode(), torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        patched.setenv("DVC_ROOT", str(folder))
        write_processed(folder / "data" / "processed")
        compute = choose_compute(work.study.compute.threads)
        for unit in work.units(["B"]):
            compute_unit(unit, work, compute, print, lambda _: None)
        found = results(folder, work)
    torch.set_deterministic_debug_mode(before[0])
    torch.set_num_threads(before[1])
    assert found["rows"] == 3
    assert len([name for name in found if name.endswith(".safetensors")]) == 2
    return found


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder with a short path: the names of sockets in it must not be long."""
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:
        yield Path(folder)


@pytest.fixture
def nodes(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalCluster]:
    """Two nodes with a core each; the second may be removed. Each has its own folder for temporary files."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    monkeypatch.setenv("RAY_TMPDIR", str(temporary))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    cluster = LocalCluster(shutdown_at_exit=False)
    for name in ("one", "two"):
        (own := temporary / name).mkdir()
        cluster.add_node(num_cpus=1, include_dashboard=False, env_vars={"TMPDIR": str(own)})
    yield cluster
    cluster.shutdown()


@pytest.fixture
def address(nodes: LocalCluster) -> str:
    return str(nodes.address)


class Watch:
    """Does something when a unit takes its first step, and notes what happens."""

    def __init__(self, acts: Mapping[str, Callable[[Unit], None]] = MappingProxyType({})) -> None:
        self.acts = dict(acts)
        self.events: list[Event] = []

    def started(self, unit: Unit) -> None:
        pass

    def refresh(self) -> None:
        pass

    def waits_for_slot(self) -> None:
        pass

    def happened(self, event: Event) -> None:
        self.events.append(event)
        if event.kind == "step" and (act := self.acts.pop(event.unit.name, None)):
            act(event.unit)

    def of(self, kind: str) -> list[str]:
        return [event.unit.name for event in self.events if event.kind == kind]


def run(work: Work, address: str, watch: Watch, *, shared: bool = True) -> None:
    """Compute all units on a cluster."""
    units = work.units(["B"])
    schedule = Schedule(units, dict.fromkeys((unit.name for unit in units), 1.0))
    cluster = Cluster(work, address)
    if not shared:
        Path(".state/cluster.txt").write_text("what nodes read that have another folder of this name")
    try:
        drive(schedule, cluster, watch)  # pyright: ignore[reportArgumentType]
    finally:
        cluster.close()
    assert len(schedule.done) == len(units), watch.events


def kill_a_worker(_: Unit) -> None:
    computing = [each for each in psutil.Process().children(recursive=True) if each.name().startswith("ray::run_on")]
    computing[0].kill()


def test_the_unit_of_a_killed_worker_is_repeated_with_the_same_result(
    folder: Path, work: Work, address: str, expected: Results
) -> None:
    watch = Watch({"B run 1/2": kill_a_worker})
    run(work, address, watch)
    assert results(folder, work) == expected
    assert len(watch.of("lost")) == 1
    assert len(watch.of("done")) == 5
    assert set(watch.of("step")) == set(watch.of("done"))


def test_a_lost_node_costs_its_units_and_a_restarted_driver_none(
    folder: Path, work: Work, nodes: LocalCluster, address: str, expected: Results, temporary: Path
) -> None:
    watch = Watch({"B run 1/2": lambda _: nodes.remove_node(nodes.worker_nodes.copy().pop(), allow_graceful=False)})
    run(work, address, watch, shared=False)
    assert results(folder, work) == expected
    assert len(watch.of("lost")) == 1
    assert len(watch.of("done")) == 5

    copies = list(temporary.glob("*/vgg-ablation-*"))
    assert len(copies) == 2
    for copied in copies:
        shutil.rmtree(copied)
    trained = {path: path.stat().st_mtime_ns for path in folder.glob(".state/*/*/*.[01]")}
    run(work, address, again := Watch(), shared=False)
    assert results(folder, work) == expected
    assert len(again.of("done")) == 5
    assert {path: path.stat().st_mtime_ns for path in folder.glob(".state/*/*/*.[01]")} == trained


DRIVER = """
import pickle, sys
from vgg_ablation.parallel.__main__ import compute
from vgg_ablation.runtime.console import stage
with stage("parallel") as console:
    compute(pickle.loads(bytes.fromhex(sys.argv[1])), ["B"], console, sys.argv[2])
"""


def test_a_killed_driver_starts_again_where_it_was(folder: Path, work: Work, address: str, expected: Results) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        before = len(list(folder.glob(".state/**/checkpoint.0")))
        driver = subprocess.Popen(
            [sys.executable, "-c", DRIVER, pickle.dumps(work).hex(), address],
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        while len(list(folder.glob(".state/**/checkpoint.0"))) == before:
            assert driver.poll() is None, driver.communicate()
            time.sleep(0.05)
        driver.send_signal(number)
        out, err = driver.communicate()
        assert "B trial 1/3: started" in out
        if number == signal.SIGTERM:
            assert err.endswith("parallel: stopped by SIGTERM; progress saved; run `dvc repro` to resume\n")
    run(work, address, Watch())
    assert results(folder, work) == expected


@pytest.fixture
def site(folder: Path, work: Work) -> Site:
    return Site(folder, folder, "token", "digest", work.study.tune.round_size, None)


@pytest.fixture
def hub(site: Site, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The hub of a node of its own that is this process."""
    real = Hub(site, {"C compiler": "no"})

    def ask(method: str) -> SimpleNamespace:
        return SimpleNamespace(remote=lambda *arguments: asyncio.run(getattr(real, method)(*arguments)))

    monkeypatch.setattr(nodes_module, "_ask", lambda answer: answer)
    monkeypatch.setattr(nodes_module.ray, "put", lambda content: content)
    monkeypatch.setattr(nodes_module.ray, "get", lambda content: content)
    return SimpleNamespace(**{name: ask(name) for name in dir(Hub) if not name.startswith("_")})


def test_a_run_goes_on_on_another_node_after_what_was_sent(
    folder: Path, work: Work, site: Site, hub: SimpleNamespace, expected: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    validate = run_module.validate
    trained: list[int] = []

    def validated(*arguments: Any) -> tuple[float, float]:
        trained.append(0)
        if len(trained) == interrupted:
            raise KeyboardInterrupt
        return validate(*arguments)

    monkeypatch.setattr(nodes_module, "_OFTEN", 0.0)
    monkeypatch.setattr(run_module, "validate", validated)

    def compute(node: str, unit: Unit) -> None:
        monkeypatch.setattr(tempfile, "tempdir", str(folder / node))
        message = run_on_node(unit, work, 1, hub, site)
        assert message.kind == "done", message.text
        os.chdir(folder)

    *trials, run, other = work.units(["B"])
    interrupted = -1
    for unit in trials:
        compute("one", unit)
    trained.clear()
    interrupted = EPOCHS + 10  # of A, and of the net
    with pytest.raises(KeyboardInterrupt):
        compute("one", run)
    os.chdir(folder)
    compute("two", run)
    # The checkpoint of the ninth epoch was sent, or that of the eighth if it was still being written.
    assert len(trained) - (EPOCHS + 10) in (EPOCHS - 9, EPOCHS - 8)
    compute("one", other)
    assert results(folder, work) == expected


def test_a_node_of_its_own_gets_the_published_weights_that_a_net_starts_from(
    folder: Path, work: Work, site: Site, hub: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = kept_weights("A")
    weights.mkdir(parents=True)
    (weights / "weights.safetensors").write_bytes(b"tensors")
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "node"))
    copies = nodes_module._Copies(hub, site, work.units(["A"])[0])
    assert kept_weights("A") != weights
    copies.use(kept_weights("A"))
    assert (kept_weights("A") / "weights.safetensors").read_bytes() == b"tensors"


def test_a_node_with_a_compiler_that_the_others_lack_is_refused(
    work: Work, site: Site, hub: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes_module, "has_compiler", lambda _: True)
    message = run_on_node(work.units(["B"])[0], work, 1, hub, site)
    assert message.kind == "failed"
    assert "has C compiler yes, the study's other units no" in message.text


def test_a_node_of_another_kind_is_refused(monkeypatch: pytest.MonkeyPatch, folder: Path, work: Work) -> None:
    site = Site(folder, folder, "token", "digest", 1, None)
    hub = Hub(site, {"torch": "2"})
    assert asyncio.run(hub.agree({"device": "cpu in float32", "torch": "2"}))["device"] == "cpu in float32"
    first = asyncio.run(hub.agree({"device": "cpu in bfloat16", "torch": "2"}))
    monkeypatch.setattr(nodes_module, "_ask", lambda _: first)
    with pytest.raises(
        StageError, match=r"^node .* has device cpu in bfloat16, the study's other units cpu in float32"
    ):
        require_same(MagicMock(), {"device": "cpu in bfloat16", "torch": "2"})


@pytest.mark.parametrize("address", ["auto", "127.0.0.1:1", "nonsense"])
def test_a_wrong_address_is_one_line(address: str, work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    with pytest.raises(StageError, match=rf"^--on {address}: no Ray cluster \(.+\); see docs/clusters.md$"):
        Cluster(work, address)
