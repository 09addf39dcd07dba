"""Nets trained side by side, in one repository and in DVC's queue, have the results of a serial run."""

import time

import pytest
from repository import Repository, holds_times

from vgg_ablation.model.table1 import ABLATION

STAGES = "stages/dvc.yaml"


def results(repository: Repository, arch: str) -> dict[str, bytes]:
    """The files of a net's stages, without those that hold times."""
    files = repository.snapshot().items()
    return {
        name: content for name, content in files if name.startswith(f"results/none/{arch}/") and not holds_times(name)
    }


@pytest.fixture(scope="module")
def serial(origin, tmp_path_factory) -> Repository:
    """A repository after `dvc repro` of everything."""
    repository = origin.clone(tmp_path_factory.mktemp("serial") / "repository")
    repository.succeed("dvc", "repro")
    return repository


@pytest.mark.torture
@pytest.mark.timeout(1800)
def test_two_nets_at_a_time_give_the_results_of_a_serial_run(origin, serial, tmp_path):
    repository = origin.clone(tmp_path / "repository")
    for stage in ("dvc.yaml:check", f"{STAGES}:download", f"{STAGES}:preprocess"):
        repository.succeed("dvc", "repro", "-s", stage)
    for stage in ("tune@{}-none", "train@{}-none", "evaluate@{}-none-fixed"):
        both = [repository.start("dvc", "repro", "-s", f"{STAGES}:{stage.format(arch)}") for arch in ("B", "C")]
        for process in both:
            output, errors = process.communicate()
            assert process.returncode == 0, output + errors
    for arch in ("B", "C"):
        assert results(repository, arch) == results(serial, arch)


@pytest.mark.torture
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("threads", ["1", "2"])
@pytest.mark.parametrize("slots", ["1", "2", "4"])
def test_any_number_of_slots_and_of_openmp_threads_gives_the_results_of_a_serial_run(
    origin, serial, tmp_path, monkeypatch, slots, threads
):
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    repository = origin.clone(tmp_path / "repository")
    params = repository.folder / "params.yaml"
    params.write_text(params.read_text().replace("arch: all", "arch: C"))
    repository.succeed("python", "-m", "vgg_ablation.parallel", "--slots", slots)
    repository.succeed("dvc", "repro")
    assert results(repository, "C") == results(serial, "C")


@pytest.mark.torture
@pytest.mark.timeout(1800)
def test_a_queue_of_six_gives_the_results_of_a_serial_run(origin, serial, tmp_path):
    repository = origin.clone(tmp_path / "repository")
    repository.succeed("dvc", "exp", "run", "--queue", "-S", f"arch={','.join(ABLATION)}")
    repository.succeed("dvc", "queue", "start", "--jobs", "2")
    while "Queued" in (shown := repository.succeed("dvc", "queue", "status").output) or "Running" in shown:
        time.sleep(2)
    assert "Failed" not in shown
    done = repository.succeed("dvc", "repro")
    assert sorted(done.stages) == ["aggregate-search@none", "aggregate@none-fixed", "check", "report"], (
        "all else comes from the cache of runs"
    )
    for arch in (*ABLATION, "all"):
        assert results(repository, arch) == results(serial, arch)
