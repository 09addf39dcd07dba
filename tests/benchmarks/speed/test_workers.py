import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.speed.workers import Worker
from vgg_ablation.errors import StageError


class Held:
    """What the workers of these tests hold."""

    def __init__(self, start: int) -> None:
        self.count = start

    def add(self, number: int) -> int:
        self.count += number
        return self.count

    def process(self) -> int:
        return os.getpid()

    def fail(self, message: str) -> None:
        raise ValueError(message)

    def die(self) -> None:
        os._exit(7)


def worker(start: int = 0) -> Worker:
    return Worker("contestant", f"{__name__}:Held", start)


def test_a_worker_keeps_what_it_holds_in_a_process_of_its_own() -> None:
    with worker(5) as process:
        assert [process.ask("add", 1), process.ask("add", 2)] == [6, 8]
        assert process.ask("process") != os.getpid()


def test_a_failure_is_one_line_with_the_contestants_name() -> None:
    with worker() as process, pytest.raises(StageError) as failure:
        process.ask("fail", "out of luck\nand more")
    assert str(failure.value) == "contestant: ValueError: out of luck"


def test_a_library_that_is_missing_is_named() -> None:
    with Worker("timm", "no_such_library:Thing") as process, pytest.raises(StageError) as failure:
        process.ask("anything")
    assert str(failure.value) == "timm: ModuleNotFoundError: No module named 'no_such_library'"


def test_a_process_that_ends_is_one_line_too() -> None:
    with worker() as process, pytest.raises(StageError) as failure:
        process.ask("die")
    assert str(failure.value) == "contestant: its process ended (status 7)"


def test_a_worker_does_not_outlive_a_coordinator_that_is_killed(tmp_path: Path) -> None:
    program = tmp_path / "coordinator.py"
    program.write_text(
        "import os, sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from benchmarks.speed.workers import Worker\n"
        "if __name__ == '__main__':\n"
        "    worker = Worker('contestant', 'test_workers:Held', 0)\n"
        "    print(worker.ask('process'), flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, check=False)
    child = int(done.stdout)
    for _ in range(100):
        if not alive(child):
            return
        time.sleep(0.1)
    pytest.fail("it is still there after ten seconds")


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    # Where nobody waits for orphans, an ended one stays as a zombie.
    return "Z" not in Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
