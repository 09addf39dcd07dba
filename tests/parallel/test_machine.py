from pathlib import Path

import pytest

from vgg_ablation.parallel import machine as module
from vgg_ablation.parallel.machine import Machine, count_cores


@pytest.mark.parametrize(
    ("threads", "memory", "step", "slots"),
    [(1, 64e9, 1e6, 8), (3, 64e9, 1e6, 2), (16, 64e9, 1e6, 1), (1, 10e9, 1e9, 4), (1, 1e9, 9e9, 1)],
)
def test_a_cpu_has_a_slot_per_threads_and_as_its_memory_allows(
    monkeypatch: pytest.MonkeyPatch, threads: int, memory: float, step: float, slots: int
) -> None:
    monkeypatch.setattr(module, "count_cores", lambda: 8)
    machine = Machine("cpu", (), memory, step)
    assert len(machine.slots(threads)) == slots
    assert len(machine.slots(threads, count=9)) == 9


@pytest.mark.parametrize(("quota", "cores"), [("max 100000", 6), ("250000 100000", 2), ("50000 100000", 1), ("", 6)])
def test_cores_are_those_of_the_affinity_and_the_containers_quota(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quota: str, cores: int
) -> None:
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    monkeypatch.setattr(module, "_QUOTA", tmp_path / "cpu.max")
    if quota:
        (tmp_path / "cpu.max").write_text(quota + "\n")
    assert count_cores() == cores


def test_two_studies_share_no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "_LOCKS", tmp_path)
    machine = Machine("a GPU", ("GPU-1", "GPU-2"), 0, 0)
    ours, theirs = machine.slots(threads=1), machine.slots(threads=1)
    assert [slot.environment for slot in ours] == [{"CUDA_VISIBLE_DEVICES": "GPU-1"}, {"CUDA_VISIBLE_DEVICES": "GPU-2"}]
    assert len(machine.slots(threads=1, count=1)) == 1
    assert ours[0].acquire()
    assert [slot.acquire() for slot in theirs] == [False, True]
    ours[0].release()
    assert theirs[0].acquire()
