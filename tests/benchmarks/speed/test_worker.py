import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.speed.worker import Worker
from vgg_ablation.errors import StageError


class Counter:
    """Object that the workers of these tests hold."""

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
    return Worker("program", f"{__name__}:Counter", start)


def test_a_worker_holds_one_object_in_a_process_of_its_own() -> None:
    with worker(5) as process:
        assert [process.ask("add", 1), process.ask("add", 2)] == [6, 8]
        assert process.ask("process") != os.getpid()


def test_a_failure_is_one_line_and_the_worker_can_be_asked_again() -> None:
    with worker() as process:
        with pytest.raises(StageError, match=r"^program: ValueError: out of luck$"):
            process.ask("fail", "out of luck\nand more")
        assert process.ask("add", 1) == 1


def test_a_missing_library_is_named() -> None:
    with Worker("timm", "no_such_library:Thing") as process, pytest.raises(StageError) as failure:
        process.ask("anything")
    assert str(failure.value) == "timm: ModuleNotFoundError: No module named 'no_such_library'"


def test_a_process_that_ends_is_one_line() -> None:
    with worker() as process, pytest.raises(StageError, match="program: its process ended"):
        process.ask("die")


def test_a_worker_ends_when_its_coordinator_is_killed(tmp_path: Path) -> None:
    program = tmp_path / "coordinator.py"
    program.write_text(
        "import os, sys\n"
        f"sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(Path(__file__).parents[3])!r}]\n"
        "from benchmarks.speed.worker import Worker\n"
        "if __name__ == '__main__':\n"
        "    worker = Worker('program', 'test_worker:Counter', 0)\n"
        "    print(worker.ask('process'), flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    run = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, check=False)
    for _ in range(100):
        if not is_running(int(run.stdout)):
            return
        time.sleep(0.1)
    pytest.fail("still running after ten seconds")


def is_running(process: int) -> bool:
    try:
        # An orphan that nobody waits for stays as a zombie.
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
